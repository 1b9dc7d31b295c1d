import { z } from 'zod';
import type { JobContext, JobDefinition } from '../control-plane/jobs/job-definition.ts';
import { failSnapshot } from '../control-plane/database/snapshots.ts';
import { snapshotCreateInputSchema } from '../contract/snapshot-inputs.ts';
import { OperationError } from '../shared/errors.ts';
import type { CaptureRun } from './capture-run.ts';
import {
  activateCaptured,
  captureDataSchema,
  commitVm,
  freezeVm,
  prepareCapture,
  releaseCapture,
  reserveScratchFor,
  streamVm,
  undoCapture,
  type CaptureData,
} from './capture-steps.ts';
import type { WorkerEnvironment } from './environment.ts';
import { recordFailure, recordSuccess } from './job-outcomes.ts';

const parametersSchema = z.object({
  kind: snapshotCreateInputSchema.shape.kind,
  quiesce: snapshotCreateInputSchema.shape.quiesce,
  skipDisks: snapshotCreateInputSchema.shape.skipDisks,
});
type Parameters = z.infer<typeof parametersSchema>;

const dataSchema = z.object({ capture: captureDataSchema.optional() });
type Data = z.infer<typeof dataSchema>;
type Context = JobContext<Parameters, Data>;

function requireCapture(context: Context): CaptureData {
  if (!context.data.capture) throw new Error('the capture was not prepared');
  return context.data.capture;
}

type Runs = Map<string, CaptureRun>;
type Step = JobDefinition<Parameters, Data>['steps'][number];

function requireRun(runs: Runs, context: Context): CaptureRun {
  const run = runs.get(context.jobId);
  if (!run) {
    throw new OperationError(
      'interrupted',
      'The capture was interrupted; take the snapshot again.',
    );
  }
  return run;
}

/** Capture: check → reserve scratch → freeze → stream → commit → release. */
export function createCaptureJob(environment: WorkerEnvironment): JobDefinition<Parameters, Data> {
  const runs: Runs = new Map();
  return {
    kind: 'create',
    parametersSchema,
    dataSchema,
    commitStep: 'commit',
    steps: [
      checkStep(environment),
      {
        name: 'reserve scratch',
        run: async (context) =>
          await reserveScratchFor(environment, context, requireCapture(context)),
      },
      freezeStep(environment, runs),
      {
        name: 'stream',
        run: async (context) =>
          await streamVm(environment, context, {
            run: requireRun(runs, context),
            data: requireCapture(context),
            phase: 'stream',
          }),
      },
      commitStep(environment, runs),
      {
        name: 'release',
        async run(context) {
          const data = requireCapture(context);
          await releaseCapture(environment, context, { run: runs.get(context.jobId), data });
          runs.delete(context.jobId);
        },
      },
    ],
    async onCommitted(tx, { data, at }) {
      if (data.capture) await activateCaptured(tx, data.capture, at);
    },
    async onSucceeded(tx, facts) {
      const snapshotId = facts.job.snapshotId ?? undefined;
      await recordSuccess(tx, facts, snapshotId === undefined ? {} : { snapshotId });
    },
    async onFailed(tx, facts) {
      const { snapshotId } = facts.job;
      if (!facts.committed && snapshotId !== null) {
        await failSnapshot(tx, { id: snapshotId, failure: facts.failure, at: facts.at });
      }
      await recordFailure(tx, facts);
    },
  };
}

function checkStep(environment: WorkerEnvironment): Step {
  return {
    name: 'check',
    async run(context) {
      const { vmId, snapshotId } = context.job;
      if (vmId === null || snapshotId === null) {
        throw new OperationError('internal', 'The job names no VM or no snapshot.');
      }
      const wish = { ...context.parameters, vmId, snapshotId, captureId: context.jobId };
      await context.save({ capture: await prepareCapture(environment, wish, context.signal) });
    },
  };
}

function freezeStep(environment: WorkerEnvironment, runs: Runs): Step {
  return {
    name: 'freeze',
    async run(context) {
      runs.set(context.jobId, await freezeVm(environment, requireCapture(context), context.signal));
    },
    async undo(context) {
      const { capture } = context.data;
      if (!capture) return;
      await undoCapture(environment, context, { run: runs.get(context.jobId), data: capture });
      runs.delete(context.jobId);
    },
  };
}

function commitStep(environment: WorkerEnvironment, runs: Runs): Step {
  return {
    name: 'commit',
    async run(context) {
      const capture = requireCapture(context);
      const facts = await commitVm(environment, requireRun(runs, context), capture);
      await context.save({ capture: { ...capture, facts } });
    },
  };
}
