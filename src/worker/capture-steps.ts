import { z } from 'zod';
import {
  snapshotKindSchema,
  memoryModeSchema,
  consistencyLevelSchema,
  quiescePolicySchema,
} from '../shared/inventory.ts';
import { auditHeadHash } from '../control-plane/audit/audit-trail.ts';
import type { Writer } from '../control-plane/database/catalog.ts';
import {
  releaseScratch,
  listHeldScratch,
  reserveScratch,
} from '../control-plane/database/scratch-reservations.ts';
import { findCheckpointHolder } from '../control-plane/database/snapshot-checkpoints.ts';
import {
  activateSnapshot,
  findSnapshot,
  setSnapshotCheckpoint,
} from '../control-plane/database/snapshots.ts';
import { findVm, setCurrentSnapshot } from '../control-plane/database/vms.ts';
import type { CaptureWish as PlanWish } from '../control-plane/policy/capture-wish.ts';
import { NO_CONFIRMATION } from '../control-plane/policy/confirmation.ts';
import { planCapture } from '../control-plane/policy/plan-capture.ts';
import type { Manifest } from '../data-plane/chunk-repository/manifest.ts';
import { OperationError, describeThrown } from '../shared/errors.ts';
import { formatBytes } from '../shared/byte-size.ts';
import {
  createCaptureRun,
  removeScratch,
  type CaptureRun,
  type CaptureOutcome,
} from './capture-run.ts';
import type { WorkerEnvironment } from './environment.ts';
import { readFreeBytes } from './space-watch.ts';

/** What a capture knows of itself, stored with its job so that any process can undo it. */
export const captureDataSchema = z.object({
  captureId: z.string(),
  snapshotId: z.guid(),
  vmId: z.guid(),
  kind: snapshotKindSchema,
  quiesce: quiescePolicySchema,
  wasRunning: z.boolean(),
  disks: z.array(z.string()),
  skippedDisks: z.array(z.object({ target: z.string(), reason: z.string() })),
  memoryMode: memoryModeSchema.nullable(),
  scratchBytes: z.int().nonnegative(),
  /** The snapshot whose checkpoint this capture continues from. */
  base: z.object({ snapshotId: z.guid(), checkpoint: z.string() }).nullable(),
  /** The facts that the catalog row gets; null until captured. */
  facts: z
    .object({
      kind: snapshotKindSchema,
      level: consistencyLevelSchema,
      levelReason: z.string(),
      capturedAt: z.string(),
      pauseMs: z.number(),
      pausePhases: z.array(z.object({ name: z.string(), durationMs: z.number() })),
      sizes: z.object({
        logicalBytes: z.int(),
        readBytes: z.int(),
        newBytes: z.int(),
        storedBytes: z.int(),
      }),
      disks: z.array(z.object({ target: z.string(), format: z.string(), sizeBytes: z.int() })),
      skippedDisks: z.array(z.object({ target: z.string(), reason: z.string() })),
      memoryMode: memoryModeSchema.nullable(),
      memoryBytes: z.int(),
      parentSnapshotId: z.guid().nullable(),
      checkpoint: z.string().nullable(),
      manifestDigest: z.string(),
    })
    .nullable(),
});
export type CaptureData = z.infer<typeof captureDataSchema>;

export interface CaptureStepContext {
  readonly jobId: string;
  readonly signal: AbortSignal;
  write<T>(work: (tx: Writer) => Promise<T>): Promise<T>;
  reportProgress(progress: { phase: string; doneBytes: number; totalBytes: number }): void;
}

/**
 * Plans the capture again with what the worker sees itself; the first problem is the error.
 * `disks` of the wish are as requested.
 */
