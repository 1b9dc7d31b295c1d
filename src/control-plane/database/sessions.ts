import type { Selectable } from 'kysely';
import { z } from 'zod';
import type { Reader, Writer } from './catalog.ts';
import { readWord } from './json-column.ts';
import type { PageRequest } from './page.ts';
import type { CatalogSchema } from './schema.ts';

const methodSchema = z.enum(['password', 'openid-connect']);

export interface SessionRow {
  readonly id: string;
  readonly principalId: string;
  /** SHA-256 of the secret, hex. */
  readonly secretHash: string;
  readonly method: z.infer<typeof methodSchema>;
  readonly sourceAddress: string | null;
  readonly userAgent: string | null;
  readonly createdAt: string;
  readonly lastUsedAt: string;
  readonly expiresAt: string;
}

export async function insertSession(tx: Writer, session: SessionRow): Promise<void> {
  await tx
    .insertInto('sessions')
    .values({
      id: session.id,
      principal_id: session.principalId,
      secret_hash: session.secretHash,
      method: session.method,
      source_address: session.sourceAddress,
      user_agent: session.userAgent,
      created_at: session.createdAt,
      last_used_at: session.lastUsedAt,
      expires_at: session.expiresAt,
    })
    .execute();
}

export async function findSessionByHash(
  db: Reader,
  secretHash: string,
): Promise<SessionRow | undefined> {
  const row = await db
    .selectFrom('sessions')
    .selectAll()
    .where('secret_hash', '=', secretHash)
    .executeTakeFirst();
  return row && toSession(row);
}

export async function findSession(db: Reader, id: string): Promise<SessionRow | undefined> {
  const row = await db.selectFrom('sessions').selectAll().where('id', '=', id).executeTakeFirst();
  return row && toSession(row);
}

/** Oldest first. */
export async function listSessions(
  db: Reader,
  filter: { principalId: string; usedAfter: string; now: string },
  page: PageRequest<{ id: string }>,
): Promise<SessionRow[]> {
  let query = db
    .selectFrom('sessions')
    .selectAll()
    .where('principal_id', '=', filter.principalId)
    .where('last_used_at', '>', filter.usedAfter)
    .where('expires_at', '>', filter.now);
  if (page.after) query = query.where('id', '>', page.after.id);
  const rows = await query.orderBy('id').limit(page.limit).execute();
  return rows.map(toSession);
}

/** Keeps the newest; says how many went. */
export async function deleteOldestSessions(
  tx: Writer,
  options: { principalId: string; kept: number },
): Promise<number> {
  const kept = tx
    .selectFrom('sessions')
    .select('id')
    .where('principal_id', '=', options.principalId)
    .orderBy('id', 'desc')
    .limit(options.kept);
  const result = await tx
    .deleteFrom('sessions')
    .where('principal_id', '=', options.principalId)
    .where('id', 'not in', kept)
    .executeTakeFirst();
  return Number(result.numDeletedRows);
}

export async function deleteSession(tx: Writer, id: string): Promise<void> {
  await tx.deleteFrom('sessions').where('id', '=', id).execute();
}

export async function deleteSessionsOf(tx: Writer, principalId: string): Promise<number> {
  const result = await tx
    .deleteFrom('sessions')
    .where('principal_id', '=', principalId)
    .executeTakeFirst();
  return Number(result.numDeletedRows);
}

export async function deleteEndedSessions(
  tx: Writer,
  limits: { usedAfter: string; now: string },
): Promise<void> {
  await tx
    .deleteFrom('sessions')
    .where((eb) =>
      eb.or([eb('last_used_at', '<=', limits.usedAfter), eb('expires_at', '<=', limits.now)]),
    )
    .execute();
}

export async function touchSession(tx: Writer, change: { id: string; at: string }): Promise<void> {
  await tx
    .updateTable('sessions')
    .set({ last_used_at: change.at })
    .where('id', '=', change.id)
    .execute();
}

const toSession = (row: Selectable<CatalogSchema['sessions']>): SessionRow => ({
  id: row.id,
  principalId: row.principal_id,
  secretHash: row.secret_hash,
  method: readWord(methodSchema, row.method, `session ${row.id}`),
  sourceAddress: row.source_address,
  userAgent: row.user_agent,
  createdAt: row.created_at,
  lastUsedAt: row.last_used_at,
  expiresAt: row.expires_at,
});
