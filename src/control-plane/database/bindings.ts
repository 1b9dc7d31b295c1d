import { z } from 'zod';
import type { Reader, Writer } from './catalog.ts';
import { readJson, readWord } from './json-column.ts';
import type { PageRequest } from './page.ts';
import { readRights } from './roles.ts';
import { jsonTextAt } from './sqlite-dialect.ts';
import {
  storedPrincipalSchema,
  storedScopeSchema,
  type StoredPrincipal,
  type StoredScope,
} from './stored-shapes.ts';

const effectSchema = z.enum(['allow', 'deny']);

export interface BindingRow {
  readonly id: string;
  readonly principal: StoredPrincipal;
  readonly roleId: string;
  /** Null for a built-in role, and for one that is not there. */
  readonly role: { readonly name: string; readonly rights: readonly string[] } | null;
  readonly effect: z.infer<typeof effectSchema>;
  readonly scope: StoredScope;
  readonly createdBy: StoredPrincipal;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly version: number;
}

export interface NewBinding {
  readonly id: string;
  readonly principalId: string;
  readonly roleId: string;
  readonly effect: BindingRow['effect'];
  readonly scope: StoredScope;
  readonly createdBy: StoredPrincipal;
  readonly at: string;
}

export async function insertBinding(tx: Writer, binding: NewBinding): Promise<void> {
  await tx
    .insertInto('bindings')
    .values({
      id: binding.id,
      principal_id: binding.principalId,
      role_id: binding.roleId,
      effect: binding.effect,
      scope: JSON.stringify(binding.scope),
      created_by: JSON.stringify(binding.createdBy),
      created_at: binding.at,
      updated_at: binding.at,
    })
    .execute();
}

export async function updateBinding(
  tx: Writer,
  change: Pick<NewBinding, 'id' | 'roleId' | 'effect' | 'scope' | 'at'>,
): Promise<void> {
  await tx
    .updateTable('bindings')
    .set({
      role_id: change.roleId,
      effect: change.effect,
      scope: JSON.stringify(change.scope),
      updated_at: change.at,
    })
    .set((eb) => ({ version: eb('version', '+', 1) }))
    .where('id', '=', change.id)
    .execute();
}

export async function deleteBinding(tx: Writer, id: string): Promise<void> {
  await tx.deleteFrom('bindings').where('id', '=', id).execute();
}

export async function findBinding(db: Reader, id: string): Promise<BindingRow | undefined> {
  const row = await selectBindings(db).where('bindings.id', '=', id).executeTakeFirst();
  return row && toBinding(row);
}

export interface BindingFilter {
  readonly principalId?: string | undefined;
  readonly roleId?: string | undefined;
}

/** Oldest first. */
export async function listBindings(
  db: Reader,
  filter: BindingFilter,
  page: PageRequest<{ id: string }>,
): Promise<BindingRow[]> {
  let query = selectBindings(db);
  if (filter.principalId !== undefined)
    query = query.where('bindings.principal_id', '=', filter.principalId);
  if (filter.roleId !== undefined) query = query.where('bindings.role_id', '=', filter.roleId);
  if (page.after) query = query.where('bindings.id', '>', page.after.id);
  const rows = await query.orderBy('bindings.id').limit(page.limit).execute();
  return rows.map(toBinding);
}

/** All of one principal; how many there can be is limited where they are made. */
export async function listBindingsOf(db: Reader, principalId: string): Promise<BindingRow[]> {
  const rows = await selectBindings(db)
    .where('bindings.principal_id', '=', principalId)
    .orderBy('bindings.id')
    .execute();
  return rows.map(toBinding);
}

/** Those that hold on VMs by their labels. */
export async function listLabelBindings(db: Reader): Promise<BindingRow[]> {
  const rows = await selectBindings(db)
    .where((eb) => eb(jsonTextAt(eb.ref('bindings.scope'), 'kind'), '=', 'label'))
    .execute();
  return rows.map(toBinding);
}

export async function countBindings(db: Reader, filter: BindingFilter): Promise<number> {
  let query = db.selectFrom('bindings').select((eb) => eb.fn.countAll<number>().as('count'));
  if (filter.principalId !== undefined)
    query = query.where('principal_id', '=', filter.principalId);
  if (filter.roleId !== undefined) query = query.where('role_id', '=', filter.roleId);
  return (await query.executeTakeFirstOrThrow()).count;
}

/** Of whoever is bound at all and not disabled. */
export async function listBoundPrincipalIds(db: Reader): Promise<string[]> {
  const rows = await db
    .selectFrom('bindings')
    .innerJoin('principals', 'principals.id', 'bindings.principal_id')
    .select('principals.id')
    .distinct()
    .where('principals.disabled_at', 'is', null)
    .where('bindings.effect', '=', 'allow')
    .execute();
  return rows.map(({ id }) => id);
}

const selectBindings = (db: Reader) =>
  db
    .selectFrom('bindings')
    .innerJoin('principals', 'principals.id', 'bindings.principal_id')
    .leftJoin('roles', 'roles.id', 'bindings.role_id')
    .selectAll('bindings')
    .select([
      'principals.name as principal_name',
      'principals.kind as principal_kind',
      'roles.name as role_name',
      'roles.rights as role_rights',
    ]);

type SelectedBinding = Awaited<
  ReturnType<ReturnType<typeof selectBindings>['executeTakeFirstOrThrow']>
>;

function toBinding(row: SelectedBinding): BindingRow {
  const where = `binding ${row.id}`;
  return {
    id: row.id,
    principal: {
      id: row.principal_id,
      name: row.principal_name,
      kind: readWord(storedPrincipalSchema.shape.kind, row.principal_kind, where),
    },
    roleId: row.role_id,
    role:
      row.role_name === null || row.role_rights === null
        ? null
        : { name: row.role_name, rights: readRights(row.role_rights, where) },
    effect: readWord(effectSchema, row.effect, where),
    scope: readJson(storedScopeSchema, row.scope, where),
    createdBy: readJson(storedPrincipalSchema, row.created_by, where),
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    version: row.version,
  };
}
