import { RIGHTS, type Right } from '../../contract/rights.ts';

/** Built-in roles: sets of rights over everything. */
export const ROLE_RIGHTS = {
  administrator: RIGHTS,
  approver: ['view', 'approve'],
  operator: ['view', 'create', 'restore', 'delete', 'export', 'power'],
  auditor: ['view', 'read-audit'],
  viewer: ['view'],
} as const satisfies Record<string, readonly Right[]>;

export type Role = keyof typeof ROLE_RIGHTS;

export const isRole = (name: string): name is Role => Object.hasOwn(ROLE_RIGHTS, name);
