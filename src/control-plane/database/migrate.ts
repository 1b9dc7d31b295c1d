import { sql, type Kysely, type Transaction } from 'kysely';
import type { Clock } from '../../shared/clock.ts';
import { OperationError } from '../../shared/errors.ts';
import { initialSchema } from './migrations/0001-initial.ts';
import type { CatalogSchema } from './schema.ts';

export interface Migration {
  readonly name: string;
  readonly statements: readonly string[];
}

/** Append only: a migration that was released is never changed. The position is the version. */
export const migrations: readonly Migration[] = [initialSchema];

/** Brings the catalog to the newest version, in one transaction, whoever else is starting too. */
export async function migrate(
  db: Kysely<CatalogSchema>,
  clock: Clock,
  steps: readonly Migration[] = migrations,
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const version = await readVersion(tx);
    if (version > steps.length) {
      throw new OperationError(
        'catalog_too_new',
        `The catalog has version ${version}, and this Komadori knows versions up to ${steps.length}. Run the newer Komadori that made it, or restore a backup of the catalog.`,
        { details: { catalogVersion: version, knownVersion: steps.length } },
      );
    }
    for (const [index, migration] of steps.entries()) {
      if (index < version) continue;
      for (const statement of migration.statements) await sql.raw(statement).execute(tx);
      await tx
        .insertInto('schema_migrations')
        .values({
          version: index + 1,
          name: migration.name,
          applied_at: clock.now().toISOString(),
        })
        .execute();
    }
  });
}

async function readVersion(tx: Transaction<CatalogSchema>): Promise<number> {
  const tables = await tx.introspection.getTables();
  if (tables.length === 0) return 0;
  if (!tables.some((table) => table.name === 'schema_migrations')) {
    throw new OperationError(
      'invalid_input',
      'The database holds tables of another program, not a Komadori catalog. Give another path.',
    );
  }
  const row = await tx
    .selectFrom('schema_migrations')
    .select((eb) => eb.fn.max('version').as('version'))
    .executeTakeFirst();
  return row?.version ?? 0;
}
