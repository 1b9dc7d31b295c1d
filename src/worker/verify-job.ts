import { z } from 'zod';
import type { JobDefinition } from '../control-plane/jobs/job-definition.ts';
import { recordVerification } from '../control-plane/database/snapshots.ts';
import { OperationError } from '../shared/errors.ts';
import type { WorkerEnvironment } from './environment.ts';
import { recordFailure, recordSuccess } from './job-outcomes.ts';

const parametersSchema = z.looseObject({});
const damageSchema = z.object({
  part: z.string(),
  offset: z.int().nonnegative(),
  lengthBytes: z.int().nonnegative(),
  reason: z.string(),
});
const dataSchema = z.object({
  bytesChecked: z.int().nonnegative().optional(),
  damages: z.array(damageSchema).optional(),
});
type Parameters = z.infer<typeof parametersSchema>;
type Data = z.infer<typeof dataSchema>;

/** A row holds this many damages; a report with more says how many there are in all. */
const DAMAGES_KEPT_MAX = 1000;

/** Re-reads a whole bundle; what is missing or wrong is spelled out on the snapshot. */
export function createVerifyJob(environment: WorkerEnvironment): JobDefinition<Parameters, Data> {
  return {
    kind: 'verify',
    parametersSchema,
    dataSchema,
    commitStep: 'read everything',
    steps: [
      {
        name: 'read everything',
        async run(context) {
          const { snapshotId } = context.job;
          if (snapshotId === null)
            throw new OperationError('internal', 'The job names no snapshot.');
          const report = await environment.repository.verifySnapshot(
            snapshotId,
            (progress) => context.reportProgress({ phase: 'read everything', ...progress }),
            context.signal,
          );
          await context.save({
            bytesChecked: report.bytesChecked,
            damages: report.damages.slice(0, DAMAGES_KEPT_MAX),
          });
        },
      },
    ],
    async onSucceeded(tx, facts) {
      const { snapshotId } = facts.job;
      if (snapshotId === null) return;
      const damages = facts.data.damages ?? [];
      await recordVerification(tx, { id: snapshotId, damage: damages, at: facts.at });
      await recordSuccess(tx, facts, {
        snapshotId,
        bytesChecked: facts.data.bytesChecked ?? 0,
        damageCount: damages.length,
      });
    },
    onFailed: recordFailure,
  };
}
