import type { Clock } from '../../shared/clock.ts';
import { describeThrown } from '../../shared/errors.ts';
import type { Logger } from '../../shared/logger.ts';
import { notifyJob, type JobRow } from '../database/jobs.ts';
import type { HeldLease } from './held-lease.ts';
import type { ProgressReport } from './job-definition.ts';

const INTERVAL_MS = 500;
/** How much the newest measurement weighs in the rate. */
const RATE_WEIGHT = 0.3;

export interface ProgressRecorder {
  report(progress: ProgressReport): void;
  /** Writes what was reported last, if it was not written yet. */
  flush(): Promise<void>;
}

/** Keeps only the newest report, and writes it at most twice a second. */
export function createProgressRecorder(options: {
  job: JobRow;
  lease: HeldLease;
  clock: Clock;
  logger: Logger;
}): ProgressRecorder {
  const { job, lease, clock, logger } = options;
  let waiting: ProgressReport | undefined;
  let writing: Promise<void> | undefined;
  let writtenAtMs = Number.NEGATIVE_INFINITY;
  const measureRate = createRateMeter(clock);

  const writeNewest = async (): Promise<void> => {
    const progress = waiting;
    waiting = undefined;
    if (!progress) return;
    writtenAtMs = clock.monotonicMs();
    const rate = measureRate(progress);
    const left = Math.max(0, progress.totalBytes - progress.doneBytes);
    const column = JSON.stringify({
      ...progress,
      ratePerSecond: rate,
      secondsLeft: rate && progress.totalBytes > 0 ? left / rate : null,
    });
    const at = clock.now().toISOString();
    try {
      await lease.write({ progress: column }, (tx) =>
        notifyJob(tx, { id: job.id, vmId: job.vmId, at }, 'progress'),
      );
    } catch (error) {
      // Progress is for people: the job itself finds out when it writes something that matters.
      logger.debug({ reason: describeThrown(error) }, 'progress was not written');
    }
  };

  const start = (): void => {
    writing ??= writeNewest().finally(() => {
      writing = undefined;
    });
  };

  return {
    report: (progress) => {
      waiting = {
        phase: progress.phase,
        doneBytes: Math.floor(progress.doneBytes),
        totalBytes: Math.floor(progress.totalBytes),
      };
      if (clock.monotonicMs() - writtenAtMs >= INTERVAL_MS) start();
    },
    flush: async () => {
      await writing;
      start();
      await writing;
    },
  };
}

function createRateMeter(clock: Clock): (progress: ProgressReport) => number | null {
  let last: { phase: string; doneBytes: number; atMs: number } | undefined;
  let rate: number | null = null;
  return (progress) => {
    const atMs = clock.monotonicMs();
    if (last?.phase !== progress.phase || progress.doneBytes < last.doneBytes) rate = null;
    else if (atMs > last.atMs) {
      const measured = ((progress.doneBytes - last.doneBytes) * 1000) / (atMs - last.atMs);
      rate = rate === null ? measured : rate + (measured - rate) * RATE_WEIGHT;
    }
    last = { phase: progress.phase, doneBytes: progress.doneBytes, atMs };
    return rate;
  };
}
