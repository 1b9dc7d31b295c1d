import type { z } from 'zod';
import type { Job, jobListQuerySchema, jobPageSchema } from '../../contract/jobs.ts';
import { jobKindSchema } from '../../contract/scalars.ts';
import { jobCan } from '../../contract/state-predicates.ts';
import { OperationError } from '../../shared/errors.ts';
import {
  authorizeSomewhere,
  mayDo,
  reachOf,
  type Principal,
  type Target,
} from '../access/principal.ts';
import { appendAuditEvent } from '../audit/audit-trail.ts';
import type { Reader } from '../database/catalog.ts';
import { listSteps, type JobStepRow } from '../database/job-steps.ts';
import { findJob, listJobs, type JobRow } from '../database/jobs.ts';
import { findSnapshot } from '../database/snapshots.ts';
import { findVm } from '../database/vms.ts';
import { decodeCursor, idCursorSchema, pageFrom, pageLimit } from './cursor.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';
import { auditEntry, recordedAct } from './recorded.ts';
import { requireRequest } from './request-view.ts';
import { targetOfVmId } from './targets.ts';
import { cancelJobOf, requireOwnOrAdministrator } from './cancel-request.ts';

async function toJobViews(db: Reader, rows: readonly JobRow[]): Promise<Job[]> {
  const steps = Map.groupBy(
    await listSteps(
      db,
      rows.map((row) => row.id),
    ),
    (step) => step.jobId,
  );
  const views: Job[] = [];
  for (const row of rows) {
    const vm = row.vmId === null ? undefined : await findVm(db, row.vmId);
    const snapshot = row.snapshotId === null ? undefined : await findSnapshot(db, row.snapshotId);
    views.push({
      id: row.id,
      requestId: row.requestId,
      kind: jobKindSchema.parse(row.kind),
      hostId: row.hostId,
      vm: vm ? { id: vm.id, name: vm.name } : null,
      snapshot: snapshot ? { id: snapshot.id, name: snapshot.name } : null,
      state: row.state,
      attempts: row.attempts,
      steps: (steps.get(row.id) ?? []).map(toStepView),
      progress: row.progress,
      cancelRequested: row.cancelRequested,
      createdAt: row.createdAt,
      startedAt: row.startedAt,
      finishedAt: row.finishedAt,
      failure: row.failure,
    });
  }
  return views;
}

const toStepView = ({
  name,
  state,
  startedAt,
  finishedAt,
  failure,
}: JobStepRow): Job['steps'][number] => ({
  name,
  state,
  startedAt,
  finishedAt,
  error: failure,
});

/** For whoever may not see it, it does not exist. */
async function requireVisibleJob(
  db: Reader,
  principal: Principal,
  id: string,
): Promise<{ job: JobRow; target: Target }> {
  const job = await findJob(db, id);
  const target = job && (await targetOfVmId(db, job.vmId));
  if (!target || !mayDo(principal, 'view', target))
    throw new OperationError('not_found', `There is no job ${id}.`);
  return { job, target };
}

async function jobView(db: Reader, principal: Principal, id: string): Promise<Job> {
  const [view] = await toJobViews(db, [(await requireVisibleJob(db, principal, id)).job]);
  if (!view) throw new Error('one row makes one view');
  return view;
}

export async function jobList(
  environment: Environment,
  caller: Caller,
  query: z.output<typeof jobListQuerySchema>,
): Promise<z.output<typeof jobPageSchema>> {
  authorizeSomewhere(caller.principal, 'view');
  const limit = pageLimit(query);
  const db = environment.catalog.read;
  const rows = await listJobs(
    db,
    {
      reach: reachOf(caller.principal, 'view'),
      kinds: query.kind,
      states: query.state,
      hostId: query.hostId,
      vmId: query.vmId,
      requestId: query.requestId,
    },
    { limit: limit + 1, after: decodeCursor(idCursorSchema, query.cursor) },
  );
  const page = pageFrom(rows, { limit, toItem: (row) => row, keyOf: ({ id }) => ({ id }) });
  return { ...page, items: await toJobViews(db, page.items) };
}

export async function jobGet(environment: Environment, caller: Caller, id: string): Promise<Job> {
  authorizeSomewhere(caller.principal, 'view');
  return await jobView(environment.catalog.read, caller.principal, id);
}

export async function jobCancel(
  environment: Environment,
  caller: Caller,
  id: string,
): Promise<Job> {
  const act = { action: 'job.cancel', resourceType: 'job', resourceId: id };
  return await recordedAct(environment, caller, act, async (tx) => {
    authorizeSomewhere(caller.principal, 'view');
    const { job, target } = await requireVisibleJob(tx, caller.principal, id);
    const request = await requireRequest(tx, job.requestId);
    requireOwnOrAdministrator(caller, request, target);
    const verdict = jobCan.cancel(job);
    if (!verdict.allowed)
      throw new OperationError('wrong_state', verdict.reason, { details: { state: job.state } });
    const at = timestamp(environment);
    await cancelJobOf(tx, { jobId: id, reason: `by ${caller.principal.ref.name}`, at });
    await appendAuditEvent(
      tx,
      auditEntry(environment, caller, {
        ...act,
        resourceName: request.snapshot?.name ?? request.vm?.name ?? null,
        requestId: request.id,
        outcome: 'succeeded',
      }),
    );
    return await jobView(tx, caller.principal, id);
  });
}
