import { z } from 'zod';
import type { Reader } from './catalog.ts';
import { readJson } from './json-column.ts';

export const readRights = (text: string, where: string): string[] =>
  readJson(z.array(z.string()), text, where);

/** Of a role that people made; undefined when there is none. */
export async function findRoleRights(db: Reader, id: string): Promise<string[] | undefined> {
  const row = await db.selectFrom('roles').select('rights').where('id', '=', id).executeTakeFirst();
  return row && readRights(row.rights, `role ${id}`);
}
