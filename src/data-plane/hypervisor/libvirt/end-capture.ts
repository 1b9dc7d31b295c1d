import { rm } from 'node:fs/promises';
import { OperationError, describeThrown } from '../../../shared/errors.ts';
import type { Logger } from '../../../shared/logger.ts';
import type { CaptureHold } from './capture-hold.ts';
import type { DomainControl } from './domain-control.ts';
import type { EffectTracker } from './effects.ts';
import type { MemoryListener } from './memory-listener.ts';
import {
  cancelMigration,
  isMigrationOver,
  queryCapability,
  queryMigration,
  setCapability,
} from './qmp.ts';
import { releaseFrom, type Patience } from './release-guest.ts';

const END_ATTEMPTS = 120;
const FIRST_DELAY_MS = 10;
const LONGEST_DELAY_MS = 1_000;

export interface CaptureRemains {
  readonly nbdSocketPath: string;
  readonly folders: readonly string[];
  readonly checkpointName: string | null;
  readonly hadMemory: boolean;
}

/**
 * After a failure anywhere in the freeze: the guest goes on first (invariant 1), and once more
 * when the last call that could hold it is over. True when it is known to be free.
 */
export async function putBack(options: {
  tracker: EffectTracker;
  hold: CaptureHold;
  memory: MemoryListener | null;
  logger: Logger;
  patience?: Patience;
}): Promise<boolean> {
  const { tracker, hold, memory, logger, patience } = options;
  const release = { domain: tracker.domain, logger, ...(patience ? { patience } : {}) };
  let isFree = false;
  try {
    await releaseFrom(hold.kind, release);
    if (tracker.pending() > 0) {
      await tracker.settle();
      await releaseFrom(hold.kind, release);
    }
    isFree = true;
    await hold.relax();
  } catch (error) {
    const fields = { reason: describeThrown(error) };
    if (isFree) logger.info(fields, 'the guard let the guest go as well');
    else logger.error(fields, 'the guest may still be held; the guard goes on trying');
  } finally {
    // Closing takes what is left of the stream, and that takes time.
    await memory?.close();
  }
  return isFree;
}

/** Removes everything of a capture from its domain and host; what cannot go now is reconciled later. */
export async function cleanUp(
  domain: DomainControl,
  remains: CaptureRemains,
  options: { keepCheckpoint: boolean; memory: MemoryListener | null; logger: Logger },
): Promise<void> {
  const attempt = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      const reason = describeThrown(error);
      options.logger.warn({ what, reason }, 'cleaning up after a capture failed');
    }
  };
  // First: its scratch files grow with every write of the guest.
  await attempt('backup job', async () => await domain.endBackup(remains.nbdSocketPath));
  if (remains.hadMemory) {
    await attempt('memory stream', async () => {
      await options.memory?.close();
      await endMemory(domain);
    });
  }
  const { checkpointName } = remains;
  if (!options.keepCheckpoint && checkpointName !== null) {
    await attempt('checkpoint', async () => await domain.dropCheckpoint(checkpointName));
  }
  for (const folder of remains.folders) {
    await attempt('folder', async () => await rm(folder, { recursive: true, force: true }));
  }
}

/** Ends a backup of ours and waits until libvirt is done with it; its checkpoint goes, too. */
export async function undoBackup(
  domain: DomainControl,
  { nbdSocketPath, checkpointName }: Pick<CaptureRemains, 'nbdSocketPath' | 'checkpointName'>,
): Promise<void> {
  await domain.endBackup(nbdSocketPath);
  await untilOver('The backup job of the VM does not end.', async () => {
    return !(await domain.hasBackup());
  });
  if (checkpointName !== null) await domain.dropCheckpoint(checkpointName);
  await rm(nbdSocketPath, { force: true });
}

/**
 * Ends the memory stream and waits for that: left on, the capability would make the next
 * migration of this VM a snapshot, and QEMU takes no change while a stream runs.
 */
export async function endMemory(domain: DomainControl): Promise<void> {
  await untilOver('The memory stream of the VM does not end.', async () => {
    if (isMigrationOver((await queryMigration(domain.monitor)).status)) {
      await setCapability(domain.monitor, 'background-snapshot', false);
      return true;
    }
    // Cutting a background snapshot can hang QEMU; whoever holds its socket takes the rest.
    if (!(await queryCapability(domain.monitor, 'background-snapshot'))) {
      await cancelMigration(domain.monitor);
    }
    return false;
  });
}

/** libvirt has no call that waits for these, and its events may be lost with a connection. */
async function untilOver(failure: string, isOver: () => Promise<boolean>): Promise<void> {
  for (let attempt = 1; attempt <= END_ATTEMPTS; attempt += 1) {
    if (await isOver()) return;
    const delayMs = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 16));
    await new Promise<void>((resolve) => setTimeout(resolve, delayMs));
  }
  throw new OperationError('hypervisor_failed', failure);
}
