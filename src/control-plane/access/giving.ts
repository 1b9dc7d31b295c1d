import { RIGHTS, rightsThatGive, type Right } from '../../contract/rights.ts';
import { OperationError } from '../../shared/errors.ts';
import { listBoundPrincipalIds, type BindingRow } from '../database/bindings.ts';
import type { Reader, Writer } from '../database/catalog.ts';
import type { StoredScope } from '../database/stored-shapes.ts';
import { loadPrincipal } from './load-principal.ts';
import { holds, reaches, type Principal, type VmTarget } from './principal.ts';
import { rightsOfBinding } from './roles.ts';

/** A scope, and for one of named VMs those that there are. */
export interface Extent {
  readonly scope: StoredScope;
  readonly vms: readonly VmTarget[];
}

export const EVERYWHERE: Extent = { scope: { kind: 'everything' }, vms: [] };

/** Nobody gives or takes what they do not have: of all this the rights must be held. */
export function requireMayGive(principal: Principal, rights: readonly Right[], over: Extent): void {
  const missing = (['manage-access', ...rights] as const).filter(
    (right) => !holdsOver(principal, right, over),
  );
  if (missing.length === 0) return;
  throw new OperationError(
    'forbidden',
    `You can give and take only rights that you hold over all of the scope yourself; you lack ${[...new Set(missing)].join(', ')}. Ask somebody who holds them.`,
    { details: { missing: [...new Set(missing)] } },
  );
}

/**
 * Whether the right is held over all of a scope, whatever VMs there will be: any denial counts
 * against a scope that is not a list of VMs, since a VM that it reaches could come into the scope.
 */
export function holdsOver(principal: Principal, right: Right, { scope, vms }: Extent): boolean {
  if (scope.kind === 'vms')
    return scope.vmIds.every((id) => {
      const vm = vms.find((known) => known.id === id);
      return vm !== undefined && holds(principal, right, vm);
    });
  const names = rightsThatGive(right);
  const concerned = principal.grants.filter(({ rights }) => names.some((name) => rights.has(name)));
  const covers = (wide: StoredScope): boolean =>
    wide.kind === 'everything' ||
    (wide.kind === 'label' &&
      scope.kind === 'label' &&
      wide.key === scope.key &&
      wide.value === scope.value);
  const { limits } = principal;
  const isWithheld =
    limits !== null &&
    (!limits.scopes.every(covers) ||
      (limits.rights !== null && !names.some((name) => limits.rights?.has(name))));
  return (
    !isWithheld &&
    concerned.some((grant) => grant.effect === 'allow' && covers(grant.scope)) &&
    !concerned.some(({ effect }) => effect === 'deny')
  );
}

/**
 * Labels decide who may do what, so changing them is giving and taking: nobody may get by it what
 * the one who changes them does not hold over the VM.
 */
export function requireMayRelabel(
  principal: Principal,
  change: { vm: VmTarget; labels: VmTarget['labels']; bindings: readonly BindingRow[] },
): void {
  const { vm, labels, bindings } = change;
  const after = { id: vm.id, labels };
  const gained = bindings
    .filter(({ effect, scope }) =>
      effect === 'allow'
        ? !reaches(scope, vm) && reaches(scope, after)
        : reaches(scope, vm) && !reaches(scope, after),
    )
    .flatMap(rightsOfBinding);
  requireMayGive(principal, [...new Set(gained)], {
    scope: { kind: 'vms', vmIds: [vm.id] },
    vms: [vm],
  });
}

/**
 * Does what may take rights away from people, and undoes it by throwing when it would leave a right
 * that nobody could give any more: the last one who holds it and manages access over everything.
 */
export async function keepingGivers<Result>(
  tx: Writer,
  work: () => Promise<Result>,
): Promise<Result> {
  const before = await listGivableRights(tx);
  const result = await work();
  const after = await listGivableRights(tx);
  const lost = [...before.difference(after)];
  if (lost.length === 0) return result;
  throw new OperationError(
    'in_use',
    `Nobody would be left who manages access over everything and holds ${lost.join(', ')}. Give that to somebody else first.`,
    { details: { rights: lost } },
  );
}

async function listGivableRights(db: Reader): Promise<Set<Right>> {
  const givable = new Set<Right>();
  for (const id of await listBoundPrincipalIds(db)) {
    const principal = await loadPrincipal(db, id);
    if (!principal || !holdsOver(principal, 'manage-access', EVERYWHERE)) continue;
    for (const right of RIGHTS) if (holdsOver(principal, right, EVERYWHERE)) givable.add(right);
    if (givable.size === RIGHTS.length) break;
  }
  return givable;
}
