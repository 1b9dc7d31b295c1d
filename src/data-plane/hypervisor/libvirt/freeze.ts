import { z } from 'zod';
import type { Clock } from '../../../shared/clock.ts';
import { OperationError, describeThrown } from '../../../shared/errors.ts';
import type { Logger } from '../../../shared/logger.ts';
import { waitFor } from '../../../shared/waiting.ts';
import type { PausePhase } from '../driver.ts';
import type { DomainControl, MonitorEvent } from './domain-control.ts';
import type { MemoryListener } from './memory-listener.ts';
import { cancelMigration, queryIsRunning, queryMigration, startMigration } from './qmp.ts';

export interface FreezeWork {
  readonly domain: DomainControl;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly deadlineMs: number;
  /** Runs inside the pause: the instant of all disks. */
  readonly beginBackup: () => Promise<void>;
  /** Runs inside the pause: copies NVRAM and TPM state. */
  readonly copyStateFiles: () => Promise<void>;
}

export interface FreezeResult {
  readonly capturedAt: Date;
  readonly pauseMs: number;
  readonly phases: readonly PausePhase[];
}

/** Follows a domain's STOP, RESUME and MIGRATION events from before the pause to its end. */
export interface PauseWatch {
  readonly resumed: Promise<void>;
  readonly migrationEnded: Promise<void>;
  readonly stopped: Promise<void>;
  /** Between QEMU's own time stamps of STOP and RESUME; null before both are seen. */
  pauseMs(): number | null;
  stop(): Promise<void>;
}

const migrationEventSchema = z.looseObject({ status: z.string() });

export async function watchPause(domain: DomainControl): Promise<PauseWatch> {
  const stopped = Promise.withResolvers<void>();
  const resumed = Promise.withResolvers<void>();
  const migrationEnded = Promise.withResolvers<void>();
  let stoppedAtMs: number | null = null;
  let resumedAtMs: number | null = null;
  const onEvent = (event: MonitorEvent): void => {
    if (event.name === 'STOP') {
      stoppedAtMs = event.atMs;
      stopped.resolve();
    } else if (event.name === 'RESUME') {
      resumedAtMs = event.atMs;
      resumed.resolve();
    } else if (event.name === 'MIGRATION') {
      const data = migrationEventSchema.safeParse(JSON.parse(event.details || '{}'));
      if (data.success && ['completed', 'failed', 'cancelled'].includes(data.data.status)) {
        migrationEnded.resolve();
      }
    }
  };
  const watch = await domain.watchMonitor(onEvent);
  return {
    stopped: stopped.promise,
    resumed: resumed.promise,
    migrationEnded: migrationEnded.promise,
    pauseMs: () =>
      stoppedAtMs === null || resumedAtMs === null ? null : resumedAtMs - stoppedAtMs,
    stop: async () => await watch.stop(),
  };
}

/** Measures the named parts of the pause. */
export function createPhaseTimer(clock: Clock): {
  readonly phases: PausePhase[];
  run<T>(name: string, work: () => Promise<T>): Promise<T>;
} {
  const phases: PausePhase[] = [];
  return {
    phases,
    async run(name, work) {
      const startedMs = clock.monotonicMs();
      try {
        return await work();
      } finally {
        phases.push({ name, durationMs: clock.monotonicMs() - startedMs });
      }
    },
  };
}

/**
 * Background snapshot: the guest stands still only until its memory is write-protected.
 * QEMU 7.2 and 8 resume the guest themselves; from 9 on we must, and only once pages flow.
 */
export async function freezeForBackgroundSnapshot(
  work: FreezeWork,
  memory: MemoryListener,
  watch: PauseWatch,
): Promise<FreezeResult> {
  const { domain, clock, deadlineMs } = work;
  const timer = createPhaseTimer(clock);
  const startedMs = clock.monotonicMs();
  await timer.run('suspend', async () => await domain.suspend());
  const capturedAt = clock.now();
  const inPause = (async (): Promise<void> => {
    const stateFiles = work.copyStateFiles();
    // A failure of the disks must not leave this one unobserved.
    stateFiles.catch(() => undefined);
    await timer.run('disks', work.beginBackup);
    await timer.run('state files', async () => await stateFiles);
    await timer.run('memory', async () => {
      await startMigration(domain.monitor, memory.uri);
      await Promise.race([watch.resumed, resumeOncePagesFlow(domain, memory), memoryBroke(memory)]);
      await watch.resumed;
    });
  })();
  await waitFor(inPause, { timeoutMs: deadlineMs, what: 'The capture inside the pause' });
  return {
    capturedAt,
    pauseMs: watch.pauseMs() ?? clock.monotonicMs() - startedMs,
    phases: timer.phases,
  };
}

