import type { Plan, PlanProblem } from '../../contract/preflight.ts';
import type { Request, RequestParameters } from '../../contract/requests.ts';
import { isErrorCode, OperationError } from '../../shared/errors.ts';
import { newId } from '../../shared/ids.ts';
import { appendAuditEvent } from '../audit/audit-trail.ts';
import type { Writer } from '../database/catalog.ts';
import { insertRequest } from '../database/requests.ts';
import type { StoredJsonObject } from '../database/stored-shapes.ts';
import { approvalsNeeded } from '../policy/confirmation.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';
import { startRequest } from './start-request.ts';
import { auditEntry } from './recorded.ts';
import { requireRequest, toRequestView } from './request-view.ts';

/** How long somebody has to approve. */
const APPROVAL_PERIOD_MS = 7 * 24 * 3600 * 1000;

export interface Wish {
  readonly parameters: RequestParameters;
  readonly plan: Plan;
  readonly hostId: string;
  readonly vm: { readonly id: string; readonly name: string } | null;
  readonly snapshot: { readonly id: string; readonly name: string } | null;
  readonly audit: {
    readonly resourceType: 'vm' | 'snapshot' | 'repository';
    readonly resourceId: string;
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
  const id = newId(environment.clock.now().getTime());
  const at = timestamp(environment);
  const needed = approvalsNeeded({
    operation: parameters.operation,
    byAdministrator: caller.principal.role === 'administrator',
  });
  const deadline = new Date(environment.clock.now().getTime() + APPROVAL_PERIOD_MS);
  const justification = 'reason' in parameters ? parameters : undefined;
  await insertRequest(tx, {
    id,
    operation: parameters.operation,
    state: needed > 0 ? 'pending' : 'approved',
    vm: wish.vm,
    snapshot: wish.snapshot,
    hostId: wish.hostId,
    parameters,
    plan: wish.plan,
    requestedBy: caller.principal.ref,
    sourceAddress: caller.sourceAddress,
    reason: justification?.reason ?? null,
    reference: 'reference' in parameters ? (parameters.reference ?? null) : null,
    expiresAt: needed > 0 ? deadline.toISOString() : null,
    approvalsNeeded: needed,
    at,
  });
  await appendAuditEvent(
    tx,
    auditEntry(environment, caller, {
      ...wish.audit,
      action: `${wish.audit.resourceType === 'repository' ? 'repository' : 'snapshot'}.${parameters.operation}`,
      requestId: id,
      outcome: 'intent',
      reason: justification?.reason ?? null,
    }),
  );
  if (needed === 0) await startRequest(tx, await requireRequest(tx, id), at);
  return toRequestView(await requireRequest(tx, id));
}

/** The first problem is the error; all of them are in its details. */
function refuseImpossible(plan: Plan): void {
  const [first] = plan.problems;
  if (!first) return;
  throw new OperationError(
    isErrorCode(first.code) ? first.code : 'invalid_input',
    plan.problems.map((problem) => problem.reason).join(' '),
    {
      details: {
        whatToDo: first.whatToDo,
        problems: plan.problems.map((problem) => `${problem.code}: ${problem.reason}`),
      },
    },
  );
}

export const planOf = (
  operation: 'delete' | 'export' | 'verify' | 'collect',
  caller: Caller,
  problems: PlanProblem[] = [],
): Plan => ({
  operation,
  possible: problems.length === 0,
  problems,
  warnings: [],
  confirmationNeeded:
    approvalsNeeded({ operation, byAdministrator: caller.principal.role === 'administrator' }) > 0,
});
