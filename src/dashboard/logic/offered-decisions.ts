import type { DecisionKind } from '../../contract/confirmation.ts';
import type { Request } from '../../contract/requests.ts';
import { requestIsOver } from '../../contract/state-predicates.ts';

/**
 * Which acts a reader is shown for a request, in order; those they may not do are shown with the
 * reason. An emergency is offered only to those who may declare one.
 */
export function offeredDecisions(
  request: Pick<Request, 'state' | 'requestedBy' | 'mayDecide'>,
  reader: { readonly callerId: string | undefined; readonly isBrief: boolean },
): readonly DecisionKind[] {
  if (requestIsOver(request.state)) return [];
  const { mayDecide, requestedBy, state } = request;
  const isMine = requestedBy.id === reader.callerId;
  const isPending = state === 'pending';
  const offers: readonly (readonly [DecisionKind, boolean])[] = [
    ['approve', isPending],
    ['reject', isPending],
    ['comment', !reader.isBrief],
    ['renew', isPending && !reader.isBrief],
    ['override', isPending && !reader.isBrief && mayDecide.override.missingRight === null],
    ['cancel', isMine || !isPending || mayDecide.cancel.allowed],
  ];
  return offers.filter(([, isOffered]) => isOffered).map(([kind]) => kind);
}
