import type { Clock } from '../../shared/clock.ts';
import { listBindingsOf } from '../database/bindings.ts';
import type { Reader } from '../database/catalog.ts';
import { findPrincipal } from '../database/principals.ts';
import { findToken, type TokenRow } from '../database/tokens.ts';
import type { Principal } from './principal.ts';
import { knownRights, rightsOfBinding } from './roles.ts';

/** Somebody with all rights they have at this moment; undefined: unknown or disabled. */
export async function loadPrincipal(db: Reader, id: string): Promise<Principal | undefined> {
  const row = await findPrincipal(db, id);
  if (!row || row.disabledAt !== null) return undefined;
  const bindings = await listBindingsOf(db, id);
  return {
    ref: { id: row.id, name: row.name, kind: row.kind },
    grants: bindings.map((binding) => ({
      effect: binding.effect,
      roleId: binding.roleId,
      rights: new Set(rightsOfBinding(binding)),
      scope: binding.scope,
    })),
    limits: null,
    tokenId: null,
  };
}

/** The owner of a token, with what the token leaves of their rights. */
export async function loadTokenOwner(
  db: Reader,
  token: TokenRow,
  now: Date,
): Promise<Principal | undefined> {
  if (token.revokedAt !== null) return undefined;
  if (token.expiresAt !== null && Date.parse(token.expiresAt) <= now.getTime()) return undefined;
  const owner = await loadPrincipal(db, token.principalId);
  return (
    owner && {
      ...owner,
      limits: {
        rights: token.rights && new Set(knownRights(token.rights)),
        scopes: token.scopes,
      },
      tokenId: token.id,
    }
  );
}

/** The same caller as of now; undefined when they may not call any more. */
export async function reloadPrincipal(
  db: Reader,
  principal: Principal,
  clock: Clock,
): Promise<Principal | undefined> {
  if (principal.tokenId === null) return await loadPrincipal(db, principal.ref.id);
  const token = await findToken(db, principal.tokenId);
  return token && (await loadTokenOwner(db, token, clock.now()));
}

/** Whether two views of one caller allow the same. */
export const hasSameRights = (one: Principal, other: Principal): boolean =>
  describeRights(one) === describeRights(other);

const describeRights = ({ grants, limits }: Principal): string =>
  JSON.stringify([
    grants.map(({ rights, ...grant }) => ({ ...grant, rights: [...rights] })),
    limits && { scopes: limits.scopes, rights: limits.rights && [...limits.rights] },
  ]);
