import { setTimeout as delay } from 'node:timers/promises';
import { systemClock, type Clock } from '../../shared/clock.ts';
import { abortReason, throwIfAborted } from '../../shared/waiting.ts';
import type { Catalog, Writer } from '../database/catalog.ts';
import { claimJob, expireLeasesOfOthers, hasClaimableJob } from '../database/job-leases.ts';
import { insertJob, markCancelRequested, type JobRow, type NewJob } from '../database/jobs.ts';
import { findRequest, setRequestExecuting } from '../database/requests.ts';

export const LEASE_MS_DEFAULT = 15_000;
const POLL_MS_DEFAULT = 250;

/** In the caller's transaction, so that a request and its job exist together or not at all. */
export const enqueueJob = (tx: Writer, job: NewJob): Promise<void> => insertJob(tx, job);

/** False when the job is over or being undone. The worker that runs it sees the wish within a second. */
export const requestJobCancel = (
  tx: Writer,
  change: { id: string; reason: string; at: string },
): Promise<boolean> => markCancelRequested(tx, change);

export interface ClaimOptions {
  readonly hostId: string;
  /** Unique per start of a worker process. */
  readonly ownerId: string;
  readonly kinds: readonly string[];
  /** Jobs that the caller is running. */
  readonly excludeJobIds?: readonly string[];
  readonly leaseMs?: number;
  readonly clock?: Clock;
}

/**
 * The oldest job of the host that is queued or whose lease ran out, now leased to the caller, and
 * its request `executing`; undefined when there is none. Give the job to `runJob`.
 */
export async function claimNextJob(
  catalog: Catalog,
  options: ClaimOptions,
): Promise<JobRow | undefined> {
  const { clock = systemClock, leaseMs = LEASE_MS_DEFAULT } = options;
  const now = clock.now();
  const filter = {
    hostId: options.hostId,
    kinds: options.kinds,
    excludeJobIds: options.excludeJobIds ?? [],
    now: now.toISOString(),
  };
  // Without a write lock first, since the answer is nearly always no.
  if (!(await hasClaimableJob(catalog.read, filter))) return undefined;
  return await catalog.write(async (tx) => {
    const job = await claimJob(tx, {
      ...filter,
      ownerId: options.ownerId,
      leaseExpiresAt: new Date(now.getTime() + leaseMs).toISOString(),
    });
    if (!job) return undefined;
    const request = await findRequest(tx, job.requestId);
    if (request?.state === 'approved')
      await setRequestExecuting(tx, { id: request.id, at: filter.now });
    return job;
  });
}

/** Waits for a job; throws the signal's reason when it aborts. */
export async function waitForNextJob(
  catalog: Catalog,
  options: ClaimOptions & { readonly signal: AbortSignal; readonly pollMs?: number },
): Promise<JobRow> {
  const { signal, pollMs = POLL_MS_DEFAULT } = options;
  for (;;) {
    throwIfAborted(signal);
    const job = await claimNextJob(catalog, options);
    if (job) return job;
    // The server is another process, and SQLite has no way to notify us.
    await delay(pollMs, undefined, { signal }).catch(() => {
      throw abortReason(signal);
    });
  }
}

/**
 * For a worker that starts and knows that no other runs for its host: jobs that its predecessor
 * held can be claimed at once instead of when their leases run out.
 */
export async function takeOverJobs(
  catalog: Catalog,
  options: { readonly hostId: string; readonly ownerId: string; readonly clock?: Clock },
): Promise<number> {
  const at = (options.clock ?? systemClock).now().toISOString();
  return await catalog.write((tx) => expireLeasesOfOthers(tx, { ...options, at }));
}
