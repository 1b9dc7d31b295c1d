import type { Reader, Writer } from './catalog.ts';

export async function readMeta(db: Reader, key: string): Promise<string | undefined> {
  const row = await db.selectFrom('meta').select('value').where('key', '=', key).executeTakeFirst();
  return row?.value;
}

export async function writeMeta(tx: Writer, entry: { key: string; value: string }): Promise<void> {
  await tx
    .insertInto('meta')
    .values(entry)
    .onConflict((conflict) => conflict.column('key').doUpdateSet({ value: entry.value }))
    .execute();
}
