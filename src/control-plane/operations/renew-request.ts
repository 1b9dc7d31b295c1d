import { planSchema } from '../../contract/preflight.ts';
import { requestParametersSchema, type Request } from '../../contract/requests.ts';
import { requestCan } from '../../contract/state-predicates.ts';
import { OperationError } from '../../shared/errors.ts';
import { renewRequest } from '../database/requests.ts';
import { describePlanChange } from '../policy/plan-changes.ts';
import {
  begin,
  decide,
  mayAskForRenewal,
  record,
  requireVerdict,
  type DecisionWish,
} from './decide-request.ts';
import type { Caller, Environment } from './environment.ts';
import { requestDeadline } from './place-request.ts';
import { planAgain, refuseImpossible } from './plan-request.ts';
import { requireRequester } from './request-changes.ts';
import { requireStates } from './start-request.ts';

/**
 * Plans a waiting request again. Where something that matters is different, the approvals so far were
 * of another plan and count no more.
 */
export const requestRenew = (
  environment: Environment,
  caller: Caller,
  wish: DecisionWish,
): Promise<Request> =>
  decide(environment, caller, { ...wish, kind: 'renew' }, async (deciding) => {
    const { tx, request, decisions, at } = deciding;
    if (!mayAskForRenewal(deciding))
      throw new OperationError(
        'forbidden',
        'Only the requester and those who may approve can have a plan renewed.',
      );
    requireVerdict(request, requestCan.renew({ ...request, decisions }, at));
    const requester = await requireRequester(tx, request);
    await requireStates(tx, request, requestParametersSchema.parse(request.parameters));
    const plan = await planAgain(tx, requester, request);
    refuseImpossible(plan);
    const seen = planSchema.safeParse(request.plan).data;
    const change = seen ? describePlanChange(seen, plan) : 'it was not readable';
    const round = change === null ? request.round : request.round + 1;
    await record(deciding, { kind: 'renew', comment: wish.comment, round });
    const { confirmation } = plan;
    const expiresAt = requestDeadline(environment);
    await renewRequest(tx, { id: request.id, plan, confirmation, round, expiresAt, at });
    const kept = change === null ? decisions.filter(({ counts }) => counts).length : 0;
    if (kept >= confirmation.approvalsNeeded) await begin(deciding, wish);
    return { change, approvalsCleared: change !== null };
  });
