import { z } from 'zod';
import type { Reader, Writer } from './catalog.ts';
import { optionalJson, readOptionalJson, readWord } from './json-column.ts';
import type { CatalogSchema } from './schema.ts';
import { storedFailureSchema, type StoredFailure } from './stored-shapes.ts';

const stepStateSchema = z.enum(['waiting', 'running', 'done', 'failed', 'undone']);
export type StepState = z.infer<typeof stepStateSchema>;

export interface JobStepRow {
  readonly jobId: string;
  readonly name: string;
  readonly state: StepState;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
  readonly failure: StoredFailure | null;
}

/** Steps that are there already keep their state. */
export async function insertMissingSteps(
  tx: Writer,
  job: { jobId: string; names: readonly string[] },
): Promise<void> {
  await tx
    .insertInto('job_steps')
    .values(
      job.names.map((name, position) => ({ job_id: job.jobId, position, name, state: 'waiting' })),
    )
    .onConflict((conflict) => conflict.columns(['job_id', 'name']).doNothing())
    .execute();
}

export async function updateStep(
  tx: Writer,
  change: {
    jobId: string;
    name: string;
    state: StepState;
    failure: StoredFailure | null;
    at: string;
  },
): Promise<void> {
  await tx
    .updateTable('job_steps')
    .set({
      state: change.state,
      failure: optionalJson(change.failure),
      ...(change.state === 'running'
        ? { started_at: change.at, finished_at: null }
        : { finished_at: change.at }),
    })
    .where('job_id', '=', change.jobId)
    .where('name', '=', change.name)
    .execute();
}

export async function listSteps(db: Reader, jobIds: readonly string[]): Promise<JobStepRow[]> {
  if (jobIds.length === 0) return [];
  const rows = await db
    .selectFrom('job_steps')
    .selectAll()
    .where('job_id', 'in', jobIds)
    .orderBy('job_id')
    .orderBy('position')
    .execute();
  return rows.map(toStep);
}

function toStep(row: CatalogSchema['job_steps']): JobStepRow {
  const where = `step ${row.name} of job ${row.job_id}`;
  return {
    jobId: row.job_id,
    name: row.name,
    state: readWord(stepStateSchema, row.state, where),
    startedAt: row.started_at,
    finishedAt: row.finished_at,
    failure: readOptionalJson(storedFailureSchema, row.failure, where),
  };
}
