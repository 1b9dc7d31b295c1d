import type { UpdateObject } from 'kysely';
import type { Clock } from '../../shared/clock.ts';
import { describeThrown, OperationError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/logger.ts';
import type { Catalog, Writer } from '../database/catalog.ts';
import { readCancelRequest, updateLeasedJob, type Lease } from '../database/job-leases.ts';
import type { CatalogSchema } from '../database/schema.ts';

const WATCH_MS = 250;

/** Somebody else may run the job by now: stop, and write nothing more. */
export class LeaseLostError extends OperationError {
  constructor(jobId: string) {
    super('interrupted', `This worker lost its lease on job ${jobId}; another one takes over.`);
    this.name = 'LeaseLostError';
  }
}

export interface HeldLease {
  /** Aborts when the lease is lost. */
  readonly lost: AbortSignal;
  /** Aborts when the lease is lost or somebody asked for the job to be cancelled. */
  readonly stopped: AbortSignal;
  readonly cancelReason: string | undefined;
  /** A transaction that changes the job's row, throws LeaseLostError if that is ours no more. */
  write<T>(
    columns: UpdateObject<CatalogSchema, 'jobs'>,
    work: (tx: Writer) => Promise<T>,
  ): Promise<T>;
  /** Ends renewing and watching; the lease itself runs out or was given back by a write. */
  end(): Promise<void>;
}

/** Renews the lease and looks for cancel requests until `end`. */
export function holdLease(options: {
  catalog: Catalog;
  lease: Lease;
  leaseMs: number;
  clock: Clock;
  logger: Logger;
}): HeldLease {
  const { catalog, lease, leaseMs, clock, logger } = options;
  const lost = new AbortController();
  const cancelled = new AbortController();
  let cancelReason: string | undefined;
  let renewedAtMs = clock.monotonicMs();
  let ticking: Promise<void> | undefined;

  const loseLease = (): LeaseLostError => {
    const error = new LeaseLostError(lease.jobId);
    if (!lost.signal.aborted) lost.abort(error);
    return error;
  };

  const write: HeldLease['write'] = async (columns, work) => {
    if (lost.signal.aborted) throw loseLease();
    return await catalog.write(async (tx) => {
      const fenced = { ...columns, fencing: lease.fencing };
      if (!(await updateLeasedJob(tx, lease, fenced))) throw loseLease();
      return await work(tx);
    });
  };

  const renew = async (): Promise<void> => {
    const startedMs = clock.monotonicMs();
    const expiresAt = new Date(clock.now().getTime() + leaseMs).toISOString();
    await write({ lease_expires_at: expiresAt }, async () => undefined);
    renewedAtMs = startedMs;
  };

  const tick = async (): Promise<void> => {
    try {
      const seen = await readCancelRequest(catalog.read, lease);
      if (!seen.held) throw loseLease();
      if (seen.cancelReason !== null && !cancelled.signal.aborted) {
        cancelReason = seen.cancelReason;
        cancelled.abort(new OperationError('cancelled', cancelMessage(seen.cancelReason)));
      }
      if (clock.monotonicMs() - renewedAtMs >= leaseMs / 3) await renew();
    } catch (error) {
      if (clock.monotonicMs() - renewedAtMs >= leaseMs) loseLease();
      // Otherwise the next tick tries again while the lease lasts.
      if (!lost.signal.aborted)
        logger.warn({ jobId: lease.jobId, reason: describeThrown(error) }, 'lease not renewed');
    }
  };

  const timer = setInterval(
    () => {
      if (lost.signal.aborted) return;
      ticking ??= tick().finally(() => {
        ticking = undefined;
      });
    },
    Math.min(WATCH_MS, leaseMs / 6),
  );

  return {
    lost: lost.signal,
    stopped: AbortSignal.any([lost.signal, cancelled.signal]),
    get cancelReason() {
      return cancelReason;
    },
    write,
    end: async () => {
      clearInterval(timer);
      await ticking;
    },
  };
}

export const cancelMessage = (reason: string): string =>
  reason ? `The job was cancelled: ${reason}` : 'The job was cancelled.';
