import { z } from 'zod';
import type { Reader, Writer } from './catalog.ts';
import { optionalJson, readJson, readOptionalJson } from './json-column.ts';
import type { PageRequest } from './page.ts';
import type { CatalogSchema } from './schema.ts';
import { storedOperationSchema, type StoredOperation } from './requests.ts';

const storedScopeSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('everything') }),
  z.object({ kind: z.literal('label'), key: z.string(), value: z.string() }),
  z.object({ kind: z.literal('vms'), vmIds: z.array(z.string()) }),
]);

export interface ConfirmationRuleContent {
  readonly name: string;
  readonly description: string;
  readonly operations: StoredOperation[];
  readonly scope: z.infer<typeof storedScopeSchema>;
  readonly roles: string[] | null;
  readonly exceptRoles: string[];
  readonly approvals: number;
}

export interface ConfirmationRuleRow extends ConfirmationRuleContent {
  readonly id: string;
  readonly builtIn: boolean;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly version: number;
}

const contentColumns = (rule: ConfirmationRuleContent) => ({
  name: rule.name,
  description: rule.description,
  operations: JSON.stringify(rule.operations),
  scope: JSON.stringify(rule.scope),
  roles: optionalJson(rule.roles),
  except_roles: JSON.stringify(rule.exceptRoles),
  approvals: rule.approvals,
});

export async function insertConfirmationRule(
  tx: Writer,
  rule: ConfirmationRuleContent & { id: string; at: string },
): Promise<void> {
  await tx
    .insertInto('confirmation_rules')
    .values({
      ...contentColumns(rule),
      id: rule.id,
      built_in: 0,
      created_at: rule.at,
      updated_at: rule.at,
      version: 1,
    })
    .execute();
}

export async function updateConfirmationRule(
  tx: Writer,
  rule: ConfirmationRuleContent & { id: string; at: string },
): Promise<void> {
  await tx
    .updateTable('confirmation_rules')
    .set((eb) => ({
      ...contentColumns(rule),
      updated_at: rule.at,
      version: eb('version', '+', 1),
    }))
    .where('id', '=', rule.id)
    .execute();
}

export async function deleteConfirmationRule(tx: Writer, id: string): Promise<void> {
  await tx.deleteFrom('confirmation_rules').where('id', '=', id).execute();
}

export async function findConfirmationRule(
  db: Reader,
  id: string,
): Promise<ConfirmationRuleRow | undefined> {
  const row = await db
    .selectFrom('confirmation_rules')
    .selectAll()
    .where('id', '=', id)
    .executeTakeFirst();
  return row && toRule(row);
}

/** By name, which is unique. */
export async function listConfirmationRules(
  db: Reader,
  page: PageRequest<{ name: string }>,
): Promise<ConfirmationRuleRow[]> {
  let query = db.selectFrom('confirmation_rules').selectAll();
  if (page.after) query = query.where('name', '>', page.after.name);
  const rows = await query.orderBy('name').limit(page.limit).execute();
  return rows.map(toRule);
}

function toRule(row: CatalogSchema['confirmation_rules']): ConfirmationRuleRow {
  const where = `confirmation rule ${row.id}`;
  return {
    id: row.id,
    name: row.name,
    description: row.description,
    operations: readJson(z.array(storedOperationSchema), row.operations, where),
    scope: readJson(storedScopeSchema, row.scope, where),
    roles: readOptionalJson(z.array(z.string()), row.roles, where),
    exceptRoles: readJson(z.array(z.string()), row.except_roles, where),
    approvals: row.approvals,
    builtIn: row.built_in === 1,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    version: row.version,
  };
}
