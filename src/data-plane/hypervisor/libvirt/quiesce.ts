import type { Clock } from '../../../shared/clock.ts';
import { OperationError, describeThrown } from '../../../shared/errors.ts';
import type { ConsistencyLevel, QuiescePolicy, VmDescription } from '../../../shared/inventory.ts';
import type { Logger } from '../../../shared/logger.ts';
import { waitFor } from '../../../shared/waiting.ts';
import type { DomainControl } from './domain-control.ts';
import { createPhaseTimer, type FreezeResult } from './freeze.ts';

const THAW_ATTEMPTS = 3;
const THAW_TIMEOUT_MS = 10_000;

export interface QuiescedBackup extends FreezeResult {
  readonly level: ConsistencyLevel;
  readonly levelReason: string;
}

interface QuiesceRequest {
  readonly domain: DomainControl;
  readonly vm: VmDescription;
  readonly policy: QuiescePolicy;
  readonly deadlineMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly begin: () => Promise<void>;
}

/**
 * The instant of the disks, with the guest's file systems frozen around it if the policy asks for
 * that. The pause it reports is how long they were frozen; the guest itself runs on.
 *
 * | policy  | freeze works | freeze fails               |
 * | require | application  | error, thawed              |
 * | prefer  | application  | crash, with the reason     |
 * | never   | crash        | -                          |
 */
export async function beginQuiescedBackup(request: QuiesceRequest): Promise<QuiescedBackup> {
  const { policy, vm } = request;
  if (policy === 'never')
    return await beginUnfrozen(request, 'Freezing the file systems was not asked for.');
  if (vm.agent !== 'connected') {
    const reason =
      vm.agent === 'absent'
        ? `${vm.name} has no guest agent channel.`
        : `The guest agent of ${vm.name} does not answer.`;
    if (policy === 'require') throw new OperationError('agent_unavailable', reason);
    return await beginUnfrozen(request, reason);
  }
  return await beginFrozen(request);
}

async function beginUnfrozen(
  request: QuiesceRequest,
  levelReason: string,
): Promise<QuiescedBackup> {
  const timer = createPhaseTimer(request.clock);
  const capturedAt = request.clock.now();
  await timer.run('disks', request.begin);
  return { level: 'crash', levelReason, capturedAt, pauseMs: 0, phases: timer.phases };
}

async function beginFrozen(request: QuiesceRequest): Promise<QuiescedBackup> {
  const { domain, clock, policy, deadlineMs } = request;
  const timer = createPhaseTimer(clock);
  let frozenAtMs: number | null = null;
  let freezeFailure: string | null = null;
  let capturedAt = clock.now();
  try {
    try {
      await timer.run(
        'freeze file systems',
        async () => await domain.freezeFileSystems(deadlineMs),
      );
      frozenAtMs = clock.monotonicMs();
    } catch (error) {
      if (policy === 'require') {
        throw new OperationError(
          'agent_unavailable',
          `The file systems of ${request.vm.name} could not be frozen: ${describeThrown(error)}`,
          { cause: error },
        );
      }
      freezeFailure = describeThrown(error);
      // The agent may still be at it: a late freeze must not outlive this attempt.
      await thaw(request);
    }
    capturedAt = clock.now();
    await timer.run(
      'disks',
      async () =>
        await waitFor(request.begin(), { timeoutMs: deadlineMs, what: 'Beginning the backup' }),
    );
  } finally {
    if (freezeFailure === null)
      await timer.run('thaw file systems', async () => await thaw(request));
  }
  const pauseMs = frozenAtMs === null ? 0 : clock.monotonicMs() - frozenAtMs;
  return freezeFailure === null
    ? {
        level: 'application',
        levelReason: 'The guest agent froze the file systems.',
        capturedAt,
        pauseMs,
        phases: timer.phases,
      }
    : {
        level: 'crash',
        levelReason: `Freezing the file systems failed: ${freezeFailure}`,
        capturedAt,
        pauseMs: 0,
        phases: timer.phases,
      };
}

/** Thaws until the agent confirms; a failure is reported loudly, because a guest may hang on it. */
async function thaw(request: QuiesceRequest): Promise<void> {
  let lastError: unknown;
  for (let attempt = 1; attempt <= THAW_ATTEMPTS; attempt += 1) {
    try {
      await request.domain.thawFileSystems(THAW_TIMEOUT_MS);
      return;
    } catch (error) {
      lastError = error;
      request.logger.warn({ attempt, reason: describeThrown(error) }, 'thawing the guest failed');
    }
  }
  request.logger.error(
    { vm: request.vm.name, reason: describeThrown(lastError) },
    'the guest may still be frozen',
  );
}
