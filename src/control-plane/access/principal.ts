import { RIGHTS, rightsThatGive, type Right } from '../../contract/rights.ts';
import type { PrincipalRef } from '../../contract/scalars.ts';
import { OperationError } from '../../shared/errors.ts';
import type { StoredScope } from '../database/stored-shapes.ts';
import type { VmReach } from '../database/vm-reach.ts';

/** One binding, with the rights that its role has now. */
export interface Grant {
  readonly effect: 'allow' | 'deny';
  readonly roleId: string;
  readonly rights: ReadonlySet<Right>;
  readonly scope: StoredScope;
}

/** What a token withholds from its owner. */
export interface Limits {
  /** Null: no right is withheld. */
  readonly rights: ReadonlySet<Right> | null;
  /** All of these must reach a VM. */
  readonly scopes: readonly StoredScope[];
}

/** Who is asking, as the catalog has it at this very call. */
export interface Principal {
  readonly ref: PrincipalRef;
  readonly grants: readonly Grant[];
  readonly limits: Limits | null;
  readonly tokenId: string | null;
}

export interface VmTarget {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface Target {
  /** Null: what belongs to no VM, which only a scope of everything reaches. */
  readonly vm: VmTarget | null;
  /** Who made the thing, where that matters. */
  readonly createdById?: string | undefined;
}

/** Repositories, the audit trail as a whole, who may do what. */
export const FLEET: Target = { vm: null };

/** These are about records and people, not about the VM itself. */
const WITHOUT_VIEW: ReadonlySet<Right> = new Set(['view', 'read-audit', 'manage-access']);

/** The one place that decides: what is not allowed here is not allowed. */
export function mayDo(principal: Principal, right: Right, target: Target): boolean {
  if (!WITHOUT_VIEW.has(right) && !holds(principal, 'view', target.vm)) return false;
  const isOwn = target.createdById === principal.ref.id;
  return holds(principal, right === 'delete' && isOwn ? 'delete-own' : right, target.vm);
}

/** Some binding allows it, none denies it, and the token in use does not withhold it. */
export function holds(principal: Principal, right: Right, vm: VmTarget | null): boolean {
  const names = rightsThatGive(right);
  const applies = (effect: Grant['effect']): boolean =>
    principal.grants.some(
      (grant) =>
        grant.effect === effect &&
        names.some((name) => grant.rights.has(name)) &&
        reaches(grant.scope, vm),
    );
  return isWithinLimits(principal, right, vm) && applies('allow') && !applies('deny');
}

function isWithinLimits({ limits }: Principal, right: Right, vm: VmTarget | null): boolean {
  if (!limits) return true;
  const { rights } = limits;
  return (
    (rights === null || rightsThatGive(right).some((name) => rights.has(name))) &&
    limits.scopes.every((scope) => reaches(scope, vm))
  );
}

export function reaches(scope: StoredScope, vm: VmTarget | null): boolean {
  if (scope.kind === 'everything') return true;
  if (vm === null) return false;
  return scope.kind === 'vms' ? scope.vmIds.includes(vm.id) : vm.labels[scope.key] === scope.value;
}

/** Whether there is anything at all that the right could be over. */
export function mayDoSomewhere(principal: Principal, right: Right): boolean {
  const names = rightsThatGive(right);
  const { limits } = principal;
  if (limits && limits.rights !== null && !names.some((name) => limits.rights?.has(name)))
    return false;
  const concerned = principal.grants.filter(({ rights }) => names.some((name) => rights.has(name)));
  return (
    concerned.some(({ effect }) => effect === 'allow') &&
    !concerned.some(({ effect, scope }) => effect === 'deny' && scope.kind === 'everything')
  );
}

export const rightsSomewhere = (principal: Principal): Right[] =>
  RIGHTS.filter((right) => mayDoSomewhere(principal, right));

/** What a list may hold for this right, as a condition on rows. */
export function reachOf(principal: Principal, right: 'view' | 'read-audit'): VmReach {
  const scopesOf = (effect: Grant['effect']): StoredScope[] =>
    principal.grants
      .filter((grant) => grant.effect === effect && grant.rights.has(right))
      .map(({ scope }) => scope);
  const { limits } = principal;
  const isWithheld = limits !== null && limits.rights !== null && !limits.rights.has(right);
  return {
    within: [
      isWithheld ? [] : scopesOf('allow'),
      ...(limits?.scopes.map((scope) => [scope]) ?? []),
    ],
    except: scopesOf('deny'),
    fleet: holds(principal, right, null),
  };
}

/** Ids of the roles held over it. A denied role is not held; what a token withholds does not matter. */
export function rolesFor(principal: Principal, target: Target): ReadonlySet<string> {
  if (principal.limits?.scopes.some((scope) => !reaches(scope, target.vm))) return new Set();
  const there = principal.grants.filter(({ scope }) => reaches(scope, target.vm));
  const idsOf = (effect: Grant['effect']): string[] =>
    there.filter((grant) => grant.effect === effect).map(({ roleId }) => roleId);
  return new Set(idsOf('allow')).difference(new Set(idsOf('deny')));
}

/** Ids of the roles held anywhere. */
export const rolesSomewhere = ({ grants }: Principal): string[] =>
  [
    ...new Set(grants.filter(({ effect }) => effect === 'allow').map(({ roleId }) => roleId)),
  ].sort();

/** Throws `forbidden`. Whether the thing may be seen at all is asked before, where it is looked up. */
export function authorize(principal: Principal, right: Right, target: Target): void {
  if (mayDo(principal, right, target)) return;
  if (right === 'delete' && mayDo(principal, 'delete-own', target))
    throw new OperationError(
      'forbidden',
      'Here you may delete only what you made yourself. Ask an administrator.',
      { details: { right } },
    );
  throw lacking(right, mayDoSomewhere(principal, right) ? ' here' : '');
}

/** Before anything is looked up: who may do it nowhere learns nothing about what there is. */
export function authorizeSomewhere(principal: Principal, right: Right): void {
  const rights: Right[] = right === 'delete' ? ['delete', 'delete-own'] : [right];
  if (!rights.some((name) => mayDoSomewhere(principal, name))) throw lacking(right, '');
}

const lacking = (right: Right, where: string): OperationError =>
  new OperationError(
    'forbidden',
    `You lack the right "${right}"${where}. Ask an administrator for it, or use a token that has it.`,
    { details: { right } },
  );
