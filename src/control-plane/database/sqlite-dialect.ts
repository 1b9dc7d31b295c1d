import { randomInt } from 'node:crypto';
import { statSync } from 'node:fs';
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import {
  CompiledQuery,
  sql,
  type Expression,
  type RawBuilder,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
} from 'kysely';
import { describeThrown, OperationError } from '../../shared/errors.ts';

const SQLITE_BUSY = 5;
const SQLITE_NOTADB = 26;
const OPEN_BUSY_TIMEOUT_MS = 5000;
const BEGIN_TIMEOUT_MS = 15_000;
const BEGIN_RETRY_MAX_MS = 20;

/** `copy`: a file that is looked at and never changed, migrated or given files of its own. */
export type ConnectionRole = 'read' | 'write' | 'copy';

/**
 * All that is particular to SQLite: everything above speaks Kysely. The read connection refuses
 * writes, so that whatever changes the catalog is inside a transaction of the write connection.
 */
export function createSqliteDialect(options: { path: string; role: ConnectionRole }): Dialect {
  return {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => createDriver(options),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  };
}

function createDriver({ path, role }: { path: string; role: ConnectionRole }): Driver {
  let database: DatabaseSync | undefined;
  let connection: DatabaseConnection | undefined;
  const begin = role === 'write' ? 'begin immediate' : 'begin';
  return {
    init: async () => {
      database = openDatabase(path, role);
      connection = createConnection(database);
    },
    acquireConnection: async () => {
      if (!connection) throw new Error('the SQLite driver was used before init');
      return connection;
    },
    beginTransaction: async (taken) => await beginWithRetry(taken, begin),
    commitTransaction: async (taken) =>
      void (await taken.executeQuery(CompiledQuery.raw('commit'))),
    rollbackTransaction: async (taken) => {
      // SQLite rolls some failures back by itself, and then there is nothing left to roll back.
      if (database?.isTransaction) await taken.executeQuery(CompiledQuery.raw('rollback'));
    },
    releaseConnection: async () => undefined,
    destroy: async () => database?.close(),
  };
}

function openDatabase(path: string, role: ConnectionRole): DatabaseSync {
  try {
    if (role === 'copy') return openCopy(path);
    const database = new DatabaseSync(path, { timeout: OPEN_BUSY_TIMEOUT_MS });
    database.exec('pragma journal_mode = wal');
    database.exec('pragma synchronous = full');
    database.exec('pragma foreign_keys = on');
    // Without it, INSERT OR REPLACE deletes rows behind the back of the delete triggers.
    database.exec('pragma recursive_triggers = on');
    // Waiting inside SQLite would block the event loop, and with it whoever holds the lock if that
    // is this process too; beginWithRetry waits instead.
    if (role === 'write') database.exec('pragma busy_timeout = 0');
    else database.exec('pragma query_only = on');
    return database;
  } catch (error) {
    const reason =
      sqliteCode(error) === SQLITE_NOTADB ? 'it is not a SQLite database' : describeThrown(error);
    throw new OperationError(
      'internal',
      `The catalog ${path} cannot be opened: ${reason}. Check the path, its owner and the disk.`,
      { cause: error },
    );
  }
}

function openCopy(path: string): DatabaseSync {
  const url = pathToFileURL(path);
  // Without a log there is nothing to recover, and SQLite need not make its shared memory file.
  const log = statSync(`${path}-wal`, { throwIfNoEntry: false });
  if (!log || log.size === 0) url.searchParams.set('immutable', '1');
  const database = new DatabaseSync(url, { readOnly: true, timeout: OPEN_BUSY_TIMEOUT_MS });
  database.exec('pragma query_only = on');
  // Opening alone reads nothing; what is no database is to be told here.
  database.prepare('select count(*) from sqlite_schema').get();
  return database;
}

function createConnection(database: DatabaseSync): DatabaseConnection {
  return {
    executeQuery: async <Row>(query: CompiledQuery): Promise<QueryResult<Row>> => {
      const statement = database.prepare(query.sql);
      const parameters = query.parameters.map(toSqliteValue);
      if (statement.columns().length > 0) {
        // Kysely types rows by the query it built; JSON columns are parsed by zod above.
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion
        return { rows: statement.all(...parameters) as Row[] };
      }
      const { changes, lastInsertRowid } = statement.run(...parameters);
      return {
        rows: [],
        numAffectedRows: BigInt(changes),
        insertId: BigInt(lastInsertRowid),
      };
    },
    // oxlint-disable-next-line require-yield
    async *streamQuery() {
      throw new Error('streaming is not used: read in pages, so that no cursor stays open');
    },
  };
}

async function beginWithRetry(connection: DatabaseConnection, begin: string): Promise<void> {
  const deadline = performance.now() + BEGIN_TIMEOUT_MS;
  for (;;) {
    try {
      await connection.executeQuery(CompiledQuery.raw(begin));
      return;
    } catch (error) {
      if (!isBusy(error)) throw error;
      if (performance.now() > deadline) {
        throw new OperationError(
          'timed_out',
          `The catalog was locked by another process for ${BEGIN_TIMEOUT_MS} ms. Look for a process that holds it open, such as a backup or an SQL shell.`,
          { cause: error },
        );
      }
      // SQLite tells nobody when its write lock is free.
      await delay(randomInt(1, BEGIN_RETRY_MAX_MS));
    }
  }
}

function toSqliteValue(value: unknown): SQLInputValue {
  if (typeof value === 'boolean') return value ? 1 : 0;
  if (
    value === null ||
    typeof value === 'string' ||
    typeof value === 'number' ||
    typeof value === 'bigint' ||
    value instanceof Uint8Array
  )
    return value;
  throw new TypeError(`SQLite takes no parameter of type ${typeof value}`);
}

function sqliteCode(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('errcode' in error)) return undefined;
  // The primary code is the low byte of an extended one.
  return typeof error.errcode === 'number' ? error.errcode & 0xff : undefined;
}

const isBusy = (error: unknown): boolean => sqliteCode(error) === SQLITE_BUSY;

const SQLITE_CONSTRAINT_UNIQUE = 2067;

/** Whether an insert or update failed because the value of a unique index exists already. */
export const isUniqueViolation = (error: unknown): boolean =>
  error instanceof Error && 'errcode' in error && error.errcode === SQLITE_CONSTRAINT_UNIQUE;

/** The text at one key of a column that holds a JSON object; null where there is none. */
export function jsonTextAt(column: Expression<string>, key: string): RawBuilder<string | null> {
  return sql<string | null>`(select value from json_each(${column}) where key = ${key})`;
}

/** Whether a column holds one of any number of texts, as one parameter. */
export const isOneOf = (
  column: Expression<string>,
  texts: readonly string[],
): RawBuilder<boolean> =>
  sql<boolean>`${column} in (select value from json_each(${JSON.stringify(texts)}))`;

/** Whether a column that holds labels has one of these. A key holds no equals sign. */
export function hasAnyLabel(
  column: Expression<string>,
  labels: readonly { readonly key: string; readonly value: string }[],
): RawBuilder<boolean> {
  const pairs = JSON.stringify(labels.map(({ key, value }) => `${key}=${value}`));
  return sql<boolean>`exists (select 1 from json_each(${column}) as label
    where label.key || '=' || label.value in (select value from json_each(${pairs})))`;
}
