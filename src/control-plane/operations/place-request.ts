import type { Plan } from '../../contract/preflight.ts';
import type { Request, RequestParameters } from '../../contract/requests.ts';
import { newId } from '../../shared/ids.ts';
import { appendAuditEvent } from '../audit/audit-trail.ts';
import type { Writer } from '../database/catalog.ts';
import { insertRequest } from '../database/requests.ts';
import type { StoredJsonObject } from '../database/stored-shapes.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';
import { refuseImpossible } from './plan-request.ts';
import { auditEntry } from './recorded.ts';
import { requireRequest, viewRequest } from './request-view.ts';
import { startRequest } from './start-request.ts';

/** How long somebody has to approve. */
const REQUEST_PERIOD_MS = 7 * 24 * 3600 * 1000;
/** How long what may be done can wait for its worker: after that it is not what was meant any more. */
const APPROVAL_PERIOD_MS = 24 * 3600 * 1000;

const timeAfter = (environment: Environment, durationMs: number): string =>
  new Date(environment.clock.now().getTime() + durationMs).toISOString();

export const requestDeadline = (environment: Environment): string =>
  timeAfter(environment, REQUEST_PERIOD_MS);

export const approvalDeadline = (environment: Environment): string =>
  timeAfter(environment, APPROVAL_PERIOD_MS);

export interface Wish {
  readonly parameters: RequestParameters;
  readonly plan: Plan;
  /** Null: nothing of a host is concerned. */
  readonly hostId: string | null;
  readonly vm: { readonly id: string; readonly name: string } | null;
  readonly snapshot: { readonly id: string; readonly name: string } | null;
  readonly audit: {
    readonly action: string;
    readonly resourceType: string;
    readonly resourceId: string | null;
    readonly resourceName: string;
    readonly details: StoredJsonObject;
  };
}

/** Records a wish that was found allowed and possible; what needs no approval is begun at once. */
export async function placeRequest(
  environment: Environment,
  caller: Caller,
  tx: Writer,
  wish: Wish,
): Promise<Request> {
  refuseImpossible(wish.plan);
  const { parameters } = wish;
  const { confirmation } = wish.plan;
  const id = newId(environment.clock.now().getTime());
  const at = timestamp(environment);
  const waits = confirmation.approvalsNeeded > 0;
  const justification = 'reason' in parameters ? parameters : undefined;
  await insertRequest(tx, {
    id,
    operation: parameters.operation,
    state: waits ? 'pending' : 'approved',
    vm: wish.vm,
    snapshot: wish.snapshot,
    hostId: wish.hostId,
    parameters,
    plan: wish.plan,
    requestedBy: caller.principal.ref,
    sourceAddress: caller.sourceAddress,
    reason: justification?.reason ?? null,
    reference: 'reference' in parameters ? (parameters.reference ?? null) : null,
    expiresAt: waits ? requestDeadline(environment) : null,
    approvalExpiresAt: waits ? null : approvalDeadline(environment),
    confirmation,
    at,
  });
  await appendAuditEvent(
    tx,
    auditEntry(environment, caller, {
      ...wish.audit,
      requestId: id,
      outcome: 'intent',
      reason: justification?.reason ?? null,
      details: {
        ...wish.audit.details,
        approvalsNeeded: confirmation.approvalsNeeded,
        confirmationRule: confirmation.rule?.name ?? null,
      },
    }),
  );
  if (!waits) await startRequest(tx, await requireRequest(tx, id), at);
  return await viewRequest(environment, caller, tx, await requireRequest(tx, id));
}
