import { findRequest } from '../control-plane/database/requests.ts';
import { failSnapshot, findSnapshot, insertSnapshot } from '../control-plane/database/snapshots.ts';
import type { JobRow } from '../control-plane/database/jobs.ts';
import { OperationError } from '../shared/errors.ts';
import { newId } from '../shared/ids.ts';
import {
  activateCaptured,
  commitVm,
  freezeVm,
  prepareCapture,
  releaseCapture,
  streamVm,
  undoCapture,
  type CaptureData,
  type CaptureStepContext,
} from './capture-steps.ts';
import type { WorkerEnvironment } from './environment.ts';

/** What taking a safety snapshot needs of the rollback's job. */
export interface SafetyContext extends CaptureStepContext {
  readonly job: JobRow;
  saveSafety(data: CaptureData): Promise<void>;
}

/** Captures the VM as it is before it is rolled back: a snapshot like any other, and it stays. */
export async function takeSafetySnapshot(
  environment: WorkerEnvironment,
  context: SafetyContext,
  vmId: string,
): Promise<void> {
  const { clock } = environment;
  const prepared = await prepareSafety(environment, context, vmId);
  const run = await freezeVm(environment, prepared, context.signal);
  let data = prepared;
  try {
    await streamVm(environment, context, { run, data, phase: 'safety snapshot' });
    data = { ...prepared, facts: await commitVm(environment, run, prepared) };
    await context.saveSafety(data);
    await context.write(async (tx) => await activateCaptured(tx, data, clock.now().toISOString()));
  } catch (error) {
    await run.abandon();
    throw error;
  }
  await releaseCapture(environment, context, { run, data });
}

async function prepareSafety(
  environment: WorkerEnvironment,
  context: SafetyContext,
  vmId: string,
): Promise<CaptureData> {
  const { catalog, clock, hostId } = environment;
  const now = clock.now();
  const snapshotId = newId(now.getTime());
  const request = await findRequest(catalog.read, context.job.requestId);
  const { snapshotId: targetId } = context.job;
  const target = targetId === null ? undefined : await findSnapshot(catalog.read, targetId);
  if (!request || !target) {
    throw new OperationError('not_found', 'The snapshot is not in the catalog any more.');
  }
  const skipDisks = target.skippedDisks.map((disk) => disk.target);
  const { kind } = target;
  const wish = {
    kind,
    quiesce: 'prefer' as const,
    skipDisks,
    vmId,
    snapshotId,
    captureId: snapshotId,
  };
  const prepared = await prepareCapture(environment, wish, context.signal);
  await context.saveSafety(prepared);
  await context.write(async (tx) => {
    await insertSnapshot(tx, {
      id: snapshotId,
      vmId,
      vmName: target.vmName,
      hostId,
      name: `before-rollback_${formatStamp(now)}`,
      description: `Taken before rolling back to ${target.name}.`,
      kind: prepared.kind,
      labels: {},
      expiresAt: null,
      createdBy: request.requestedBy,
      requestId: request.id,
      at: now.toISOString(),
    });
  });
  return prepared;
}

/**
 * After a failed rollback: a complete safety snapshot stays (and becomes active if the process died
 * just before that), an incomplete one is put back.
 */
export async function settleSafetySnapshot(
  environment: WorkerEnvironment,
  context: Pick<CaptureStepContext, 'jobId' | 'write'>,
  safety: CaptureData,
): Promise<void> {
  const at = environment.clock.now().toISOString();
  const row = await findSnapshot(environment.catalog.read, safety.snapshotId);
  if (safety.facts && row) {
    if (row.state === 'creating') {
      await context.write(async (tx) => await activateCaptured(tx, safety, at));
    }
    await releaseCapture(environment, context, { run: undefined, data: safety });
    return;
  }
  await undoCapture(environment, context, { run: undefined, data: safety });
  if (row?.state !== 'creating') return;
  const failure = {
    code: 'interrupted' as const,
    message: 'The rollback that needed it was undone.',
  };
  await context.write(async (tx) => await failSnapshot(tx, { id: safety.snapshotId, failure, at }));
}

/** `20260131-235959`, UTC: sorts, and is valid in names and files. */
const formatStamp = (time: Date): string =>
  time.toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-');
