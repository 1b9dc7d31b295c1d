import { z } from 'zod';
import type { Clock } from '../../../shared/clock.ts';
import { OperationError } from '../../../shared/errors.ts';
import type { Logger } from '../../../shared/logger.ts';
import { throwIfAborted, waitFor } from '../../../shared/waiting.ts';
import type { PausePhase } from '../driver.ts';
import type { CaptureHold } from './capture-hold.ts';
import type { DomainControl, MonitorEvent } from './domain-control.ts';
import type { MemoryListener } from './memory-listener.ts';
import { queryMigration, queryRunState, startMigration } from './qmp.ts';

export interface FreezeWork {
  readonly domain: DomainControl;
  readonly hold: CaptureHold;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Runs inside the pause: the instant of all disks. */
  readonly beginBackup: (giveUp: AbortSignal) => Promise<void>;
  /** For disks whose instant came before the pause: whether it still is this one. */
  readonly disksHold?: () => Promise<boolean>;
  /** Runs inside the pause: copies NVRAM and TPM state. */
  readonly copyStateFiles: () => Promise<void>;
}

export interface FreezeResult {
  readonly capturedAt: Date;
  readonly pauseMs: number;
  readonly phases: readonly PausePhase[];
}

export interface BackgroundFreeze extends FreezeResult {
  /** True when the disks' instant did not hold: the guest runs again, and nothing was captured. */
  readonly missed: boolean;
}

/** Follows a domain's STOP, RESUME and MIGRATION events from before the pause to its end. */
export interface PauseWatch {
  readonly resumed: Promise<void>;
  readonly migrationEnded: Promise<void>;
  readonly stopped: Promise<void>;
  /** Resolves when no more events can come. */
  readonly lost: Promise<void>;
  /** True when the guest went on before its memory stream began. */
  resumedTooEarly(): boolean;
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
  let streamBegan = false;
  let resumedTooEarly = false;
  const onEvent = (event: MonitorEvent): void => {
    if (event.name === 'STOP') {
      stoppedAtMs ??= event.atMs;
      stopped.resolve();
    } else if (event.name === 'RESUME') {
      resumedTooEarly ||= !streamBegan;
      resumedAtMs ??= event.atMs;
      resumed.resolve();
    } else if (event.name === 'MIGRATION') {
      streamBegan = true;
      if (isEnd(event.details)) migrationEnded.resolve();
    }
  };
  const watch = await domain.watchMonitor(onEvent);
  return {
    stopped: stopped.promise,
    resumed: resumed.promise,
    migrationEnded: migrationEnded.promise,
    lost: watch.lost,
    resumedTooEarly: () => resumedTooEarly,
    pauseMs: () =>
      stoppedAtMs === null || resumedAtMs === null ? null : resumedAtMs - stoppedAtMs,
    stop: async () => await watch.stop(),
  };
}

function isEnd(details: string): boolean {
  let data: unknown;
  try {
    data = JSON.parse(details || '{}');
  } catch {
    // An event that makes no sense tells nothing; the limits of the waits remain.
    return false;
  }
  const parsed = migrationEventSchema.safeParse(data);
  return parsed.success && ['completed', 'failed', 'cancelled'].includes(parsed.data.status);
}

export interface PhaseTimer {
  readonly phases: PausePhase[];
  run<T>(name: string, work: () => Promise<T>): Promise<T>;
}

