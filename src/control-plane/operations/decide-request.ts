import type { Decision, DecisionKind } from '../../contract/confirmation.ts';
import type { Request } from '../../contract/requests.ts';
import { requestCan, type Verdict } from '../../contract/state-predicates.ts';
import { OperationError } from '../../shared/errors.ts';
import type { Right } from '../../contract/rights.ts';
import { authorize, authorizeSomewhere, mayDo, type Target } from '../access/principal.ts';
import { appendAuditEvent } from '../audit/audit-trail.ts';
import type { Writer } from '../database/catalog.ts';
import { insertDecision, listDecisions } from '../database/request-decisions.ts';
import { decideRequest, touchRequest, type RequestRow } from '../database/requests.ts';
import type { StoredJsonObject } from '../database/stored-shapes.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';
import { approvalDeadline } from './place-request.ts';
import { auditEntry, recordedAct } from './recorded.ts';
import {
  countApprovals,
  createApproverCheck,
  requireRequest,
  requireVisibleRequest,
  viewDecisions,
  viewRequest,
} from './request-view.ts';
import { requireUnchanged } from './request-changes.ts';
import { ruleNameOf } from './rule-changes.ts';
import { startRequest } from './start-request.ts';

export interface DecisionWish {
  readonly id: string;
  readonly comment: string;
}

/** A request with what was decided about it so far, as an act in a transaction sees it. */
export interface Deciding {
  readonly environment: Environment;
  readonly caller: Caller;
  readonly tx: Writer;
  readonly request: RequestRow;
  readonly target: Target;
  readonly decisions: readonly Decision[];
  readonly at: string;
}

/** Approvals, comments and renewals together: enough for any discussion, too few to fill the disk. */
const DECISIONS_MAX = 200;

export const requestApprove = (
  environment: Environment,
  caller: Caller,
  wish: DecisionWish,
): Promise<Request> =>
  decide(environment, caller, { ...wish, kind: 'approve' }, async (deciding) => {
    const { tx, request, decisions, at } = deciding;
    if (request.requestedBy.id === caller.principal.ref.id)
      throw new OperationError('forbidden', 'Somebody else than the requester has to approve.');
    const who = { id: caller.principal.ref.id, now: at };
    requireVerdict(request, requestCan.approve({ ...request, decisions }, who));
    await requireUnchanged(tx, request);
    await record(deciding, { ...wish, kind: 'approve' });
    const approvalsGiven = countApprovals(decisions) + 1;
    if (approvalsGiven >= request.approvalsNeeded) await begin(deciding, wish);
    else await touchRequest(tx, { id: request.id, at });
    return { approvalsGiven, approvalsNeeded: request.approvalsNeeded };
  });

export const requestReject = (
  environment: Environment,
  caller: Caller,
  wish: DecisionWish,
): Promise<Request> =>
  decide(environment, caller, { ...wish, kind: 'reject' }, async (deciding) => {
    const { tx, request, decisions, at } = deciding;
    requireVerdict(request, requestCan.reject({ ...request, decisions }, at));
    await record(deciding, { ...wish, kind: 'reject' });
    await decideRequest(tx, {
      id: request.id,
      state: 'rejected',
      decidedBy: caller.principal.ref,
      comment: wish.comment || null,
      at,
    });
    return {};
  });

export const requestComment = (
  environment: Environment,
  caller: Caller,
  wish: DecisionWish,
): Promise<Request> =>
  decide(environment, caller, { ...wish, kind: 'comment' }, async (deciding) => {
    await record(deciding, { ...wish, kind: 'comment' });
    await touchRequest(deciding.tx, { id: deciding.request.id, at: deciding.at });
    return {};
  });

