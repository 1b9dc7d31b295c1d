import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Clock } from '../../shared/clock.ts';
import { describeThrown, OperationError } from '../../shared/errors.ts';
import { KIB } from '../../shared/byte-size.ts';
import { isUuid } from '../../shared/ids.ts';
import type { Logger } from '../../shared/logger.ts';
import type { BlobStorage } from '../blob-storage/blob-storage.ts';
import { canonicalJson, parseJson } from './canonical-json.ts';

/** How often a lease says that its holder lives. */
export const LEASE_REFRESH_MS = 60_000;
/** A holder that could not say so for this long must not commit any more. */
export const LEASE_TTL_MS = 5 * 60_000;
/** Only after this long does a collection take a holder for dead: the difference covers clocks that disagree. */
export const LEASE_DEAD_MS = 20 * 60_000;

const leaseSchema = z.strictObject({
  format: z.literal('komadori-lease'),
  id: z.uuid(),
  purpose: z.string().max(200),
  startedAt: z.iso.datetime(),
  heartbeatAt: z.iso.datetime(),
});

export type LeaseRecord = z.infer<typeof leaseSchema>;

/** Says durably that a writer is at work, so that no collection deletes what it may refer to. */
export interface Lease {
  readonly id: string;
  /** Throws when the lease was lost: the writer must give up. */
  assertHeld(): void;
  refresh(): Promise<void>;
  close(): Promise<void>;
}

const leaseName = (id: string): string => `leases/${id}`;

export async function openLease(options: {
  storage: BlobStorage;
  clock: Clock;
  logger: Logger;
  purpose: string;
}): Promise<Lease> {
  const { storage, clock, logger } = options;
  const id = randomUUID();
  const startedAt = clock.now().toISOString();
  const purpose = options.purpose.slice(0, 200);
  let lost = false;
  let closed = false;
  let refreshedAtMs = clock.monotonicMs();
  let refreshing: Promise<void> | undefined;

  const put = async (replace: boolean): Promise<void> => {
    const beganAtMs = clock.monotonicMs();
    const heartbeatAt = clock.now().toISOString();
    const record: LeaseRecord = { format: 'komadori-lease', id, purpose, startedAt, heartbeatAt };
    await storage.put(leaseName(id), [Buffer.from(canonicalJson(record))], { replace });
    refreshedAtMs = beganAtMs;
  };
  const refreshOnce = async (): Promise<void> => {
    if (closed || lost) return;
    // A collection that took us for dead has removed the lease: putting it back would deceive us.
    if ((await storage.stat(leaseName(id))) === null) lost = true;
    else await put(true);
  };
  const refresh = async (): Promise<void> => {
    refreshing ??= refreshOnce().finally(() => {
      refreshing = undefined;
    });
    await refreshing;
  };

  await put(false);
  const timer = setInterval(() => {
    refresh().catch((error: unknown) =>
      logger.warn({ lease: id, reason: describeThrown(error) }, 'A lease could not be refreshed.'),
    );
  }, LEASE_REFRESH_MS);
  timer.unref();

  return {
    id,
    assertHeld() {
      if (!lost && !closed && clock.monotonicMs() - refreshedAtMs <= LEASE_TTL_MS) return;
      throw new OperationError(
        'timed_out',
        'The repository was out of reach for so long that chunks of this snapshot may have been collected. Take the snapshot again.',
      );
    },
    refresh,
    async close() {
      if (closed) return;
      closed = true;
      clearInterval(timer);
      // A refresh under way must not write the lease again after it was removed.
      await refreshing?.catch(() => undefined);
      await storage.delete(leaseName(id));
    },
  };
}

export interface LeaseSurvey {
  readonly alive: readonly LeaseRecord[];
  /** Names of leases whose holders are dead. */
  readonly dead: readonly string[];
}

/** Who is at work. A lease that cannot be read counts as alive until its file is old enough. */
export async function surveyLeases(storage: BlobStorage, clock: Clock): Promise<LeaseSurvey> {
  const alive: LeaseRecord[] = [];
  const dead: string[] = [];
  const nowMs = clock.now().getTime();
  for (const { name } of await storage.list('leases')) {
    const id = name.slice('leases/'.length);
    const found = await storage.stat(name);
    if (found === null || !isUuid(id)) continue;
    const record = leaseSchema.safeParse(parseJson(await getOrEmpty(storage, name)));
    const modifiedAt = found.modifiedAt.toISOString();
    const lease: LeaseRecord = record.success
      ? record.data
      : {
          format: 'komadori-lease',
          id,
          purpose: 'unreadable',
          startedAt: modifiedAt,
          heartbeatAt: modifiedAt,
        };
    if (nowMs - Date.parse(lease.heartbeatAt) > LEASE_DEAD_MS) dead.push(name);
    else alive.push({ ...lease, id });
  }
  return { alive, dead };
}

async function getOrEmpty(storage: BlobStorage, name: string): Promise<Uint8Array> {
  try {
    return await storage.get(name, { offset: 0, lengthBytes: 64 * KIB });
  } catch (error) {
    // Released between listing and reading: the caller then sees an unreadable one, which is safe.
    if (error instanceof OperationError && error.code === 'not_found') return new Uint8Array();
    throw error;
  }
}