export async function prepareCapture(
  environment: WorkerEnvironment,
  wish: PlanWish & { vmId: string; captureId: string; snapshotId: string },
  signal: AbortSignal,
): Promise<CaptureData> {
  const { driver, settings, clock, catalog } = environment;
  const [vm, host] = await Promise.all([
    driver.describeVm(wish.vmId, signal),
    driver.describeHost(signal),
  ]);
  const plan = planCapture({
    vm,
    host,
    present: true,
    wish,
    room: {
      scratchFreeBytes: await readFreeBytes(settings.scratchFolder),
      scratchFloorBytes: settings.scratchFloorBytes,
      repositoryFreeBytes: await readFreeBytes(settings.repositoryFolder),
    },
    inventoryAt: clock.now().toISOString(),
    confirmation: NO_CONFIRMATION,
  });
  const [problem] = plan.problems;
  if (problem) throw new OperationError(problem.code, `${problem.reason} ${problem.whatToDo}`);
  const isLive = vm.state === 'running' || vm.state === 'paused';
  return {
    captureId: wish.captureId,
    snapshotId: wish.snapshotId,
    vmId: wish.vmId,
    kind: plan.memoryMode === null ? 'disk' : 'full',
    quiesce: wish.quiesce,
    wasRunning: vm.state === 'running',
    disks: plan.disks.map((disk) => disk.target),
    skippedDisks: plan.skipped,
    memoryMode: plan.memoryMode,
    scratchBytes: plan.scratchBytesNeeded,
    base: isLive ? ((await findCheckpointHolder(catalog.read, wish.vmId)) ?? null) : null,
    facts: null,
  };
}

/** Sets scratch space aside; throws `insufficient_space` when others hold what would be needed. */
export async function reserveScratchFor(
  environment: WorkerEnvironment,
  context: CaptureStepContext,
  data: CaptureData,
): Promise<void> {
  const { settings, hostId, clock } = environment;
  const freeBytes = await readFreeBytes(settings.scratchFolder);
  await context.write(async (tx) => {
    const held = await listHeldScratch(tx, hostId);
    const heldBytes = held
      .filter((reservation) => reservation.jobId !== context.jobId)
      .reduce((sum, reservation) => sum + reservation.reservedBytes, 0);
    const usableBytes = freeBytes - heldBytes - settings.scratchFloorBytes;
    if (usableBytes < data.scratchBytes) {
      throw new OperationError(
        'insufficient_space',
        `The capture needs ${formatBytes(data.scratchBytes)} of scratch space in ${settings.scratchFolder}, and ${formatBytes(Math.max(0, usableBytes))} are neither used nor reserved; wait for other captures or add room.`,
      );
    }
    await reserveScratch(tx, {
      id: data.captureId,
      hostId,
      jobId: context.jobId,
      folder: settings.scratchFolder,
      reservedBytes: data.scratchBytes,
      floorBytes: settings.scratchFloorBytes,
      at: clock.now().toISOString(),
    });
  });
}

export async function releaseScratchOf(
  environment: WorkerEnvironment,
  context: Pick<CaptureStepContext, 'jobId' | 'write'>,
): Promise<void> {
  const at = environment.clock.now().toISOString();
  await context.write(async (tx) => await releaseScratch(tx, { jobId: context.jobId, at }));
}

/** The instant: afterwards the guest runs and its captured state waits to be streamed. */
export async function freezeVm(
  environment: WorkerEnvironment,
  data: CaptureData,
  signal: AbortSignal,
): Promise<CaptureRun> {
  const run = createCaptureRun(environment);
  try {
    const session = await run.freeze(
      {
        vmId: data.vmId,
        captureId: data.captureId,
        kind: data.kind,
        disks: data.disks,
        quiesce: data.quiesce,
        memoryMode: data.memoryMode,
        parent: await readBase(environment, data),
      },
      signal,
    );
    // Planned for another state, it would have another level, scratch space and way back.
    if ((session.vm.state === 'running') !== data.wasRunning) {
      throw new OperationError(
        'guest_changed',
        `${session.vm.name} was started, stopped or paused just before the capture; take the snapshot again.`,
      );
    }
    return run;
  } catch (error) {
    await run.abandon();
    throw error;
  }
}

async function readBase(
  environment: WorkerEnvironment,
  data: CaptureData,
): Promise<Manifest | null> {
  if (!data.base) return null;
  try {
    return await environment.repository.readManifest(data.base.snapshotId);
  } catch (error) {
    environment.logger.warn(
      { snapshotId: data.base.snapshotId, reason: describeThrown(error) },
      'the base of an incremental capture cannot be read; the disks are read in full',
    );
    return null;
  }
}

export async function streamVm(
  environment: WorkerEnvironment,
  context: CaptureStepContext,
  options: { run: CaptureRun; data: CaptureData; phase: string },
): Promise<void> {
  const { run, data, phase } = options;
  const { catalog, driver, toolVersion } = environment;
  const snapshot = await findSnapshot(catalog.read, data.snapshotId);
  if (!snapshot)
    throw new OperationError('not_found', 'The snapshot is not in the catalog any more.');
  await run.stream(
    {
      snapshotId: data.snapshotId,
      name: snapshot.name,
      createdAt: snapshot.createdAt,
      toolVersion,
      host: await driver.describeHost(context.signal),
      skippedDisks: data.skippedDisks,
      auditHead: await auditHeadHash(catalog.read),
    },
    (progress) => context.reportProgress({ phase, ...progress }),
    context.signal,
  );
}

