import type { Reader, Writer } from './catalog.ts';
import { readJson } from './json-column.ts';
import { storedJsonObjectSchema, type StoredJsonObject } from './stored-shapes.ts';

export interface IdempotencyKey {
  readonly principalId: string;
  readonly key: string;
}

/** What was answered to the call that used this key first. */
export async function findIdempotentAnswer(
  db: Reader,
  key: IdempotencyKey & { now: string },
): Promise<{ bodyHash: string; answer: StoredJsonObject } | undefined> {
  const row = await db
    .selectFrom('idempotency_keys')
    .select(['body_hash', 'answer'])
    .where('principal_id', '=', key.principalId)
    .where('key', '=', key.key)
    .where('expires_at', '>', key.now)
    .executeTakeFirst();
  return (
    row && {
      bodyHash: row.body_hash,
      answer: readJson(storedJsonObjectSchema, row.answer, `idempotency key ${key.key}`),
    }
  );
}

export async function saveIdempotentAnswer(
  tx: Writer,
  entry: IdempotencyKey & { bodyHash: string; answer: object; at: string; expiresAt: string },
): Promise<void> {
  await tx
    .deleteFrom('idempotency_keys')
    .where('principal_id', '=', entry.principalId)
    .where('key', '=', entry.key)
    .where('expires_at', '<=', entry.at)
    .execute();
  await tx
    .insertInto('idempotency_keys')
    .values({
      principal_id: entry.principalId,
      key: entry.key,
      body_hash: entry.bodyHash,
      answer: JSON.stringify(entry.answer),
      created_at: entry.at,
      expires_at: entry.expiresAt,
    })
    .execute();
}

export async function deleteExpiredIdempotencyKeys(tx: Writer, now: string): Promise<void> {
  await tx.deleteFrom('idempotency_keys').where('expires_at', '<=', now).execute();
}
