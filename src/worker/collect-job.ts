import { z } from 'zod';
import type { JobDefinition } from '../control-plane/jobs/job-definition.ts';
import { recordCollection } from '../control-plane/database/repositories.ts';
import type { WorkerEnvironment } from './environment.ts';
import { recordFailure, recordSuccess } from './job-outcomes.ts';

const parametersSchema = z.looseObject({});
const dataSchema = z.object({
  bytesFreed: z.int().nonnegative().optional(),
  packsWaiting: z.int().nonnegative().optional(),
  damages: z.array(z.string()).optional(),
});
type Parameters = z.infer<typeof parametersSchema>;
type Data = z.infer<typeof dataSchema>;

/** Gives back the space of chunks that no snapshot refers to. A killed collection is simply run again. */
export function createCollectJob(environment: WorkerEnvironment): JobDefinition<Parameters, Data> {
  const { repository } = environment;
  return {
    kind: 'collect',
    parametersSchema,
    dataSchema,
    commitStep: 'collect',
    steps: [
      {
        name: 'collect',
        async run(context) {
          const report = await repository.collect(
            (progress) => context.reportProgress({ phase: 'collect', ...progress }),
            context.signal,
          );
          await context.save({
            bytesFreed: report.bytesFreed,
            packsWaiting: report.packsWaiting,
            damages: [...report.damages],
          });
        },
      },
    ],
    async onSucceeded(tx, facts) {
      const { bytesFreed = 0, packsWaiting = 0, damages = [] } = facts.data;
      await recordCollection(tx, { id: repository.id, at: facts.at });
      const notes = [...damages];
      if (packsWaiting > 0) {
        notes.push(
          `${packsWaiting} packs wait for captures that are under way; collect again later.`,
        );
      }
      await recordSuccess(tx, facts, { bytesFreed, notes });
    },
    onFailed: recordFailure,
  };
}
