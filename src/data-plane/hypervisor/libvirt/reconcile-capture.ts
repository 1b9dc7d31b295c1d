import { rm } from 'node:fs/promises';
import { OperationError, describeThrown } from '../../../shared/errors.ts';
import type { Logger } from '../../../shared/logger.ts';
import type { GuardedCapture } from '../freeze-guard.ts';
import { captureFolderFor } from './capture-folder.ts';
import type { CaptureMarks } from './capture-mark.ts';
import type { DomainControl } from './domain-control.ts';
import { endMemory } from './end-capture.ts';
import { createDomainControl, lookupVm, type DomainConnections } from './libvirt-domain.ts';
import { checkpointNameFor } from './prepare-capture.ts';
import { releaseFrom } from './release-guest.ts';
import { getDomainState } from './rpc/domain-calls.ts';
import { exists } from './staged-files.ts';

export interface ReconcileContext {
  readonly connections: DomainConnections;
  readonly marks: CaptureMarks;
  readonly logger: Logger;
}

/**
 * Puts right what a dead process of ours may have left. The capture's folder is removed last, so
 * while it is there a job or a stream of this VM may be ours; without it nothing is. What the
 * guest may be held by stands in the capture's mark, so that a pause of its owner's stays.
 */
export async function reconcileCapture(
  context: ReconcileContext,
  capture: { vmId: string; captureId: string; wasRunning: boolean },
): Promise<void> {
  const folder = captureFolderFor(capture.captureId);
  const mark = await context.marks.read(capture.captureId);
  const control = await findActive(context, capture.vmId);
  if (control) {
    if (mark) await freeGuest(context, control, { ...mark, wasRunning: capture.wasRunning });
    if (await exists(folder.path)) {
      await control.endBackup(folder.nbdSocketPath);
      await endMemory(control);
    }
    await control.dropCheckpoint(checkpointNameFor(capture.captureId));
  }
  await rm(folder.path, { recursive: true, force: true });
  await context.marks.remove(capture.captureId);
}

/** The rule of the guard: the guest first, then our backup job. Streams end by themselves. */
export async function releaseGuest(
  context: ReconcileContext,
  capture: GuardedCapture,
): Promise<void> {
  const control = await findActive(context, capture.vmId);
  if (control) {
    if (capture.wasRunning && capture.holds !== 'nothing') {
      await releaseFrom(capture.holds, { domain: control, logger: context.logger });
    }
    await control.endBackup(captureFolderFor(capture.captureId).nbdSocketPath);
  }
}

async function freeGuest(
  { logger }: ReconcileContext,
  domain: DomainControl,
  mark: GuardedCapture,
): Promise<void> {
  if (!mark.wasRunning) return;
  try {
    await releaseFrom(mark.holds, { domain, logger });
  } catch (error) {
    if (mark.holds !== 'frozen') throw error;
    // An agent that does not answer must not keep the rest from being put right.
    logger.error(
      { vmId: mark.vmId, reason: describeThrown(error) },
      'the file systems of a guest may still be frozen',
    );
  }
}

/** Null for a VM that is gone or off, which nothing holds. */
async function findActive(
  { connections }: ReconcileContext,
  vmId: string,
): Promise<DomainControl | null> {
  try {
    const domain = await lookupVm(connections.rescue, vmId);
    const { state } = await getDomainState(connections.rescue, domain);
    const isOff = state === 'shut_off' || state === 'crashed';
    return isOff ? null : createDomainControl(connections, domain);
  } catch (error) {
    if (error instanceof OperationError && error.code === 'not_found') return null;
    throw error;
  }
}
