import { sql, type UpdateObject } from 'kysely';
import { z } from 'zod';
import type { Reader, Writer } from './catalog.ts';
import { optionalJson, readJson, readOptionalJson, readWord } from './json-column.ts';
import { appendNotification } from './notifications.ts';
import type { PageRequest } from './page.ts';
import type { CatalogSchema } from './schema.ts';
import {
  storedConfirmationSchema,
  storedFailureSchema,
  storedJsonObjectSchema,
  storedPrincipalSchema,
  type StoredConfirmation,
  type StoredFailure,
  type StoredJsonObject,
  type StoredPrincipal,
} from './stored-shapes.ts';
import { whereOfReachedVm, type VmReach } from './vm-reach.ts';

const requestStateSchema = z.enum([
  'pending',
  'approved',
  'executing',
  'succeeded',
  'failed',
  'rejected',
  'expired',
  'cancelled',
]);
export type RequestState = z.infer<typeof requestStateSchema>;

export const storedOperationSchema = z.enum([
  'create',
  'restore',
  'delete',
  'export',
  'verify',
  'collect',
  'change-rules',
]);
export type StoredOperation = z.infer<typeof storedOperationSchema>;

export interface RequestRow {
  readonly id: string;
  readonly operation: StoredOperation;
  readonly state: RequestState;
  readonly vm: { readonly id: string; readonly name: string } | null;
  readonly snapshot: { readonly id: string; readonly name: string } | null;
  readonly hostId: string | null;
  /** In the shape of the contract that was valid when it was written. */
  readonly parameters: StoredJsonObject;
  readonly plan: StoredJsonObject | null;
  readonly requestedBy: StoredPrincipal;
  readonly sourceAddress: string | null;
  readonly reason: string | null;
  readonly reference: string | null;
  readonly createdAt: string;
  readonly expiresAt: string | null;
  readonly approvalExpiresAt: string | null;
  readonly confirmation: StoredConfirmation;
  readonly approvalsNeeded: number;
  readonly round: number;
  readonly emergency: boolean;
  readonly decidedBy: StoredPrincipal | null;
  readonly decidedAt: string | null;
  readonly decisionComment: string | null;
  readonly jobId: string | null;
  readonly finishedAt: string | null;
  readonly failure: StoredFailure | null;
  readonly result: StoredJsonObject | null;
  readonly version: number;
}

export interface NewRequest {
  readonly id: string;
  readonly operation: StoredOperation;
  readonly state: 'pending' | 'approved';
  readonly vm: { readonly id: string; readonly name: string } | null;
  readonly snapshot: { readonly id: string; readonly name: string } | null;
  readonly hostId: string | null;
  readonly parameters: object;
  readonly plan: object | null;
  readonly requestedBy: StoredPrincipal;
  readonly sourceAddress: string | null;
  readonly reason: string | null;
  readonly reference: string | null;
  readonly expiresAt: string | null;
  readonly approvalExpiresAt: string | null;
  readonly confirmation: StoredConfirmation;
  readonly at: string;
}

export async function insertRequest(tx: Writer, request: NewRequest): Promise<void> {
  await tx
    .insertInto('requests')
    .values({
      id: request.id,
      operation: request.operation,
      state: request.state,
      vm_id: request.vm?.id ?? null,
      vm_name: request.vm?.name ?? null,
      snapshot_id: request.snapshot?.id ?? null,
      snapshot_name: request.snapshot?.name ?? null,
      host_id: request.hostId,
      parameters: JSON.stringify(request.parameters),
      plan: optionalJson(request.plan),
      requested_by: JSON.stringify(request.requestedBy),
      requested_by_id: request.requestedBy.id,
      source_address: request.sourceAddress,
      reason: request.reason,
      reference: request.reference,
      created_at: request.at,
      updated_at: request.at,
      expires_at: request.expiresAt,
      approval_expires_at: request.approvalExpiresAt,
      confirmation: JSON.stringify(request.confirmation),
      approvals_needed: request.confirmation.approvalsNeeded,
      round: 1,
      emergency: 0,
      version: 1,
    })
    .execute();
  await notifyRequest(
    tx,
    { id: request.id, vmId: request.vm?.id ?? null, at: request.at },
    'created',
  );
}

