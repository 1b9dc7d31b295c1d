import type { Request } from '../../contract/requests.ts';
import { requestCan } from '../../contract/state-predicates.ts';
import { OperationError } from '../../shared/errors.ts';
import { mayDo, type Target } from '../access/principal.ts';
import type { Writer } from '../database/catalog.ts';
import { findJob } from '../database/jobs.ts';
import { decideRequest, type RequestRow } from '../database/requests.ts';
import { requestJobCancel } from '../jobs/queue.ts';
import { decide, record, requireVerdict, type DecisionWish } from './decide-request.ts';
import type { Caller, Environment } from './environment.ts';
import { rightFor } from './operation-rights.ts';
import { isAdministrator } from './targets.ts';

/** What waits is cancelled at once; a job is told to stop, undoes itself, and then says how it ended. */
export const requestCancel = (
  environment: Environment,
  caller: Caller,
  wish: DecisionWish,
): Promise<Request> =>
  decide(environment, caller, { ...wish, kind: 'cancel' }, async (deciding) => {
    const { tx, request, target, decisions, at } = deciding;
    requireOwnOrAdministrator(caller, request, target);
    const { ref } = caller.principal;
    const who = { id: ref.id, now: at, isAdministrator: isAdministrator(caller.principal, target) };
    requireVerdict(request, requestCan.cancel({ ...request, decisions }, who));
    await record(deciding, { ...wish, kind: 'cancel' });
    if (request.jobId === null)
      await decideRequest(tx, {
        id: request.id,
        state: 'cancelled',
        decidedBy: ref,
        comment: wish.comment || null,
        at,
      });
    else
      await cancelJobOf(tx, { jobId: request.jobId, reason: wish.comment || `by ${ref.name}`, at });
    return {};
  });

/** Who could not ask for it any more cannot cancel it either. */
export function requireOwnOrAdministrator(
  caller: Caller,
  request: RequestRow,
  target: Target,
): void {
  if (isAdministrator(caller.principal, target)) return;
  const isOwn = request.requestedBy.id === caller.principal.ref.id;
  const right = request.operation === 'delete' ? 'delete-own' : rightFor(request.operation);
  if (isOwn && mayDo(caller.principal, right, target)) return;
  throw new OperationError(
    'forbidden',
    'Only who asked for something, or an administrator, can cancel it.',
  );
}

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
