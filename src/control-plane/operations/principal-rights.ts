import type { z } from 'zod';
import type { PrincipalRights, principalRightsQuerySchema } from '../../contract/bindings.ts';
import { RIGHTS } from '../../contract/rights.ts';
import { OperationError } from '../../shared/errors.ts';
import { loadPrincipal } from '../access/load-principal.ts';
import {
  authorize,
  authorizeSomewhere,
  FLEET,
  mayDo,
  rightsSomewhere,
  rolesFor,
  rolesSomewhere,
} from '../access/principal.ts';
import type { Caller, Environment } from './environment.ts';
import { targetOf } from './targets.ts';
import { requireVisibleVm } from './vms.ts';

/** What somebody may do, over one VM or over anything; of others only to whoever manages access. */
export async function principalRights(
  environment: Environment,
  caller: Caller,
  question: { id: string; query: z.output<typeof principalRightsQuerySchema> },
): Promise<PrincipalRights> {
  const { principal } = caller;
  const db = environment.catalog.read;
  const isOwn = question.id === 'me' || question.id === principal.ref.id;
  if (!isOwn) authorizeSomewhere(principal, 'manage-access');
  const { vmId } = question.query;
  const vm = vmId === undefined ? null : await requireVisibleVm(db, principal, vmId);
  const target = vm ? targetOf(vm) : FLEET;
  if (!isOwn) authorize(principal, 'manage-access', target);
  const subject = isOwn ? principal : await loadPrincipal(db, question.id);
  if (!subject)
    throw new OperationError(
      'not_found',
      `There is no principal ${question.id}, or it is disabled and may do nothing.`,
    );
  return {
    principal: subject.ref,
    vm: vm && { id: vm.id, name: vm.name },
    roles: vm ? [...rolesFor(subject, target)].sort() : rolesSomewhere(subject),
    rights: vm ? RIGHTS.filter((right) => mayDo(subject, right, target)) : rightsSomewhere(subject),
    fleetRights: RIGHTS.filter((right) => mayDo(subject, right, FLEET)),
  };
}