/** Begins a request without the approvals it lacks. It may be one's own: that is what it is for. */
export const requestOverride = (
  environment: Environment,
  caller: Caller,
  wish: DecisionWish,
): Promise<Request> =>
  decide(environment, caller, { ...wish, kind: 'override' }, async (deciding) => {
    const { tx, request, decisions, at } = deciding;
    requireVerdict(request, requestCan.override({ ...request, decisions }, at));
    await requireUnchanged(tx, request);
    await record(deciding, { ...wish, kind: 'override' });
    await begin(deciding, wish, { emergency: true });
    environment.logger.warn(
      { requestId: request.id, operation: request.operation, by: caller.principal.ref.name },
      'a request was begun without its approvals, as an emergency',
    );
    return {
      emergency: true,
      approvalsGiven: countApprovals(decisions),
      approvalsNeeded: request.approvalsNeeded,
      confirmationRule: request.confirmation.rule?.name ?? null,
    };
  });

/** Everything is there: from here on it waits for a worker only, and not for long. */
export async function begin(
  { environment, caller, tx, request, at }: Deciding,
  wish: DecisionWish,
  how: { emergency?: boolean } = {},
): Promise<void> {
  await decideRequest(tx, {
    id: request.id,
    state: 'approved',
    decidedBy: caller.principal.ref,
    comment: wish.comment || null,
    at,
    approvalExpiresAt: approvalDeadline(environment),
    emergency: how.emergency,
  });
  await startRequest(tx, await requireRequest(tx, request.id), at);
}

/**
 * Finds the request, lets `work` change it, and records the decision with the details that `work`
 * returns, all in one transaction: of acts that meet, each sees what the one before it did.
 */
export async function decide(
  environment: Environment,
  caller: Caller,
  wish: DecisionWish & { kind: DecisionKind },
  work: (deciding: Deciding) => Promise<StoredJsonObject>,
): Promise<Request> {
  const act = {
    action: `request.${wish.kind}`,
    resourceType: 'request',
    resourceId: wish.id,
    requestId: wish.id,
  };
  return await recordedAct(environment, caller, act, async (tx) => {
    const right = RIGHT_FOR[wish.kind];
    authorizeSomewhere(caller.principal, right);
    const { request, target } = await requireVisibleRequest(tx, caller.principal, wish.id);
    authorize(caller.principal, right, target);
    const stillMayApprove = createApproverCheck(tx);
    const decisions = await viewDecisions(
      request,
      await listDecisions(tx, [request.id]),
      async (id) => await stillMayApprove(id, target),
    );
    const at = timestamp(environment);
    const details = await work({ environment, caller, tx, request, target, decisions, at });
    await appendAuditEvent(
      tx,
      auditEntry(environment, caller, {
        ...act,
        resourceName: request.snapshot?.name ?? request.vm?.name ?? ruleNameOf(request),
        outcome: 'succeeded',
        reason: wish.comment || null,
        details: { operation: request.operation, ...details },
      }),
    );
    return await viewRequest(environment, caller, tx, await requireRequest(tx, wish.id));
  });
}

/** Whose request it is matters too for the last two. */
const RIGHT_FOR: Readonly<Record<DecisionKind, Right>> = {
  approve: 'approve',
  reject: 'approve',
  override: 'emergency',
  comment: 'view',
  renew: 'view',
  cancel: 'view',
};

export async function record(
  { caller, tx, request, decisions, at }: Deciding,
  decision: { kind: DecisionKind; comment: string; round?: number },
): Promise<void> {
  // What ends the discussion is never refused for its length.
  const isOpenEnded = decision.kind === 'comment' || decision.kind === 'renew';
  if (isOpenEnded && decisions.length >= DECISIONS_MAX)
    throw new OperationError(
      'limit_reached',
      `A request holds no more than ${DECISIONS_MAX} comments and decisions. Decide it, or ask anew.`,
    );
  await insertDecision(tx, {
    requestId: request.id,
    position: decisions.length + 1,
    round: decision.round ?? request.round,
    kind: decision.kind,
    by: caller.principal.ref,
    comment: decision.comment,
    at,
  });
}

export function requireVerdict(request: RequestRow, verdict: Verdict): void {
  if (!verdict.allowed)
    throw new OperationError('wrong_state', verdict.reason, { details: { state: request.state } });
}

export const mayAskForRenewal = ({ caller, request, target }: Deciding): boolean =>
  request.requestedBy.id === caller.principal.ref.id ||
  mayDo(caller.principal, 'approve', target) ||
  mayDo(caller.principal, 'emergency', target);
