import type { z } from 'zod';
import type {
  Request,
  requestListQuerySchema,
  requestPageSchema,
} from '../../contract/requests.ts';
import { requestCan, type Verdict } from '../../contract/state-predicates.ts';
import { OperationError } from '../../shared/errors.ts';
import { authorize } from '../access/principal.ts';
import { appendAuditEvent } from '../audit/audit-trail.ts';
import type { Writer } from '../database/catalog.ts';
import { findJob } from '../database/jobs.ts';
import {
  decideRequest,
  listExpiredRequestIds,
  listRequests,
  type RequestRow,
} from '../database/requests.ts';
import { requestJobCancel } from '../jobs/queue.ts';
import { decodeCursor, idCursorSchema, pageFrom, pageLimit } from './cursor.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';
import { auditEntry, recordedAct } from './recorded.ts';
import { requireRequest, toRequestView } from './request-view.ts';
import { startRequest } from './start-request.ts';
import { etagOf, type Versioned } from './versioned.ts';

export async function requestList(
  environment: Environment,
  caller: Caller,
  query: z.output<typeof requestListQuerySchema>,
): Promise<z.output<typeof requestPageSchema>> {
  authorize(caller.principal, 'view');
  const limit = pageLimit(query);
  const rows = await listRequests(
    environment.catalog.read,
    {
      operations: query.operation,
      states: query.state,
      vmId: query.vmId,
      snapshotId: query.snapshotId,
      requestedById: query.mine ? caller.principal.ref.id : undefined,
    },
    { limit: limit + 1, after: decodeCursor(idCursorSchema, query.cursor) },
  );
  return pageFrom(rows, { limit, toItem: toRequestView, keyOf: ({ id }) => ({ id }) });
}

export async function requestGet(
  environment: Environment,
  caller: Caller,
  id: string,
): Promise<Versioned<Request>> {
  authorize(caller.principal, 'view');
  const row = await requireRequest(environment.catalog.read, id);
  return { body: toRequestView(row), etag: etagOf(row.version) };
}

interface Decision {
  readonly id: string;
  readonly comment: string;
}

export const requestApprove = (
  environment: Environment,
  caller: Caller,
  decision: Decision,
): Promise<Request> =>
  decide(environment, caller, { ...decision, verb: 'approve' }, async (tx, request) => {
    authorize(caller.principal, 'approve');
    if (request.requestedBy.id === caller.principal.ref.id)
      throw new OperationError('forbidden', 'Somebody else than the requester has to approve.');
    requireVerdict(request, requestCan.approve(request, caller.principal.ref.id));
    await record(environment, caller, tx, { request, decision, state: 'approved' });
    await startRequest(tx, await requireRequest(tx, request.id), timestamp(environment));
  });

export const requestReject = (
  environment: Environment,
  caller: Caller,
  decision: Decision,
): Promise<Request> =>
  decide(environment, caller, { ...decision, verb: 'reject' }, async (tx, request) => {
    authorize(caller.principal, 'approve');
    requireVerdict(request, requestCan.reject(request));
    await record(environment, caller, tx, { request, decision, state: 'rejected' });
  });

/** What waits is cancelled at once; a job is told to stop, undoes itself, and then says how it ended. */
export const requestCancel = (
  environment: Environment,
  caller: Caller,
  decision: Decision,
): Promise<Request> =>
  decide(environment, caller, { ...decision, verb: 'cancel' }, async (tx, request) => {
    requireOwnOrAdministrator(caller, request);
    requireVerdict(request, requestCan.cancel(request));
    if (request.jobId === null)
      await record(environment, caller, tx, { request, decision, state: 'cancelled' });
    else
      await cancelJobOf(tx, {
        jobId: request.jobId,
        reason: decision.comment || `by ${caller.principal.ref.name}`,
        at: timestamp(environment),
      });
  });

export function requireOwnOrAdministrator(caller: Caller, request: RequestRow): void {
  if (caller.principal.role === 'administrator' && caller.principal.rights.has('manage-access'))
    return;
  const isOwn = request.requestedBy.id === caller.principal.ref.id;
  const right = request.operation === 'collect' ? 'manage-repository' : rightFor(request.operation);
  if (isOwn && caller.principal.rights.has(right)) return;
  throw new OperationError(
    'forbidden',
    'Only who asked for something, or an administrator, can cancel it.',
  );
}

/** Who could not ask for it any more cannot cancel it either. */
const rightFor = (operation: Exclude<RequestRow['operation'], 'collect'>) =>
  operation === 'verify' ? 'view' : operation;

export async function cancelJobOf(
  tx: Writer,
  change: { jobId: string; reason: string; at: string },
): Promise<void> {
  const job = await findJob(tx, change.jobId);
  if (job?.committed)
    throw new OperationError(
      'wrong_state',
      'The job is past the point where it could be undone; it will finish by itself.',
    );
  if (!(await requestJobCancel(tx, { id: change.jobId, reason: change.reason, at: change.at })))
    throw new OperationError('wrong_state', 'The job is over, or being undone already.');
}

async function decide(
  environment: Environment,
  caller: Caller,
  wish: Decision & { verb: 'approve' | 'reject' | 'cancel' },
  work: (tx: Writer, request: RequestRow) => Promise<void>,
): Promise<Request> {
  const act = {
    action: `request.${wish.verb}`,
    resourceType: 'request',
    resourceId: wish.id,
    requestId: wish.id,
  };
  return await recordedAct(environment, caller, act, async (tx) => {
    if (wish.verb !== 'cancel') authorize(caller.principal, 'approve');
    const request = await requireRequest(tx, wish.id);
    await work(tx, request);
    await appendAuditEvent(
      tx,
      auditEntry(environment, caller, {
        ...act,
        resourceName: request.snapshot?.name ?? request.vm?.name ?? null,
        outcome: 'succeeded',
        reason: wish.comment || null,
        details: { operation: request.operation },
      }),
    );
    return toRequestView(await requireRequest(tx, wish.id));
  });
}

const record = (
  environment: Environment,
  caller: Caller,
  tx: Writer,
  decided: {
    request: RequestRow;
    decision: Decision;
    state: 'approved' | 'rejected' | 'cancelled';
  },
): Promise<void> =>
  decideRequest(tx, {
    id: decided.request.id,
    state: decided.state,
    decidedBy: caller.principal.ref,
    comment: decided.decision.comment || null,
    at: timestamp(environment),
  });

function requireVerdict(request: RequestRow, verdict: Verdict): void {
  if (!verdict.allowed)
    throw new OperationError('wrong_state', verdict.reason, { details: { state: request.state } });
}

const SYSTEM = { id: 'system', name: 'Komadori', kind: 'system' } as const;

/** Ends pending requests that nobody decided in time. */
export async function expireRequests(environment: Environment): Promise<number> {
  const at = timestamp(environment);
  const filter = { now: at, limit: 100 };
  if ((await listExpiredRequestIds(environment.catalog.read, filter)).length === 0) return 0;
  return await environment.catalog.write(async (tx) => {
    const ids = await listExpiredRequestIds(tx, filter);
    for (const id of ids) {
      await decideRequest(tx, { id, state: 'expired', decidedBy: SYSTEM, comment: null, at });
      await appendAuditEvent(tx, {
        at,
        actor: SYSTEM,
        action: 'request.expire',
        resourceType: 'request',
        resourceId: id,
        requestId: id,
        outcome: 'succeeded',
        reason: 'Nobody decided in time.',
      });
    }
    return ids.length;
  });
}
