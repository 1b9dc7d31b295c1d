import { z } from 'zod';
import { describeThrown, OperationError } from '../../shared/errors.ts';
import { canonicalJson, parseJson } from './canonical-json.ts';
import { LEASE_DEAD_MS, LEASE_REFRESH_MS, LEASE_TTL_MS } from './lease.ts';
import type { RepositoryContext } from './repository-context.ts';

/**
 * One collection at a time. Turns are numbered; taking the next number is atomic, and only the
 * holder of the highest one may delete, so that a holder that was taken for dead does no harm.
 */
export interface CollectionTurn {
  /** Throws when another collection has taken over. */
  assertOwned(): Promise<void>;
  end(): Promise<void>;
}

const TURNS = 'gc/turns';
const turnSchema = z.strictObject({ done: z.boolean(), heartbeatAt: z.iso.datetime() });

type TurnContext = Pick<RepositoryContext, 'storage' | 'clock' | 'logger'>;

export async function takeCollectionTurn(context: TurnContext): Promise<CollectionTurn> {
  const { storage, clock, logger } = context;
  const latest = await latestTurn(context);
  if (latest !== null && (await isRunning(context, latest))) throw inUse();
  const number = latest === null ? 1 : latest + 1;
  let refreshedAtMs = clock.monotonicMs();
  const put = async (done: boolean, replace: boolean): Promise<void> => {
    const beganAtMs = clock.monotonicMs();
    const record = canonicalJson({ done, heartbeatAt: clock.now().toISOString() });
    await storage.put(turnName(number), [Buffer.from(record)], { replace });
    refreshedAtMs = beganAtMs;
  };
  try {
    await put(false, false);
  } catch (error) {
    if (error instanceof OperationError && error.code === 'name_taken') throw inUse();
    throw error;
  }
  if (latest !== null) await storage.delete(turnName(latest));
  let refreshing: Promise<void> = Promise.resolve();
  const timer = setInterval(() => {
    refreshing = put(false, true).catch((error: unknown) =>
      logger.warn({ reason: describeThrown(error) }, 'A collection could not say that it lives.'),
    );
  }, LEASE_REFRESH_MS);
  timer.unref();

  return {
    async assertOwned() {
      const current = await latestTurn(context);
      if (current === number && clock.monotonicMs() - refreshedAtMs <= LEASE_TTL_MS) return;
      throw new OperationError('in_use', 'Another collection has taken over; this one stops.');
    },
    async end() {
      clearInterval(timer);
      await refreshing;
      await put(true, true);
    },
  };
}

const turnName = (number: number): string => `${TURNS}/${String(number).padStart(10, '0')}`;

const inUse = (): OperationError =>
  new OperationError('in_use', 'A collection of this repository is running already; wait for it.');

async function latestTurn({ storage }: TurnContext): Promise<number | null> {
  const numbers = (await storage.list(TURNS))
    .map(({ name }) => Number(name.slice(TURNS.length + 1)))
    .filter((number) => Number.isSafeInteger(number));
  return numbers.length === 0 ? null : Math.max(...numbers);
}

async function isRunning({ storage, clock }: TurnContext, number: number): Promise<boolean> {
  const found = await storage.stat(turnName(number));
  if (found === null) return false;
  const record = turnSchema.safeParse(parseJson(await storage.get(turnName(number))));
  if (record.success && record.data.done) return false;
  const aliveAtMs = record.success
    ? Date.parse(record.data.heartbeatAt)
    : found.modifiedAt.getTime();
  return clock.now().getTime() - aliveAtMs <= LEASE_DEAD_MS;
}