/** Makes the bundle durable; the row becomes active in the transaction that the caller runs next. */
export async function commitVm(
  environment: WorkerEnvironment,
  run: CaptureRun,
  data: CaptureData,
): Promise<NonNullable<CaptureData['facts']>> {
  const outcome = await run.commit();
  const vm = await findVm(environment.catalog.read, data.vmId);
  return describeFacts(run, outcome, vm?.currentSnapshotId ?? null);
}

function describeFacts(
  run: CaptureRun,
  outcome: CaptureOutcome,
  parentSnapshotId: string | null,
): NonNullable<CaptureData['facts']> {
  const { manifest, written } = outcome;
  const { session } = run;
  const memoryBytes = manifest.memory ? manifest.vm.memoryBytes : 0;
  const diskBytes = manifest.disks.reduce((sum, disk) => sum + disk.sizeBytes, 0);
  return {
    kind: manifest.kind,
    level: manifest.level,
    levelReason: manifest.levelReason,
    capturedAt: manifest.capturedAt,
    pauseMs: manifest.pauseMs,
    pausePhases: [...(session?.pausePhases ?? [])],
    sizes: {
      logicalBytes: diskBytes + memoryBytes,
      readBytes: outcome.readBytes,
      newBytes: written.bytesNew,
      storedBytes: written.bytesStored,
    },
    disks: manifest.disks.map(({ target, format, sizeBytes }) => ({ target, format, sizeBytes })),
    skippedDisks: manifest.skippedDisks,
    memoryMode: manifest.memory?.mode ?? null,
    memoryBytes,
    parentSnapshotId,
    checkpoint: session?.checkpoint ?? null,
    manifestDigest: outcome.manifestDigest,
  };
}

/** In the transaction that records the bundle as complete. */
export async function activateCaptured(tx: Writer, data: CaptureData, at: string): Promise<void> {
  if (!data.facts) throw new Error('a capture is committed before it is activated');
  await activateSnapshot(tx, { id: data.snapshotId, facts: data.facts, at });
  await setCurrentSnapshot(tx, { vmId: data.vmId, snapshotId: data.snapshotId, at });
}

/**
 * Ends the session after the commit. Without the session (the process that held it died) the
 * checkpoint goes too: nobody knows whether its bitmap is whole.
 */
export async function releaseCapture(
  environment: WorkerEnvironment,
  context: Pick<CaptureStepContext, 'jobId' | 'write'>,
  options: { run: CaptureRun | undefined; data: CaptureData },
): Promise<void> {
  const { run, data } = options;
  const { driver, clock } = environment;
  const at = clock.now().toISOString();
  if (run) await run.release();
  else {
    await driver.reconcileCapture(data);
    await removeScratch(environment, data.captureId);
    await context.write(async (tx) => {
      await setSnapshotCheckpoint(tx, { id: data.snapshotId, checkpoint: null, at });
    });
  }
  await dropBase(environment, context, data, at);
  await releaseScratchOf(environment, context);
}

/** One checkpoint per VM is enough: the newest. Older ones only slow the guest down. */
async function dropBase(
  environment: WorkerEnvironment,
  context: Pick<CaptureStepContext, 'write'>,
  data: CaptureData,
  at: string,
): Promise<void> {
  const { base } = data;
  if (!base || !data.facts?.checkpoint) return;
  await environment.driver.dropCheckpoint(data.vmId, base.checkpoint);
  await context.write(async (tx) => {
    await setSnapshotCheckpoint(tx, { id: base.snapshotId, checkpoint: null, at });
  });
}

/** The way back from any point before the commit, in this process or after its death. */
export async function undoCapture(
  environment: WorkerEnvironment,
  context: Pick<CaptureStepContext, 'jobId' | 'write'>,
  options: { run: CaptureRun | undefined; data: CaptureData },
): Promise<void> {
  const { run, data } = options;
  if (run) await run.abandon();
  else {
    await environment.driver.reconcileCapture(data);
    await removeScratch(environment, data.captureId);
  }
  await environment.repository.deleteManifest(data.snapshotId);
  await releaseScratchOf(environment, context);
}
