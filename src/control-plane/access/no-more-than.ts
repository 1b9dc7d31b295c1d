import type { Right } from '../../contract/rights.ts';
import { OperationError } from '../../shared/errors.ts';
import type { Reader } from '../database/catalog.ts';
import { findRoleRights } from '../database/roles.ts';
import { EVERYWHERE, holdsOver } from './giving.ts';
import type { Principal } from './principal.ts';
import { isBuiltInRole, knownRights, ROLE_RIGHTS } from './roles.ts';

/**
 * Whoever could make or take over somebody mightier would be as mighty: throws unless the principal
 * has every right of these roles, over everything.
 */
export async function requireNoMoreThan(
  db: Reader,
  principal: Principal,
  roleIds: readonly string[],
): Promise<void> {
  for (const id of new Set(roleIds)) {
    const rights = await rightsOfRole(db, id);
    const missing = rights.filter((right) => !holdsOver(principal, right, EVERYWHERE));
    if (missing.length > 0)
      throw new OperationError(
        'forbidden',
        `The role ${id} has rights that you do not have over everything: ${missing.join(', ')}.`,
        { details: { role: id } },
      );
  }
}

async function rightsOfRole(db: Reader, id: string): Promise<readonly Right[]> {
  if (isBuiltInRole(id)) return ROLE_RIGHTS[id];
  const names = await findRoleRights(db, id);
  if (!names)
    throw new OperationError('invalid_input', `There is no role ${id}.`, {
      details: { field: 'role' },
    });
  return knownRights(names);
}
