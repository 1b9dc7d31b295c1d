import { z } from 'zod';
import type { Reader, Writer } from './catalog.ts';
import { optionalJson, readJson, readOptionalJson } from './json-column.ts';
import type { PageRequest } from './page.ts';
import type { CatalogSchema } from './schema.ts';
import { storedScopeSchema, type StoredScope } from './stored-shapes.ts';

export interface TokenRow {
  readonly id: string;
  readonly principalId: string;
  readonly name: string;
  /** SHA-256 of the secret, hex. */
  readonly secretHash: string;
  /** Null: all rights of the principal. */
  readonly rights: readonly string[] | null;
  /** Only VMs that all of these reach; none: no limit. */
  readonly scopes: readonly StoredScope[];
  readonly createdAt: string;
  readonly expiresAt: string | null;
  readonly revokedAt: string | null;
  readonly lastUsedAt: string | null;
}

export async function insertToken(
  tx: Writer,
  token: Omit<TokenRow, 'revokedAt' | 'lastUsedAt'>,
): Promise<void> {
  await tx
    .insertInto('tokens')
    .values({
      id: token.id,
      principal_id: token.principalId,
      name: token.name,
      secret_hash: token.secretHash,
      rights: optionalJson(token.rights),
      scopes: JSON.stringify(token.scopes),
      created_at: token.createdAt,
      expires_at: token.expiresAt,
    })
    .execute();
}

export async function findTokenByHash(
  db: Reader,
  secretHash: string,
): Promise<TokenRow | undefined> {
  const row = await db
    .selectFrom('tokens')
    .selectAll()
    .where('secret_hash', '=', secretHash)
    .executeTakeFirst();
  return row && toToken(row);
}

export async function findToken(db: Reader, id: string): Promise<TokenRow | undefined> {
  const row = await db.selectFrom('tokens').selectAll().where('id', '=', id).executeTakeFirst();
  return row && toToken(row);
}

/** Oldest first, without revoked ones. */
export async function listTokens(
  db: Reader,
  principalId: string,
  page: PageRequest<{ id: string }>,
): Promise<TokenRow[]> {
  let query = db
    .selectFrom('tokens')
    .selectAll()
    .where('principal_id', '=', principalId)
    .where('revoked_at', 'is', null);
  if (page.after) query = query.where('id', '>', page.after.id);
  const rows = await query.orderBy('id').limit(page.limit).execute();
  return rows.map(toToken);
}

export async function countTokens(db: Reader, principalId: string): Promise<number> {
  const row = await db
    .selectFrom('tokens')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('principal_id', '=', principalId)
    .where('revoked_at', 'is', null)
    .executeTakeFirstOrThrow();
  return row.count;
}

export async function revokeToken(tx: Writer, change: { id: string; at: string }): Promise<void> {
  await tx
    .updateTable('tokens')
    .set({ revoked_at: change.at })
    .where('id', '=', change.id)
    .where('revoked_at', 'is', null)
    .execute();
}

/** All but one, if one is given; says how many. */
export async function revokeTokensOf(
  tx: Writer,
  change: { principalId: string; exceptId: string | null; at: string },
): Promise<number> {
  let query = tx
    .updateTable('tokens')
    .set({ revoked_at: change.at })
    .where('principal_id', '=', change.principalId)
    .where('revoked_at', 'is', null);
  if (change.exceptId !== null) query = query.where('id', '<>', change.exceptId);
  return Number((await query.executeTakeFirst()).numUpdatedRows);
}

export async function touchToken(tx: Writer, change: { id: string; at: string }): Promise<void> {
  await tx
    .updateTable('tokens')
    .set({ last_used_at: change.at })
    .where('id', '=', change.id)
    .execute();
}

function toToken(row: CatalogSchema['tokens']): TokenRow {
  return {
    id: row.id,
    principalId: row.principal_id,
    name: row.name,
    secretHash: row.secret_hash,
    rights: readOptionalJson(z.array(z.string()), row.rights, `token ${row.id}`),
    scopes: readJson(z.array(storedScopeSchema), row.scopes, `token ${row.id}`),
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
    lastUsedAt: row.last_used_at,
  };
}
