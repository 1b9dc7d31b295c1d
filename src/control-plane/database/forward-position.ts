import type { Reader, Writer } from './catalog.ts';

const KEY = 'audit-forwarded-sequence';

/** Number of the last audit event that the receiver has; 0 before the first. */
export async function readForwardPosition(db: Reader): Promise<number> {
  const row = await db.selectFrom('meta').select('value').where('key', '=', KEY).executeTakeFirst();
  const position = Number(row?.value ?? 0);
  return Number.isSafeInteger(position) ? position : 0;
}

export async function writeForwardPosition(tx: Writer, sequence: number): Promise<void> {
  const value = String(sequence);
  await tx
    .insertInto('meta')
    .values({ key: KEY, value })
    .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
    .execute();
}
