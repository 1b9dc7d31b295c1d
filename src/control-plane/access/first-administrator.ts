import { newId } from '../../shared/ids.ts';
import { insertBinding } from '../database/bindings.ts';
import type { Writer } from '../database/catalog.ts';
import { hasPrincipals, insertPrincipal } from '../database/principals.ts';
import { issueToken } from './tokens.ts';

const SYSTEM = { id: 'system', name: 'Komadori', kind: 'system' } as const;

export interface FirstAdministrator {
  readonly principal: { readonly id: string; readonly name: string; readonly kind: 'user' };
  readonly tokenId: string;
  /** In this answer and nowhere else. */
  readonly secret: string;
}

/** On the first start: an administrator with one token. Undefined when there are principals already. */
export async function ensureAdministrator(
  tx: Writer,
  now: Date,
): Promise<FirstAdministrator | undefined> {
  if (await hasPrincipals(tx)) return undefined;
  const principal = { id: newId(now.getTime()), name: 'administrator', kind: 'user' } as const;
  const at = now.toISOString();
  await insertPrincipal(tx, { ...principal, at });
  await insertBinding(tx, {
    id: newId(now.getTime()),
    principalId: principal.id,
    roleId: 'administrator',
    effect: 'allow',
    scope: { kind: 'everything' },
    createdBy: SYSTEM,
    at,
  });
  const token = await issueToken(
    tx,
    { principalId: principal.id, name: 'first start', rights: null, expiresAt: null },
    now,
  );
  return { principal, tokenId: token.id, secret: token.secret };
}