export async function decideRequest(
  tx: Writer,
  change: {
    id: string;
    state: 'approved' | 'rejected' | 'cancelled' | 'expired';
    decidedBy: StoredPrincipal;
    comment: string | null;
    at: string;
    /** Of what was approved and has not begun. */
    approvalExpiresAt?: string | undefined;
    emergency?: boolean | undefined;
  },
): Promise<void> {
  await updateRequest(tx, change, {
    state: change.state,
    expires_at: null,
    decided_by: JSON.stringify(change.decidedBy),
    decided_at: change.at,
    decision_comment: change.comment,
    approval_expires_at: change.approvalExpiresAt ?? null,
    ...(change.emergency && { emergency: 1 }),
    ...(change.state !== 'approved' && { finished_at: change.at }),
  });
}

/** Something was said or counted, though nothing is decided. */
export async function touchRequest(tx: Writer, change: { id: string; at: string }): Promise<void> {
  await updateRequest(tx, change, {});
}

/** Another plan begins another round, in which nobody has approved yet. */
export async function renewRequest(
  tx: Writer,
  change: {
    id: string;
    plan: object;
    confirmation: StoredConfirmation;
    round: number;
    expiresAt: string;
    at: string;
  },
): Promise<void> {
  await updateRequest(tx, change, {
    plan: JSON.stringify(change.plan),
    confirmation: JSON.stringify(change.confirmation),
    approvals_needed: change.confirmation.approvalsNeeded,
    round: change.round,
    expires_at: change.expiresAt,
  });
}

/** From here on the job is the request's fate. */
export async function attachJob(
  tx: Writer,
  change: {
    id: string;
    jobId: string;
    snapshot: { readonly id: string; readonly name: string } | null;
    at: string;
  },
): Promise<void> {
  await updateRequest(tx, change, {
    job_id: change.jobId,
    ...(change.snapshot && {
      snapshot_id: change.snapshot.id,
      snapshot_name: change.snapshot.name,
    }),
  });
}

export async function setRequestExecuting(
  tx: Writer,
  change: { id: string; at: string },
): Promise<void> {
  await updateRequest(tx, change, { state: 'executing', approval_expires_at: null });
}

/** An approval that grew too old before the work began. */
export async function finishExpired(
  tx: Writer,
  change: { id: string; failure: StoredFailure; at: string },
): Promise<void> {
  await updateRequest(tx, change, {
    state: 'expired',
    failure: JSON.stringify(change.failure),
    approval_expires_at: null,
    finished_at: change.at,
  });
}

/** The end that a job found; result in the shape of the contract's `requestResultSchema`. */
export async function finishRequest(
  tx: Writer,
  change: {
    id: string;
    state: 'succeeded' | 'failed' | 'cancelled';
    failure: StoredFailure | null;
    result: object | null;
    at: string;
  },
): Promise<void> {
  await updateRequest(tx, change, {
    state: change.state,
    failure: optionalJson(change.failure),
    result: optionalJson(change.result),
    approval_expires_at: null,
    finished_at: change.at,
  });
}

async function updateRequest(
  tx: Writer,
  change: { id: string; at: string },
  columns: UpdateObject<CatalogSchema, 'requests'>,
): Promise<void> {
  const row = await tx
    .updateTable('requests')
    .set(columns)
    .set((eb) => ({ updated_at: change.at, version: eb('version', '+', 1) }))
    .where('id', '=', change.id)
    .returning('vm_id')
    .executeTakeFirst();
  if (row) await notifyRequest(tx, { ...change, vmId: row.vm_id }, 'changed');
}

