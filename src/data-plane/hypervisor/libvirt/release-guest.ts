import { OperationError, describeThrown } from '../../../shared/errors.ts';
import type { Logger } from '../../../shared/logger.ts';
import { waitFor } from '../../../shared/waiting.ts';
import type { HoldKind } from '../freeze-guard.ts';
import type { DomainControl } from './domain-control.ts';
import {
  cancelMigration,
  continueGuest,
  isMigrationOver,
  queryCapability,
  queryMigration,
  queryRunState,
} from './qmp.ts';

/** How long letting a guest go is tried: a daemon that restarts must be outlived. */
export interface Patience {
  readonly attempts: number;
  readonly longestDelayMs: number;
  readonly stepTimeoutMs: number;
  /** Longer than libvirt makes a thaw wait for a freeze under way (30 s). */
  readonly thawTimeoutMs: number;
}

export const USUAL_PATIENCE: Patience = {
  attempts: 120,
  longestDelayMs: 500,
  stepTimeoutMs: 5_000,
  thawTimeoutMs: 40_000,
};
/** An agent that does not answer has its guest's reasons; nobody else can thaw. */
const THAW_ATTEMPTS_MAX = 6;
const FIRST_DELAY_MS = 10;
/** From this attempt on even the stream of a background snapshot is cut. */
const DESPERATE_ATTEMPT = 4;

/** RunStates that a capture puts a guest in; any other that is not `running` has other reasons. */
const HELD_STATES = ['paused', 'finish-migrate', 'postmigrate', 'save-vm'];

export interface Release {
  readonly domain: DomainControl;
  readonly logger: Logger;
  readonly patience?: Patience;
}

/**
 * Frees a guest from what a capture keeps from it (invariant 1). Safe to call at any moment, also
 * while other processes do the same; throws when the guest may still be held.
 */
export async function releaseFrom(kind: HoldKind, release: Release): Promise<void> {
  switch (kind) {
    case 'nothing':
      break;
    case 'suspended':
      await letGuestGoOn(release);
      break;
    case 'stream-end':
      // Who paused the guest meanwhile did so on purpose.
      await letGuestGoOn(release, { leaveAskedPause: true });
      break;
    case 'frozen':
      await thawGuest(release);
      break;
  }
}

/** Resumes until QEMU says that the guest runs, and ends a stream that would stop it again. */
export async function letGuestGoOn(
  release: Release,
  options: { leaveAskedPause?: boolean } = {},
): Promise<void> {
  const { domain, logger, patience = USUAL_PATIENCE } = release;
  const monitor = domain.rescueMonitor;
  await retry(release, patience.attempts, 'The guest could not be resumed', async (attempt) => {
    // Each step by itself: one that fails or hangs must not keep the next from its work.
    const step = async <T>(what: string, work: () => Promise<T>): Promise<T | null> => {
      try {
        return await waitFor(work(), { timeoutMs: patience.stepTimeoutMs, what });
      } catch (error) {
        logger.warn({ attempt, what, reason: describeThrown(error) }, 'releasing a guest');
        return null;
      }
    };
    const isOver = await step(
      'ending the stream',
      async () => await endStoppingStream(domain, attempt >= DESPERATE_ATTEMPT),
    );
    const readState = async (): Promise<string | null> =>
      await step('query-status', async () => await queryRunState(monitor));
    let state = await readState();
    if (state === null || HELD_STATES.includes(state)) {
      if (options.leaveAskedPause && (await step('pause', async () => await domain.isPauseAsked())))
        return true;
      await step('resume', async () => await domain.resume());
      state = await readState();
      // libvirt believes that it runs, or cannot resume it now.
      if (state !== null && HELD_STATES.includes(state)) {
        await step('cont', async () => await continueGuest(monitor));
        state = await readState();
      }
    }
    if (state === null || HELD_STATES.includes(state)) return false;
    if (state !== 'running')
      logger.warn({ state }, 'the guest stands still, but not for a capture');
    return isOver === true;
  });
}

/**
 * Ends a pre-copy, at whose end QEMU would stop the guest. A background snapshot is left to run
 * out: the guest runs beside it, and QEMU can hang for good when such a stream is cut. True when
 * nothing is left that could stop the guest.
 */
async function endStoppingStream(domain: DomainControl, cutAnyStream: boolean): Promise<boolean> {
  const monitor = domain.rescueMonitor;
  if (isMigrationOver((await queryMigration(monitor)).status)) return true;
  const isBackground = await queryCapability(monitor, 'background-snapshot');
  if (isBackground && !cutAnyStream) return true;
  await cancelMigration(monitor);
  return isBackground || isMigrationOver((await queryMigration(monitor)).status);
}

/**
 * Thaws until the agent confirms. libvirt talks to an agent about one thing at a time, so a
 * confirmed thaw comes after a freeze that the agent had begun.
 */
export async function thawGuest(release: Release): Promise<void> {
  const { domain, logger, patience = USUAL_PATIENCE } = release;
  const attempts = Math.min(patience.attempts, THAW_ATTEMPTS_MAX);
  await retry(release, attempts, 'The guest could not be thawed', async (attempt) => {
    try {
      await domain.thawFileSystems(patience.thawTimeoutMs);
      return true;
    } catch (error) {
      logger.warn({ attempt, reason: describeThrown(error) }, 'thawing the guest failed');
      return false;
    }
  });
}

async function retry(
  { patience = USUAL_PATIENCE }: Release,
  attempts: number,
  failure: string,
  attemptOnce: (attempt: number) => Promise<boolean>,
): Promise<void> {
  for (let attempt = 1; attempt <= attempts; attempt += 1) {
    if (await attemptOnce(attempt)) return;
    if (attempt < attempts) {
      const delayMs = Math.min(
        patience.longestDelayMs,
        FIRST_DELAY_MS * 2 ** Math.min(attempt, 16),
      );
      await new Promise<void>((resolve) => setTimeout(resolve, delayMs));
    }
  }
  throw new OperationError('hypervisor_failed', `${failure}; do it by hand.`);
}