async function resumeOncePagesFlow(domain: DomainControl, memory: MemoryListener): Promise<void> {
  await memory.pagesFlow;
  if (!(await queryIsRunning(domain.monitor))) await domain.resume();
}

/** Only ever rejects: a broken stream must not be waited for until the deadline. */
async function memoryBroke(memory: MemoryListener): Promise<never> {
  await memory.ended;
  return await new Promise<never>(() => undefined);
}

/**
 * Pre-copy, or stop-and-copy when the guest stands still already: the memory's instant is the end
 * of the stream. QEMU then holds the guest, the disks get the same instant, and it goes on.
 */
export async function freezeAtStreamEnd(
  work: FreezeWork,
  options: {
    memory: MemoryListener;
    watch: PauseWatch;
    suspendFirst: boolean;
    resumeAfter: boolean;
    /** After this time a guest that dirties memory faster than we take it is stopped. */
    convergeTimeoutMs: number;
  },
): Promise<FreezeResult> {
  const { domain, clock, deadlineMs } = work;
  const { memory, watch } = options;
  const timer = createPhaseTimer(clock);
  const startedMs = clock.monotonicMs();
  if (options.suspendFirst) await timer.run('suspend', async () => await domain.suspend());
  await startMigration(domain.monitor, memory.uri);
  const ended = Promise.all([memory.ended, watch.migrationEnded]);
  try {
    await waitFor(ended, { timeoutMs: options.convergeTimeoutMs, what: 'Copying the memory' });
  } catch (error) {
    if (!(error instanceof OperationError) || error.code !== 'timed_out') throw error;
    await domain.suspend();
    await waitFor(ended, { timeoutMs: deadlineMs, what: 'Copying the rest of the memory' });
  }
  await assertMigrationCompleted(domain);
  const capturedAt = clock.now();
  const inPause = (async (): Promise<void> => {
    await timer.run('disks', work.beginBackup);
    await timer.run('state files', work.copyStateFiles);
    if (options.resumeAfter) await timer.run('resume', async () => await domain.resume());
  })();
  await waitFor(inPause, { timeoutMs: deadlineMs, what: 'The capture inside the pause' });
  if (!options.resumeAfter) return { capturedAt, pauseMs: 0, phases: timer.phases };
  await waitFor(watch.resumed, { timeoutMs: deadlineMs, what: 'Resuming the guest' });
  return {
    capturedAt,
    pauseMs: watch.pauseMs() ?? clock.monotonicMs() - startedMs,
    phases: timer.phases,
  };
}

export async function assertMigrationCompleted(domain: DomainControl): Promise<void> {
  const { status, error } = await queryMigration(domain.monitor);
  if (status === 'completed') return;
  throw new OperationError(
    'hypervisor_failed',
    `QEMU ended the memory stream with «${status}»${error ? `: ${error}` : ''}.`,
  );
}

const GO_ON_ATTEMPTS = 20;
const GO_ON_TIMEOUT_MS = 5_000;

/**
 * Whatever happened: the guest goes on (invariant 1). Cancels a stream that still holds it and
 * resumes until QEMU says that it runs.
 */
export async function letGuestGoOn(domain: DomainControl, logger: Logger): Promise<void> {
  let lastError: unknown;
  for (let attempt = 1; attempt <= GO_ON_ATTEMPTS; attempt += 1) {
    try {
      if (await withLimit(queryIsRunning(domain.rescueMonitor))) return;
      await withLimit(cancelMigration(domain.rescueMonitor));
      await withLimit(domain.resume());
      if (await withLimit(queryIsRunning(domain.rescueMonitor))) return;
    } catch (error) {
      lastError = error;
      logger.warn({ attempt, reason: describeThrown(error) }, 'resuming the guest failed');
    }
  }
  throw new OperationError(
    'hypervisor_failed',
    'The guest could not be resumed; resume it by hand.',
    {
      cause: lastError,
    },
  );
}

const withLimit = async <T>(promise: Promise<T>): Promise<T> =>
  await waitFor(promise, { timeoutMs: GO_ON_TIMEOUT_MS, what: 'Resuming the guest' });
