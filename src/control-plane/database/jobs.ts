import { sql } from 'kysely';
import { z } from 'zod';
import type { Reader, Writer } from './catalog.ts';
import { readJson, readOptionalJson, readWord } from './json-column.ts';
import { appendNotification } from './notifications.ts';
import type { PageRequest } from './page.ts';
import type { CatalogSchema } from './schema.ts';
import {
  storedFailureSchema,
  storedJsonObjectSchema,
  storedProgressSchema,
  type StoredFailure,
  type StoredJsonObject,
  type StoredProgress,
} from './stored-shapes.ts';
import { whereOfReachedVm, type VmReach } from './vm-reach.ts';

const jobStateSchema = z.enum(['queued', 'running', 'undoing', 'succeeded', 'failed', 'cancelled']);
export type JobState = z.infer<typeof jobStateSchema>;

export interface JobRow {
  readonly id: string;
  readonly requestId: string;
  readonly kind: string;
  readonly hostId: string;
  readonly vmId: string | null;
  readonly snapshotId: string | null;
  readonly state: JobState;
  /** Whether the commit step is done: after it there is only forward. */
  readonly committed: boolean;
  readonly lockKey: string | null;
  readonly parameters: StoredJsonObject;
  readonly data: StoredJsonObject;
  readonly attempts: number;
  /** Failures in a row of what must not be given up: undo, and steps after the commit. */
  readonly retries: number;
  readonly cancelRequested: boolean;
  readonly cancelReason: string | null;
  readonly fencing: number;
  readonly progress: StoredProgress | null;
  readonly failure: StoredFailure | null;
  readonly createdAt: string;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
}

export interface NewJob {
  readonly id: string;
  readonly requestId: string;
  readonly kind: string;
  readonly hostId: string;
  readonly vmId: string | null;
  readonly snapshotId: string | null;
  /** Of jobs with the same key only one runs at a time: `vm:<id>`. */
  readonly lockKey: string | null;
  readonly parameters: object;
  readonly at: string;
}

export async function insertJob(tx: Writer, job: NewJob): Promise<void> {
  await tx
    .insertInto('jobs')
    .values({
      id: job.id,
      request_id: job.requestId,
      kind: job.kind,
      host_id: job.hostId,
      vm_id: job.vmId,
      snapshot_id: job.snapshotId,
      state: 'queued',
      committed: 0,
      lock_key: job.lockKey,
      parameters: JSON.stringify(job.parameters),
      data: '{}',
      attempts: 0,
      retries: 0,
      cancel_requested: 0,
      fencing: 0,
      created_at: job.at,
    })
    .execute();
  await notifyJob(tx, job, 'created');
}

export const notifyJob = (
  tx: Writer,
  job: { id: string; vmId: string | null; at: string },
  type: 'created' | 'changed' | 'progress',
): Promise<void> =>
  appendNotification(tx, {
    at: job.at,
    type,
    resource: 'job',
    resourceId: job.id,
    vmId: job.vmId,
  });

export async function findJob(db: Reader, id: string): Promise<JobRow | undefined> {
  const row = await db.selectFrom('jobs').selectAll().where('id', '=', id).executeTakeFirst();
  return row && toJob(row);
}

export interface JobFilter {
  /** Undefined: for the service itself. */
  readonly reach?: VmReach | undefined;
  readonly kinds?: readonly string[] | undefined;
  readonly states?: readonly string[] | undefined;
  readonly hostId?: string | undefined;
  readonly vmId?: string | undefined;
  readonly requestId?: string | undefined;
}

/** Newest first. */
export async function listJobs(
  db: Reader,
  filter: JobFilter,
  page: PageRequest<{ id: string }>,
): Promise<JobRow[]> {
  let query = db.selectFrom('jobs').selectAll();
  query = query.where(whereOfReachedVm(filter.reach, sql.ref('jobs.vm_id')));
  if (filter.kinds) query = query.where('kind', 'in', filter.kinds);
  if (filter.states) query = query.where('state', 'in', filter.states);
  if (filter.hostId) query = query.where('host_id', '=', filter.hostId);
  if (filter.vmId) query = query.where('vm_id', '=', filter.vmId);
  if (filter.requestId) query = query.where('request_id', '=', filter.requestId);
  if (page.after) query = query.where('id', '<', page.after.id);
  const rows = await query.orderBy('id', 'desc').limit(page.limit).execute();
  return rows.map(toJob);
}

export async function countJobsByState(db: Reader, reach: VmReach): Promise<Map<string, number>> {
  const rows = await db
    .selectFrom('jobs')
    .where(whereOfReachedVm(reach, sql.ref('jobs.vm_id')))
    .select((eb) => ['state', eb.fn.countAll<number>().as('count')])
    .groupBy('state')
    .execute();
  return new Map(rows.map((row) => [row.state, row.count]));
}

/** False when the job is over, so that there is nothing to cancel. */
export async function markCancelRequested(
  tx: Writer,
  change: { id: string; reason: string; at: string },
): Promise<boolean> {
  const row = await tx
    .updateTable('jobs')
    .set({ cancel_requested: 1, cancel_reason: change.reason, run_after: null })
    .where('id', '=', change.id)
    .where('state', 'in', ['queued', 'running'])
    .returning('vm_id')
    .executeTakeFirst();
  if (!row) return false;
  await notifyJob(tx, { id: change.id, vmId: row.vm_id, at: change.at }, 'changed');
  return true;
}

/** False when a worker has it already, or it is over. */
export async function cancelQueuedJob(
  tx: Writer,
  change: { id: string; failure: StoredFailure; at: string },
): Promise<boolean> {
  const row = await tx
    .updateTable('jobs')
    .set({
      state: 'cancelled',
      failure: JSON.stringify(change.failure),
      finished_at: change.at,
    })
    .where('id', '=', change.id)
    .where('state', '=', 'queued')
    .returning('vm_id')
    .executeTakeFirst();
  if (!row) return false;
  await notifyJob(tx, { id: change.id, vmId: row.vm_id, at: change.at }, 'changed');
  return true;
}

export function toJob(row: CatalogSchema['jobs']): JobRow {
  const where = `job ${row.id}`;
  return {
    id: row.id,
    requestId: row.request_id,
    kind: row.kind,
    hostId: row.host_id,
    vmId: row.vm_id,
    snapshotId: row.snapshot_id,
    state: readWord(jobStateSchema, row.state, where),
    committed: row.committed === 1,
    lockKey: row.lock_key,
    parameters: readJson(storedJsonObjectSchema, row.parameters, where),
    data: readJson(storedJsonObjectSchema, row.data, where),
    attempts: row.attempts,
    retries: row.retries,
    cancelRequested: row.cancel_requested === 1,
    cancelReason: row.cancel_reason,
    fencing: row.fencing,
    progress: readOptionalJson(storedProgressSchema, row.progress, where),
    failure: readOptionalJson(storedFailureSchema, row.failure, where),
    createdAt: row.created_at,
    startedAt: row.started_at,
    finishedAt: row.finished_at,
  };
}
