import type { Clock } from '../../../shared/clock.ts';
import { OperationError, describeThrown } from '../../../shared/errors.ts';
import type { ConsistencyLevel, QuiescePolicy, VmDescription } from '../../../shared/inventory.ts';
import type { Logger } from '../../../shared/logger.ts';
import { waitFor } from '../../../shared/waiting.ts';
import type { CaptureHold } from './capture-hold.ts';
import type { EffectTracker } from './effects.ts';
import { createPhaseTimer, limitPause, type FreezeResult, type PhaseTimer } from './freeze.ts';
import { thawGuest, type Patience } from './release-guest.ts';

/** A thaw that has to come after a freeze under way may take this long. */
const THAW_TIME_MS = 150_000;

export interface QuiescedBackup extends FreezeResult {
  readonly level: ConsistencyLevel;
  readonly levelReason: string;
}

export interface QuiesceRequest {
  readonly tracker: EffectTracker;
  readonly hold: CaptureHold;
  readonly vm: VmDescription;
  readonly policy: QuiescePolicy;
  readonly deadlineMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly begin: (giveUp?: AbortSignal) => Promise<void>;
  readonly patience?: Patience;
}

/**
 * The instant of the disks, with the guest's file systems frozen around it if the policy asks for
 * that. The pause it reports is how long they were frozen; the guest itself runs on.
 *
 * | policy  | freeze works | freeze fails, and the guest is known to be thawed |
 * | require | application  | error                                             |
 * | prefer  | application  | crash, with the reason                            |
 * | never   | crash        | -                                                 |
 *
 * A guest that is not known to be thawed is an error under every policy: its owner must look.
 */
export async function beginQuiescedBackup(request: QuiesceRequest): Promise<QuiescedBackup> {
  const { policy } = request;
  if (policy === 'never')
    return await beginUnfrozen(request, 'Freezing the file systems was not asked for.');
  const refusal = (await whyNotFreeze(request)) ?? (await freeze(request));
  if (typeof refusal !== 'string') return await beginFrozen(request, refusal);
  if (policy === 'require') throw new OperationError('agent_unavailable', refusal);
  return await beginUnfrozen(request, refusal);
}

/** An agent that does not answer now is not asked for a freeze, which it might do later. */
async function whyNotFreeze({ vm, tracker }: QuiesceRequest): Promise<string | null> {
  if (vm.agent === 'absent') return `${vm.name} has no guest agent channel.`;
  if (vm.agent !== 'connected') return `The guest agent of ${vm.name} does not answer.`;
  try {
    await tracker.domain.pingAgent();
    return null;
  } catch (error) {
    return `The guest agent of ${vm.name} does not answer: ${describeThrown(error)}`;
  }
}

async function beginUnfrozen(
  request: QuiesceRequest,
  levelReason: string,
): Promise<QuiescedBackup> {
  const timer = createPhaseTimer(request.clock);
  const capturedAt = request.clock.now();
  await timer.run('disks', async () => await request.begin());
  return { level: 'crash', levelReason, capturedAt, pauseMs: 0, phases: timer.phases };
}

interface Frozen {
  readonly timer: PhaseTimer;
  readonly frozenAtMs: number;
}

/** The reason when the file systems are not frozen, and surely will not be. */
async function freeze(request: QuiesceRequest): Promise<Frozen | string> {
  const { tracker, hold, clock, deadlineMs } = request;
  const timer = createPhaseTimer(clock);
  await hold.take('frozen', deadlineMs);
  try {
    await timer.run('freeze file systems', async () => {
      const limit = { timeoutMs: deadlineMs, what: 'Freezing the file systems' };
      await waitFor(tracker.domain.freezeFileSystems(), limit);
    });
    return { timer, frozenAtMs: clock.monotonicMs() };
  } catch (error) {
    await thaw(request);
    return `The file systems of ${request.vm.name} could not be frozen: ${describeThrown(error)}`;
  }
}

async function beginFrozen(
  request: QuiesceRequest,
  { timer, frozenAtMs }: Frozen,
): Promise<QuiescedBackup> {
  const { clock, deadlineMs } = request;
  const capturedAt = clock.now();
  try {
    await limitPause(
      deadlineMs,
      async (giveUp) => await timer.run('disks', async () => await request.begin(giveUp)),
    );
  } finally {
    await timer.run('thaw file systems', async () => await thaw(request));
  }
  return {
    level: 'application',
    levelReason: 'The guest agent froze the file systems.',
    capturedAt,
    pauseMs: clock.monotonicMs() - frozenAtMs,
    phases: timer.phases,
  };
}

/** Throws when the guest may still be frozen; what is held then stays held, for the guard to see. */
async function thaw(request: QuiesceRequest): Promise<void> {
  const { tracker, hold, logger, vm, patience } = request;
  const release = { domain: tracker.domain, logger, ...(patience ? { patience } : {}) };
  await hold.renew(THAW_TIME_MS).catch((error: unknown) => {
    // The guard may act as well then; thawing twice does no harm.
    logger.warn({ reason: describeThrown(error) }, 'the guard was not told of a thaw');
  });
  try {
    await thawGuest(release);
    if (tracker.pending() > 0) {
      // A freeze that we stopped waiting for must not come last.
      await tracker.settle();
      await thawGuest(release);
    }
  } catch (error) {
    throw new OperationError(
      'agent_unavailable',
      `The file systems of ${vm.name} may still be frozen: its guest agent does not confirm a thaw. Look at the guest; «virsh domfsthaw ${vm.name}» tries again.`,
      { cause: error },
    );
  }
  await hold.relax();
}
