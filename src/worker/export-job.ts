import { z } from 'zod';
import { snapshotExportInputSchema } from '../contract/snapshot-inputs.ts';
import type { JobDefinition } from '../control-plane/jobs/job-definition.ts';
import { countDataBytes, diskParts, memoryParts } from '../data-plane/engine/bundle-exports.ts';
import { OperationError } from '../shared/errors.ts';
import type { WorkerEnvironment } from './environment.ts';
import { planExport, publishExport, removePartialExport, writeExport } from './export-run.ts';
import { recordFailure, recordSuccess } from './job-outcomes.ts';

const parametersSchema = z.object({
  folder: snapshotExportInputSchema.shape.folder,
  format: snapshotExportInputSchema.shape.format,
  includeMemory: snapshotExportInputSchema.shape.includeMemory,
});
const dataSchema = z.object({
  place: z.object({ partialFolder: z.string(), finalFolder: z.string() }).optional(),
  files: z.array(z.string()).optional(),
});
type Parameters = z.infer<typeof parametersSchema>;
type Data = z.infer<typeof dataSchema>;

/** Export: files appear under their final name only when all of them are complete. */
export function createExportJob(environment: WorkerEnvironment): JobDefinition<Parameters, Data> {
  const { repository } = environment;
  return {
    kind: 'export',
    parametersSchema,
    dataSchema,
    commitStep: 'publish',
    steps: [
      {
        name: 'write',
        async run(context) {
          const { snapshotId } = context.job;
          if (snapshotId === null)
            throw new OperationError('internal', 'The job names no snapshot.');
          const manifest = await repository.readManifest(snapshotId);
          const wish = { exportId: context.jobId, ...context.parameters };
          const place = await planExport(environment, manifest, wish);
          await context.save({ place });
          const totalBytes = await countDataBytes(repository, [
            ...diskParts(manifest.disks),
            ...(wish.includeMemory ? memoryParts(manifest.memory) : []),
          ]);
          let doneBytes = 0;
          const onBytes = (lengthBytes: number): void => {
            doneBytes += lengthBytes;
            context.reportProgress({ phase: 'write', doneBytes, totalBytes });
          };
          const files = await writeExport(
            environment,
            manifest,
            wish,
            place,
            onBytes,
            context.signal,
          );
          await context.save({ files });
        },
        async undo(context) {
          if (context.data.place) await removePartialExport(context.data.place);
        },
      },
      {
        name: 'publish',
        async run(context) {
          if (context.data.place) await publishExport(context.data.place);
        },
      },
    ],
    async onSucceeded(tx, facts) {
      await recordSuccess(tx, facts, {
        ...(facts.job.snapshotId === null ? {} : { snapshotId: facts.job.snapshotId }),
        files: facts.data.files ?? [],
      });
    },
    onFailed: recordFailure,
  };
}
