import { AsyncLocalStorage } from 'node:async_hooks';
import { open } from 'node:fs/promises';
import { Kysely, type Transaction } from 'kysely';
import type { Clock } from '../../shared/clock.ts';
import { systemClock } from '../../shared/clock.ts';
import { migrate } from './migrate.ts';
import type { CatalogSchema } from './schema.ts';
import { createSqliteDialect } from './sqlite-dialect.ts';

/** For queries: takes the read side as well as a transaction. */
export type Reader = Kysely<CatalogSchema>;
/** Only inside a transaction can the catalog be changed. */
export type Writer = Transaction<CatalogSchema>;

export interface Catalog {
  /** Sees what is committed; refuses writes. */
  readonly read: Reader;
  /**
   * One short transaction that holds the catalog's only write lock from its start (`BEGIN
   * IMMEDIATE`): wait for nothing but queries inside. Read through the given writer there.
   */
  write<T>(work: (tx: Writer) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Opens the catalog, making or migrating it as needed. Several processes may have it open. */
export async function openCatalog(options: { path: string; clock?: Clock }): Promise<Catalog> {
  const { path, clock = systemClock } = options;
  // Made here for its mode: SQLite gives the mode of the catalog to the files beside it.
  await (await open(path, 'a', 0o600)).close();
  const writeSide = new Kysely<CatalogSchema>({
    dialect: createSqliteDialect({ path, role: 'write' }),
  });
  try {
    await migrate(writeSide, clock);
  } catch (error) {
    await writeSide.destroy();
    throw error;
  }
  const readSide = new Kysely<CatalogSchema>({
    dialect: createSqliteDialect({ path, role: 'read' }),
  });
  const insideWrite = new AsyncLocalStorage<true>();
  return {
    read: readSide,
    write: async (work) => {
      if (insideWrite.getStore())
        throw new Error('catalog.write inside catalog.write would wait for itself for ever');
      return await writeSide.transaction().execute((tx) => insideWrite.run(true, () => work(tx)));
    },
    close: async () => {
      await readSide.destroy();
      await writeSide.destroy();
    },
  };
}

/** Opens the file of a catalog only to look at it: nothing is made, migrated or written. */
export function openCatalogCopy(path: string): { readonly read: Reader; close(): Promise<void> } {
  const read = new Kysely<CatalogSchema>({ dialect: createSqliteDialect({ path, role: 'copy' }) });
  return { read, close: async () => await read.destroy() };
}