/** Measures the named parts of the pause; begins no further one once `signal` aborts. */
export function createPhaseTimer(clock: Clock, signal?: AbortSignal): PhaseTimer {
  const phases: PausePhase[] = [];
  return {
    phases,
    async run(name, work) {
      throwIfAborted(signal);
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
 * Waits for what happens inside the pause. When that takes too long no further step of it begins;
 * a call already made may still happen, which is why the caller lets the guest go after it.
 */
export async function limitPause(
  deadlineMs: number,
  inPause: (giveUp: AbortSignal) => Promise<void>,
  lost?: Promise<void>,
): Promise<void> {
  const giveUp = new AbortController();
  const ways = [inPause(giveUp.signal)];
  if (lost) ways.push(lost.then(failAsLost));
  try {
    await waitFor(Promise.race(ways), {
      timeoutMs: deadlineMs,
      what: 'The capture inside the pause',
    });
  } catch (error) {
    giveUp.abort(error);
    throw error;
  }
}

const failAsLost = (): never => {
  throw new OperationError(
    'hypervisor_unreachable',
    'The connection to libvirt was lost in the middle of the capture; take the snapshot again.',
  );
};

/**
 * Background snapshot: the guest stands still only until its memory is write-protected.
 * QEMU 7.2 and 8 resume the guest themselves; from 9 on we must, and only once pages flow.
 */
export async function freezeForBackgroundSnapshot(
  work: FreezeWork,
  memory: MemoryListener,
  watch: PauseWatch,
): Promise<BackgroundFreeze> {
  const { domain, clock, hold, deadlineMs } = work;
  await hold.take('suspended', deadlineMs);
  const startedMs = clock.monotonicMs();
  let capturedAt = clock.now();
  let phases: readonly PausePhase[] = [];
  let missed = false;
  const inPause = async (giveUp: AbortSignal): Promise<void> => {
    const timer = createPhaseTimer(clock, giveUp);
    ({ phases } = timer);
    await timer.run('suspend', async () => await domain.suspend());
    capturedAt = clock.now();
    const stateFiles = work.copyStateFiles();
    // A failure of the disks must not leave this one unobserved.
    stateFiles.catch(() => undefined);
    missed = !(await timer.run('disks', async () => await takeDisks(work, giveUp)));
    if (missed) {
      await domain.resume();
      await watch.resumed;
      return;
    }
    await timer.run('state files', async () => await stateFiles);
    await timer.run('memory', async () => {
      refuseEarlyResume(watch);
      await startMigration(domain.monitor, memory.uri);
      const goneOn = resumeOncePagesFlow(domain, memory, giveUp);
      await Promise.race([watch.resumed, goneOn, memoryBroke(memory)]);
      await watch.resumed;
      refuseEarlyResume(watch);
    });
  };
  await limitPause(deadlineMs, inPause, watch.lost);
  await hold.relax();
  const pauseMs = watch.pauseMs() ?? clock.monotonicMs() - startedMs;
  return { capturedAt, pauseMs, phases, missed };
}

async function takeDisks(work: FreezeWork, giveUp: AbortSignal): Promise<boolean> {
  if (work.disksHold) return await work.disksHold();
  await work.beginBackup(giveUp);
  return true;
}

/** Memory and disks would be of two instants (invariant 4). */
function refuseEarlyResume(watch: PauseWatch): void {
  if (!watch.resumedTooEarly()) return;
  throw new OperationError(
    'guest_changed',
    'Somebody resumed the VM while it stood still for the capture; take the snapshot again.',
  );
}

async function resumeOncePagesFlow(
  domain: DomainControl,
  memory: MemoryListener,
  giveUp: AbortSignal,
): Promise<void> {
  await memory.pagesFlow;
  const state = await queryRunState(domain.monitor);
  throwIfAborted(giveUp);
  if (state !== 'running') await domain.resume();
}

/** Only ever rejects: a broken stream must not be waited for until the deadline. */
async function memoryBroke(memory: MemoryListener): Promise<never> {
  await memory.ended;
  return await new Promise<never>(() => undefined);
}

interface StreamEnd {
  readonly memory: MemoryListener;
  readonly watch: PauseWatch;
  /** Stands still during the whole stream. */
  readonly suspendFirst: boolean;
  /** False for a VM that was paused before: it stays so. */
  readonly resumeAfter: boolean;
  /** After this time a guest that dirties memory faster than we take it is stopped. */
  readonly convergeTimeoutMs: number;
}

/**
 * Pre-copy, or stop-and-copy when the guest stands still already: the memory's instant is the end
 * of the stream. QEMU then holds the guest, the disks get the same instant, and it goes on.
 */
export async function freezeAtStreamEnd(
  work: FreezeWork,
  options: StreamEnd,
): Promise<FreezeResult> {
  const { domain, clock, hold, deadlineMs } = work;
  const { watch } = options;
  const startedMs = clock.monotonicMs();
  const phases: PausePhase[] = [];
  if (options.resumeAfter) {
    await hold.take(options.suspendFirst ? 'suspended' : 'stream-end', deadlineMs);
  }
  await copyUntilStreamEnds(work, options, phases);
  const isPausedByOthers =
    options.resumeAfter && hold.kind === 'stream-end' && (await domain.isPauseAsked());
  const resumeAfter = options.resumeAfter && !isPausedByOthers;
  const capturedAt = clock.now();
  await limitPause(
    deadlineMs,
    async (giveUp) => {
      const timer = createPhaseTimer(clock, giveUp);
      await assertMigrationCompleted(domain);
      await timer.run('disks', async () => await work.beginBackup(giveUp));
      await timer.run('state files', work.copyStateFiles);
      if (resumeAfter) {
        await timer.run('resume', async () => await domain.resume());
        await watch.resumed;
      }
      phases.push(...timer.phases);
    },
    watch.lost,
  );
  await hold.relax();
  const pauseMs = watch.pauseMs() ?? clock.monotonicMs() - startedMs;
  return { capturedAt, pauseMs: resumeAfter ? pauseMs : 0, phases };
}

async function copyUntilStreamEnds(
  work: FreezeWork,
  options: StreamEnd,
  phases: PausePhase[],
): Promise<void> {
  const { domain, hold, clock, deadlineMs, signal } = work;
  const { memory, watch } = options;
  // As long as this process lives and waits, the guard waits too.
  const renewal = options.resumeAfter ? keepRenewing(hold, deadlineMs, work.logger) : null;
  try {
    if (options.suspendFirst) {
      await limitPause(deadlineMs, async (giveUp) => {
        const timer = createPhaseTimer(clock, giveUp);
        await timer.run('suspend', async () => await domain.suspend());
        phases.push(...timer.phases);
      });
    }
    await startMigration(domain.monitor, memory.uri);
    const ended = Promise.race([
      Promise.all([memory.ended, watch.migrationEnded]),
      watch.lost.then(failAsLost),
    ]);
    // An abort that came before is told first; this one's failure is then nobody's.
    ended.catch(() => undefined);
    try {
      const limit = { timeoutMs: options.convergeTimeoutMs, what: 'Copying the memory', signal };
      await waitFor(ended, limit);
    } catch (error) {
      if (!(error instanceof OperationError) || error.code !== 'timed_out') throw error;
      if (options.resumeAfter) await hold.take('suspended', deadlineMs);
      await limitPause(deadlineMs, async () => {
        await domain.suspend();
        await ended;
      });
    }
  } finally {
    renewal?.stop();
  }
}

const RENEWALS_PER_DEADLINE = 4;

function keepRenewing(hold: CaptureHold, deadlineMs: number, logger: Logger): { stop(): void } {
  const timer = setInterval(() => {
    hold.renew(deadlineMs).catch((error: unknown) => {
      // The guard then acts at its deadline; the capture finds the guest changed.
      logger.warn({ error }, 'the guard could not be told that a capture goes on');
    });
  }, deadlineMs / RENEWALS_PER_DEADLINE);
  return { stop: () => clearInterval(timer) };
}

export async function assertMigrationCompleted(domain: DomainControl): Promise<void> {
  const { status, error } = await queryMigration(domain.monitor);
  if (status === 'completed') return;
  throw new OperationError(
    'hypervisor_failed',
    `QEMU ended the memory stream with «${status}»${error ? `: ${error}` : ''}.`,
  );
}
