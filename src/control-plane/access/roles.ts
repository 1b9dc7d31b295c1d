import { RIGHTS, rightSchema, type Right } from '../../contract/rights.ts';
import type { BindingRow } from '../database/bindings.ts';

/** Built-in roles: sets of rights, by the id that bindings name. */
export const ROLE_RIGHTS = {
  administrator: RIGHTS,
  approver: ['view', 'approve'],
  operator: ['view', 'create', 'restore', 'delete-own', 'export', 'power'],
  auditor: ['view', 'read-audit'],
  viewer: ['view'],
} as const satisfies Record<string, readonly Right[]>;

export type BuiltInRole = keyof typeof ROLE_RIGHTS;

export const BUILT_IN_ROLES = Object.keys(ROLE_RIGHTS).filter(isBuiltInRole);

export function isBuiltInRole(id: string): id is BuiltInRole {
  return Object.hasOwn(ROLE_RIGHTS, id);
}

/** Rights of another version, which this one does not know, are left out. */
export const knownRights = (names: readonly string[]): Right[] =>
  RIGHTS.filter((right) => names.some((name) => rightSchema.safeParse(name).data === right));

/** A role that cannot be read gives nothing and denies everything. */
export function rightsOfBinding(
  binding: Pick<BindingRow, 'roleId' | 'role' | 'effect'>,
): readonly Right[] {
  if (isBuiltInRole(binding.roleId)) return ROLE_RIGHTS[binding.roleId];
  if (binding.role) return knownRights(binding.role.rights);
  return binding.effect === 'deny' ? RIGHTS : [];
}
