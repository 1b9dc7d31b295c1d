import { planSchema } from '../../contract/preflight.ts';
import { requestParametersSchema, type RequestParameters } from '../../contract/requests.ts';
import { OperationError } from '../../shared/errors.ts';
import { loadPrincipal } from '../access/load-principal.ts';
import { mayDo, type Principal } from '../access/principal.ts';
import type { Writer } from '../database/catalog.ts';
import type { RequestRow } from '../database/requests.ts';
import { findSnapshot } from '../database/snapshots.ts';
import { findVm } from '../database/vms.ts';
import { describePlanChange } from '../policy/plan-changes.ts';
import { rightFor } from './operation-rights.ts';
import { planAgain } from './plan-request.ts';
import { targetOfVmId } from './targets.ts';
import { requireStates } from './start-request.ts';

/**
 * Refuses to go on with a request that is not any more what the approvers see: its requester may not
 * ask for it, what it is about is gone or in another state, or it would do something else.
 */
export async function requireUnchanged(tx: Writer, request: RequestRow): Promise<void> {
  const parameters = requestParametersSchema.parse(request.parameters);
  const requester = await requireRequester(tx, request);
  await requireStates(tx, request, parameters);
  await requireNameOfVm(tx, request, parameters);
  const seen = planSchema.safeParse(request.plan).data;
  const change = seen
    ? describePlanChange(seen, await planAgain(tx, requester, request))
    : 'The plan was stored by another version and cannot be read.';
  if (change !== null) throw planChanged(change, 'Have the plan renewed, look at it, and decide.');
}

/** The requester as they are now; a right that was taken away takes what waits with it. */
export async function requireRequester(tx: Writer, request: RequestRow): Promise<Principal> {
  const { id, name } = request.requestedBy;
  const requester = await loadPrincipal(tx, id);
  if (!requester)
    throw planChanged(
      `${name}, who asked for it, is disabled or unknown now.`,
      'Reject the request; whoever still wants it asks anew.',
    );
  const right = rightFor(request.operation);
  const snapshot = request.snapshot && (await findSnapshot(tx, request.snapshot.id));
  const { vm } = await targetOfVmId(tx, request.vm?.id ?? null);
  if (mayDo(requester, right, { vm, createdById: snapshot?.createdBy.id })) return requester;
  throw planChanged(
    `${name}, who asked for it, has no right "${right}" for it any more.`,
    'Reject the request, or give them the right again.',
  );
}

/** What was typed to confirm a rollback or a delete has to name the VM still. */
async function requireNameOfVm(
  tx: Writer,
  request: RequestRow,
  parameters: RequestParameters,
): Promise<void> {
  if (!('confirmVmName' in parameters) || !request.vm) return;
  const name = (await findVm(tx, request.vm.id))?.name ?? request.vm.name;
  if (name === parameters.confirmVmName) return;
  throw planChanged(
    `The VM is named ${name} now; it was confirmed as ${parameters.confirmVmName}.`,
    'Reject the request; whoever still wants it asks anew.',
  );
}

const planChanged = (reason: string, whatToDo: string): OperationError =>
  new OperationError('plan_changed', `What was asked for has changed since: ${reason}`, {
    details: { whatToDo },
  });
