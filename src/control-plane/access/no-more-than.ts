import { RIGHTS, rightsThatGive, type Right } from '../../contract/rights.ts';
import { OperationError } from '../../shared/errors.ts';
import type { Reader } from '../database/catalog.ts';
import { findRoleRights } from '../database/roles.ts';
import type { Principal } from './principal.ts';
import { isBuiltInRole, knownRights, ROLE_RIGHTS } from './roles.ts';

/** Rights over everything, with no exception anywhere. */
function rightsWithoutLimit({ grants, limits }: Principal): Right[] {
  if (limits?.scopes.some(({ kind }) => kind !== 'everything')) return [];
  return RIGHTS.filter((right) => {
    const names = rightsThatGive(right);
    const has = (rights: ReadonlySet<Right>): boolean => names.some((name) => rights.has(name));
    return (
      (!limits || limits.rights === null || has(limits.rights)) &&
      grants.some(
        (grant) =>
          grant.effect === 'allow' && grant.scope.kind === 'everything' && has(grant.rights),
      ) &&
      !grants.some((grant) => grant.effect === 'deny' && has(grant.rights))
    );
  });
}

/**
 * Whoever could make or take over somebody mightier would be as mighty: throws unless the principal
 * has every right of these roles, over everything.
 */
export async function requireNoMoreThan(
  db: Reader,
  principal: Principal,
  roleIds: readonly string[],
): Promise<void> {
  const held = rightsWithoutLimit(principal);
  for (const id of new Set(roleIds)) {
    const rights = await rightsOfRole(db, id);
    const missing = rights.filter((right) => !held.includes(right));
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
