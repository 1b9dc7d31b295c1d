import { sql, type Expression, type RawBuilder } from 'kysely';
import { hasAnyLabel, isOneOf } from './sqlite-dialect.ts';
import type { StoredScope } from './stored-shapes.ts';

/** Which things a list may hold, by the VM they belong to. */
export interface VmReach {
  /** Of each of these lists one scope must reach the VM. */
  readonly within: readonly (readonly StoredScope[])[];
  /** None of these may reach it. */
  readonly except: readonly StoredScope[];
  /** Whether what belongs to no VM is in it. */
  readonly fleet: boolean;
}

const isEverything = (scopes: readonly StoredScope[]): boolean =>
  scopes.some(({ kind }) => kind === 'everything');

export const isUnlimited = (reach: VmReach): boolean =>
  reach.fleet && reach.except.length === 0 && reach.within.every(isEverything);

/** A condition on rows of `vms`; without a reach, all of them. */
export function whereVmReached(
  reach: VmReach | undefined,
  columns: { id: Expression<string>; labels: Expression<string> },
): RawBuilder<boolean> {
  if (!reach || isUnlimited(reach)) return sql<boolean>`true`;
  const conditions = [
    ...reach.within.map((scopes) => reachedByOne(scopes, columns)),
    sql<boolean>`not ${reachedByOne(reach.except, columns)}`,
  ];
  return sql<boolean>`(${sql.join(conditions, sql` and `)})`;
}

/** A condition on rows that name their VM; without a reach, all of them. */
export function whereOfReachedVm(
  reach: VmReach | undefined,
  vmId: Expression<string | null>,
): RawBuilder<boolean> {
  if (!reach || isUnlimited(reach)) return sql<boolean>`true`;
  const condition = whereVmReached(reach, { id: sql.ref('v.id'), labels: sql.ref('v.labels') });
  const ofVm = sql<boolean>`${vmId} in (select v.id from vms as v where ${condition})`;
  return reach.fleet ? sql<boolean>`(${vmId} is null or ${ofVm})` : ofVm;
}

function reachedByOne(
  scopes: readonly StoredScope[],
  columns: { id: Expression<string>; labels: Expression<string> },
): RawBuilder<boolean> {
  if (isEverything(scopes)) return sql<boolean>`true`;
  const vmIds = scopes.flatMap((scope) => (scope.kind === 'vms' ? scope.vmIds : []));
  const labels = scopes.flatMap((scope) => (scope.kind === 'label' ? [scope] : []));
  return sql<boolean>`(${isOneOf(columns.id, vmIds)} or ${hasAnyLabel(columns.labels, labels)})`;
}
