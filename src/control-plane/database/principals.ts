import { z } from 'zod';
import type { Reader, Writer } from './catalog.ts';
import { readWord } from './json-column.ts';

const principalKindSchema = z.enum(['user', 'token', 'schedule', 'system']);

export interface PrincipalRow {
  readonly id: string;
  readonly name: string;
  readonly kind: z.infer<typeof principalKindSchema>;
  readonly disabledAt: string | null;
}

export async function insertPrincipal(
  tx: Writer,
  principal: { id: string; name: string; kind: PrincipalRow['kind']; at: string },
): Promise<void> {
  const { at, ...columns } = principal;
  await tx
    .insertInto('principals')
    .values({ ...columns, created_at: at })
    .execute();
}

export async function findPrincipal(db: Reader, id: string): Promise<PrincipalRow | undefined> {
  const row = await db.selectFrom('principals').selectAll().where('id', '=', id).executeTakeFirst();
  return (
    row && {
      id: row.id,
      name: row.name,
      kind: readWord(principalKindSchema, row.kind, `principal ${row.id}`),
      disabledAt: row.disabled_at,
    }
  );
}

export async function hasPrincipals(db: Reader): Promise<boolean> {
  const row = await db.selectFrom('principals').select('id').limit(1).executeTakeFirst();
  return row !== undefined;
}
