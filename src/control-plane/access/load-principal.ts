import type { Reader } from '../database/catalog.ts';
import { findPrincipal } from '../database/principals.ts';
import type { Principal } from './principal.ts';
import { isRole, ROLE_RIGHTS } from './roles.ts';

/** Somebody who is not calling now, with all rights they have; undefined: unknown or disabled. */
export async function loadPrincipal(db: Reader, id: string): Promise<Principal | undefined> {
  const row = await findPrincipal(db, id);
  if (!row || row.disabledAt !== null || !isRole(row.role)) return undefined;
  return {
    ref: { id: row.id, name: row.name, kind: row.kind },
    role: row.role,
    rights: new Set(ROLE_RIGHTS[row.role]),
    tokenId: null,
  };
}
