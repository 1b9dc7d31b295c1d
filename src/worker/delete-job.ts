import { z } from 'zod';
import type { JobDefinition } from '../control-plane/jobs/job-definition.ts';
import {
  findSnapshot,
  setSnapshotCheckpoint,
  setSnapshotState,
  snapshotStateSchema,
} from '../control-plane/database/snapshots.ts';
import { OperationError } from '../shared/errors.ts';
import type { WorkerEnvironment } from './environment.ts';
import { recordFailure, recordSuccess } from './job-outcomes.ts';

const parametersSchema = z.looseObject({});
const dataSchema = z.object({
  /** What the snapshot goes back to when the deletion fails. */
  stateBefore: snapshotStateSchema.optional(),
  checkpoint: z.string().nullable().optional(),
});
type Parameters = z.infer<typeof parametersSchema>;
type Data = z.infer<typeof dataSchema>;

const requireSnapshotId = (snapshotId: string | null): string => {
  if (snapshotId === null) throw new OperationError('internal', 'The job names no snapshot.');
  return snapshotId;
};

/**
 * Deletes one snapshot: the row goes to `deleting`, then the manifest, and from there on only
 * forward; its chunks are left to the next collection.
 */
export function createDeleteJob(environment: WorkerEnvironment): JobDefinition<Parameters, Data> {
  const { repository, driver, clock, logger } = environment;
  return {
    kind: 'delete',
    parametersSchema,
    dataSchema,
    commitStep: 'remove the bundle',
    steps: [
      {
        name: 'mark the snapshot',
        async run(context) {
          const id = requireSnapshotId(context.job.snapshotId);
          const snapshot = await findSnapshot(environment.catalog.read, id);
          if (!snapshot)
            throw new OperationError('not_found', 'The snapshot is not in the catalog.');
          await context.save({
            stateBefore: context.data.stateBefore ?? snapshot.state,
            checkpoint: snapshot.checkpoint,
          });
          if (snapshot.state === 'deleting') return;
          await context.write(async (tx) => {
            await setSnapshotState(tx, { id, state: 'deleting', at: clock.now().toISOString() });
          });
        },
        async undo(context) {
          const id = requireSnapshotId(context.job.snapshotId);
          const { stateBefore } = context.data;
          const snapshot = await findSnapshot(environment.catalog.read, id);
          if (!stateBefore || snapshot?.state !== 'deleting' || stateBefore === 'deleting') return;
          await context.write(async (tx) => {
            await setSnapshotState(tx, { id, state: stateBefore, at: clock.now().toISOString() });
          });
        },
      },
      {
        name: 'remove the bundle',
        async run(context) {
          await repository.deleteManifest(requireSnapshotId(context.job.snapshotId));
        },
      },
      {
        name: 'drop the checkpoint',
        async run(context) {
          const { checkpoint } = context.data;
          const { vmId } = context.job;
          if (!checkpoint || vmId === null) return;
          try {
            await driver.dropCheckpoint(vmId, checkpoint);
          } catch (error) {
            // The VM is gone, and its checkpoint with it.
            if (!(error instanceof OperationError) || error.code !== 'not_found') throw error;
            logger.debug({ vmId, checkpoint }, 'the checkpoint went with its VM');
          }
        },
      },
    ],
    async onSucceeded(tx, facts) {
      const id = requireSnapshotId(facts.job.snapshotId);
      await setSnapshotCheckpoint(tx, { id, checkpoint: null, at: facts.at });
      await setSnapshotState(tx, { id, state: 'deleted', at: facts.at });
      await recordSuccess(tx, facts, { snapshotId: id });
    },
    async onFailed(tx, facts) {
      // After the commit the bundle is gone whatever else failed.
      if (facts.committed && facts.job.snapshotId !== null) {
        await setSnapshotState(tx, { id: facts.job.snapshotId, state: 'deleted', at: facts.at });
      }
      await recordFailure(tx, facts);
    },
  };
}