const notifyRequest = (
  tx: Writer,
  request: { id: string; vmId: string | null; at: string },
  type: 'created' | 'changed',
): Promise<void> =>
  appendNotification(tx, {
    at: request.at,
    type,
    resource: 'request',
    resourceId: request.id,
    vmId: request.vmId,
  });

export async function findRequest(db: Reader, id: string): Promise<RequestRow | undefined> {
  const row = await db.selectFrom('requests').selectAll().where('id', '=', id).executeTakeFirst();
  return row && toRequest(row);
}

export interface RequestFilter {
  /** Undefined: for the service itself. */
  readonly reach?: VmReach | undefined;
  readonly operations?: readonly string[] | undefined;
  readonly states?: readonly string[] | undefined;
  readonly vmId?: string | undefined;
  readonly snapshotId?: string | undefined;
  readonly requestedById?: string | undefined;
}

/** Newest first. */
export async function listRequests(
  db: Reader,
  filter: RequestFilter,
  page: PageRequest<{ id: string }>,
): Promise<RequestRow[]> {
  let query = db.selectFrom('requests').selectAll();
  query = query.where(whereOfReachedVm(filter.reach, sql.ref('requests.vm_id')));
  if (filter.operations) query = query.where('operation', 'in', filter.operations);
  if (filter.states) query = query.where('state', 'in', filter.states);
  if (filter.vmId) query = query.where('vm_id', '=', filter.vmId);
  if (filter.snapshotId) query = query.where('snapshot_id', '=', filter.snapshotId);
  if (filter.requestedById) query = query.where('requested_by_id', '=', filter.requestedById);
  if (page.after) query = query.where('id', '<', page.after.id);
  const rows = await query.orderBy('id', 'desc').limit(page.limit).execute();
  return rows.map(toRequest);
}

export async function listExpiredRequestIds(
  db: Reader,
  filter: { now: string; limit: number },
): Promise<string[]> {
  const rows = await db
    .selectFrom('requests')
    .select('id')
    .where('state', '=', 'pending')
    .where('expires_at', '<=', filter.now)
    .limit(filter.limit)
    .execute();
  return rows.map((row) => row.id);
}

/** Approved, and older than an approval may become before the work begins. */
export async function listStaleApprovals(
  db: Reader,
  filter: { now: string; limit: number },
): Promise<RequestRow[]> {
  const rows = await db
    .selectFrom('requests')
    .selectAll()
    .where('state', '=', 'approved')
    .where('approval_expires_at', '<=', filter.now)
    .limit(filter.limit)
    .execute();
  return rows.map(toRequest);
}

function toRequest(row: CatalogSchema['requests']): RequestRow {
  const where = `request ${row.id}`;
  return {
    id: row.id,
    operation: readWord(storedOperationSchema, row.operation, where),
    state: readWord(requestStateSchema, row.state, where),
    vm: row.vm_id === null ? null : { id: row.vm_id, name: row.vm_name ?? '' },
    snapshot:
      row.snapshot_id === null ? null : { id: row.snapshot_id, name: row.snapshot_name ?? '' },
    hostId: row.host_id,
    parameters: readJson(storedJsonObjectSchema, row.parameters, where),
    plan: readOptionalJson(storedJsonObjectSchema, row.plan, where),
    requestedBy: readJson(storedPrincipalSchema, row.requested_by, where),
    sourceAddress: row.source_address,
    reason: row.reason,
    reference: row.reference,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    approvalExpiresAt: row.approval_expires_at,
    confirmation: readJson(storedConfirmationSchema, row.confirmation, where),
    approvalsNeeded: row.approvals_needed,
    round: row.round,
    emergency: row.emergency === 1,
    decidedBy: readOptionalJson(storedPrincipalSchema, row.decided_by, where),
    decidedAt: row.decided_at,
    decisionComment: row.decision_comment,
    jobId: row.job_id,
    finishedAt: row.finished_at,
    failure: readOptionalJson(storedFailureSchema, row.failure, where),
    result: readOptionalJson(storedJsonObjectSchema, row.result, where),
    version: row.version,
  };
}
