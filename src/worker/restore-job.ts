import path from 'node:path';
import { z } from 'zod';
import { newVmInputSchema, rollbackInputSchema } from '../contract/snapshot-inputs.ts';
import { setCurrentSnapshot } from '../control-plane/database/vms.ts';
import type { JobContext, JobDefinition } from '../control-plane/jobs/job-definition.ts';
import type { Manifest } from '../data-plane/chunk-repository/manifest.ts';
import {
  countDataBytes,
  diskParts,
  memoryParts,
  serveBundleDisks,
} from '../data-plane/engine/bundle-exports.ts';
import { OperationError } from '../shared/errors.ts';
import { newId } from '../shared/ids.ts';
import { captureDataSchema } from './capture-steps.ts';
import type { WorkerEnvironment } from './environment.ts';
import { recordFailure, recordSuccess } from './job-outcomes.ts';
import { createRestoreRun, type RestoreRun } from './restore-run.ts';
import { settleSafetySnapshot, takeSafetySnapshot } from './safety-snapshot.ts';
import { stagedRestoreSchema } from './staged-restore.ts';

const parametersSchema = z.discriminatedUnion('mode', [
  rollbackInputSchema.omit({ reason: true, reference: true }).strip(),
  newVmInputSchema.omit({ reason: true, reference: true }).strip(),
]);
type Parameters = z.infer<typeof parametersSchema>;

const dataSchema = z.object({
  restoreId: z.string().optional(),
  /** The VM that will hold the state: the captured one, or a new one. */
  vmId: z.guid().optional(),
  wasRunning: z.boolean().optional(),
  stopped: z.boolean().optional(),
  staged: stagedRestoreSchema.optional(),
  swapping: z.boolean().optional(),
  safety: captureDataSchema.optional(),
});
type Data = z.infer<typeof dataSchema>;
type Context = JobContext<Parameters, Data>;
type Step = JobDefinition<Parameters, Data>['steps'][number];

interface LiveRestore {
  readonly run: RestoreRun;
  readonly manifest: Manifest;
}

/**
 * Restore: check → stage → safety snapshot → stop → swap → start → tidy up. Until the VM is
 * started in its restored state everything can be undone; the VM then is the old one again.
 */
export function createRestoreJob(environment: WorkerEnvironment): JobDefinition<Parameters, Data> {
  const live = new Map<string, LiveRestore>();
  const closeLive = async (jobId: string): Promise<void> => {
    await live.get(jobId)?.run.close();
    live.delete(jobId);
  };
  return {
    kind: 'restore',
    parametersSchema,
    dataSchema,
    commitStep: 'start',
    steps: [
      checkStep(environment, live),
      stageStep(environment, live, closeLive),
      safetyStep(environment),
      stopStep(environment),
      swapStep(environment),
      startStep(environment, live),
      {
        name: 'tidy up',
        async run(context) {
          await closeLive(context.jobId);
          if (context.data.staged) await environment.driver.discardReplaced(context.data.staged);
        },
      },
    ],
    async onCommitted(tx, { job, data, at }) {
      if (data.vmId && job.snapshotId !== null && data.vmId === job.vmId) {
        await setCurrentSnapshot(tx, { vmId: data.vmId, snapshotId: job.snapshotId, at });
      }
    },
    async onSucceeded(tx, facts) {
      const { vmId, safety } = facts.data;
      await recordSuccess(tx, facts, {
        ...(facts.job.snapshotId === null ? {} : { snapshotId: facts.job.snapshotId }),
        ...(vmId ? { vmId } : {}),
        ...(safety?.facts ? { safetySnapshotId: safety.snapshotId } : {}),
      });
    },
    onFailed: recordFailure,
  };
}

function requireStaged(context: Context): NonNullable<Data['staged']> {
  if (!context.data.staged) throw new Error('nothing was staged');
  return context.data.staged;
}

const isNewVm = (context: Context): boolean => context.parameters.mode === 'new-vm';

function checkStep(environment: WorkerEnvironment, live: Map<string, LiveRestore>): Step {
  const { driver, repository, settings, clock } = environment;
  return {
    name: 'check',
    async run(context) {
      const { snapshotId, vmId: capturedVmId } = context.job;
      if (snapshotId === null || capturedVmId === null) {
        throw new OperationError('internal', 'The job names no VM or no snapshot.');
      }
      const { parameters } = context;
      const vmId = parameters.mode === 'new-vm' ? newId(clock.now().getTime()) : capturedVmId;
      const wasRunning =
        parameters.mode === 'rollback' &&
        (await driver.describeVm(vmId, context.signal)).state !== 'off';
      await context.save({ vmId, wasRunning, restoreId: context.jobId });
      const manifest = await repository.readManifest(snapshotId);
      const run = createRestoreRun(environment, manifest, {
        restoreId: context.jobId,
        vmId,
        newVm:
          parameters.mode === 'new-vm'
            ? {
                name: parameters.name,
                linksDown: parameters.linksDown,
                imageFolder: parameters.imageFolder ?? settings.imageFolder,
              }
            : null,
      });
      live.set(context.jobId, { run, manifest });
      if (!resumesMemory(context, manifest)) return;
      const totalBytes = await countDataBytes(repository, memoryParts(manifest.memory));
      let doneBytes = 0;
      await run.checkMemory((lengthBytes) => {
        doneBytes += lengthBytes;
        context.reportProgress({ phase: 'check', doneBytes, totalBytes });
      }, context.signal);
    },
    async undo(context) {
      await live.get(context.jobId)?.run.close();
      live.delete(context.jobId);
    },
  };
}

