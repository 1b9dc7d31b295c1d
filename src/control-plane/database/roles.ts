import type { Selectable } from 'kysely';
import { z } from 'zod';
import type { Reader, Writer } from './catalog.ts';
import { readJson } from './json-column.ts';
import type { PageRequest } from './page.ts';
import type { CatalogSchema } from './schema.ts';

/** A role that somebody made. */
export interface RoleRow {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly rights: readonly string[];
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly version: number;
}

export async function insertRole(
  tx: Writer,
  role: Pick<RoleRow, 'id' | 'name' | 'description' | 'rights'> & { at: string },
): Promise<void> {
  const { at, rights, ...columns } = role;
  await tx
    .insertInto('roles')
    .values({ ...columns, rights: JSON.stringify(rights), created_at: at, updated_at: at })
    .execute();
}

export async function updateRole(
  tx: Writer,
  role: Pick<RoleRow, 'id' | 'name' | 'description' | 'rights'> & { at: string },
): Promise<void> {
  const { id, name, description, rights, at } = role;
  await tx
    .updateTable('roles')
    .set({ name, description, rights: JSON.stringify(rights), updated_at: at })
    .set((eb) => ({ version: eb('version', '+', 1) }))
    .where('id', '=', id)
    .execute();
}

export async function deleteRole(tx: Writer, id: string): Promise<void> {
  await tx.deleteFrom('roles').where('id', '=', id).execute();
}

export async function findRole(db: Reader, id: string): Promise<RoleRow | undefined> {
  const row = await db.selectFrom('roles').selectAll().where('id', '=', id).executeTakeFirst();
  return row && toRole(row);
}

export async function listRoles(db: Reader, page: PageRequest<{ id: string }>): Promise<RoleRow[]> {
  let query = db.selectFrom('roles').selectAll();
  if (page.after) query = query.where('id', '>', page.after.id);
  const rows = await query.orderBy('id').limit(page.limit).execute();
  return rows.map(toRole);
}

export const readRights = (text: string, where: string): string[] =>
  readJson(z.array(z.string()), text, where);

const toRole = (row: Selectable<CatalogSchema['roles']>): RoleRow => ({
  id: row.id,
  name: row.name,
  description: row.description,
  rights: readRights(row.rights, `role ${row.id}`),
  createdAt: row.created_at,
  updatedAt: row.updated_at,
  version: row.version,
});

/** Of a role that people made; undefined when there is none. */
export async function findRoleRights(db: Reader, id: string): Promise<string[] | undefined> {
  const row = await db.selectFrom('roles').select('rights').where('id', '=', id).executeTakeFirst();
  return row && readRights(row.rights, `role ${id}`);
}