function resumesMemory({ parameters }: Context, manifest: Manifest): boolean {
  if (!manifest.memory) return false;
  return parameters.mode === 'new-vm' ? parameters.resumeMemory : parameters.start !== false;
}

function requireLive(context: Context, live: Map<string, LiveRestore>): LiveRestore {
  const found = live.get(context.jobId);
  if (!found)
    throw new OperationError('interrupted', 'The restore was interrupted; ask for it again.');
  return found;
}

function stageStep(
  environment: WorkerEnvironment,
  live: Map<string, LiveRestore>,
  closeLive: (jobId: string) => Promise<void>,
): Step {
  return {
    name: 'stage',
    async run(context) {
      const { run, manifest } = requireLive(context, live);
      const totalBytes = await countDataBytes(environment.repository, diskParts(manifest.disks));
      let doneBytes = 0;
      const staged = await run.stage(
        {
          onPlanned: async (planned) =>
            await context.save({ staged: stagedRestoreSchema.parse(planned) }),
          onBytes(lengthBytes) {
            doneBytes += lengthBytes;
            context.reportProgress({ phase: 'stage', doneBytes, totalBytes });
          },
        },
        context.signal,
      );
      await context.save({ staged: stagedRestoreSchema.parse(staged) });
    },
    async undo(context) {
      await closeLive(context.jobId);
      if (context.data.staged) await environment.driver.discardStaged(context.data.staged);
    },
  };
}

/** As late as possible: what the guest does between this and the stop is the only thing that is lost. */
function safetyStep(environment: WorkerEnvironment): Step {
  return {
    name: 'safety snapshot',
    async run(context) {
      const { parameters, data, job } = context;
      const needsOne =
        parameters.mode === 'rollback' &&
        (parameters.safetySnapshot || (data.staged?.inPlace.length ?? 0) > 0);
      if (!needsOne || !data.vmId || job.snapshotId === null) return;
      await takeSafetySnapshot(
        environment,
        { ...context, saveSafety: async (safety) => await context.save({ safety }) },
        data.vmId,
      );
    },
    async undo(context) {
      const { safety } = context.data;
      if (safety) await settleSafetySnapshot(environment, context, safety);
    },
  };
}

function stopStep(environment: WorkerEnvironment): Step {
  return {
    name: 'stop',
    async run(context) {
      const { vmId } = context.data;
      if (isNewVm(context) || !vmId) return;
      await context.save({ stopped: true });
      await environment.driver.stopVm(vmId, context.signal);
    },
    async undo(context) {
      const { vmId, stopped, wasRunning } = context.data;
      if (!stopped || !wasRunning || !vmId) return;
      // Also when it still runs: the stop that this job asked for may be under way.
      await environment.driver.startVm(vmId, { paused: false });
    },
  };
}

function swapStep(environment: WorkerEnvironment): Step {
  return {
    name: 'swap',
    async run(context) {
      await context.save({ swapping: true });
      await environment.driver.commitRestore(requireStaged(context), context.signal);
    },
    async undo(context) {
      const { swapping, staged, safety } = context.data;
      if (!swapping || !staged) return;
      await environment.driver.undoRestore(staged);
      if (staged.inPlace.length > 0 && safety?.facts) {
        await bringBackInPlace(environment, staged.inPlace, safety.snapshotId);
      }
    },
  };
}

/** A device that was overwritten has no old file to move back: the safety snapshot holds its content. */
async function bringBackInPlace(
  environment: WorkerEnvironment,
  disks: NonNullable<Data['staged']>['inPlace'],
  safetySnapshotId: string,
): Promise<void> {
  const { repository, driver, settings } = environment;
  const manifest = await repository.readManifest(safetySnapshotId);
  const server = await serveBundleDisks({
    repository,
    disks: manifest.disks,
    socketPath: path.join(settings.runtimeFolder, `undo-${safetySnapshotId.slice(-12)}.sock`),
    onRead: () => undefined,
  });
  try {
    await driver.overwriteDisks(
      disks.map((disk) => ({
        ...disk,
        source: { socketPath: server.socketPath, exportName: disk.target },
      })),
    );
  } finally {
    await server.close();
  }
}

function startStep(environment: WorkerEnvironment, live: Map<string, LiveRestore>): Step {
  return {
    name: 'start',
    async run(context) {
      const { driver } = environment;
      const { manifest, run } = requireLive(context, live);
      const { vmId } = context.data;
      if (!vmId) throw new Error('the VM is known since the check');
      if (resumesMemory(context, manifest)) {
        const totalBytes = await countDataBytes(
          environment.repository,
          memoryParts(manifest.memory),
        );
        let doneBytes = 0;
        await run.resumeMemory(
          {
            paused: manifest.vm.state === 'paused',
            onBytes(lengthBytes) {
              doneBytes += lengthBytes;
              context.reportProgress({ phase: 'start', doneBytes, totalBytes });
            },
          },
          context.signal,
        );
        return;
      }
      if (startsCold(context, manifest))
        await driver.startVm(vmId, { paused: false }, context.signal);
    },
  };
}

function startsCold({ parameters }: Context, manifest: Manifest): boolean {
  if (parameters.start === 'as-captured') return manifest.vm.state === 'running';
  return parameters.start;
}
