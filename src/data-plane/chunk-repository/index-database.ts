import { closeSync, mkdirSync, openSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { DatabaseSync, type SQLOutputValue, type StatementSync } from 'node:sqlite';
import { MIB } from '../../shared/byte-size.ts';

/** The SQLite file of the index; any copy of it can be thrown away. */
export interface IndexDatabase {
  readonly database: DatabaseSync;
  readonly packByNumber: StatementSync;
  readonly packById: StatementSync;
  readonly allPacks: StatementSync;
  readonly insertPack: StatementSync;
  readonly insertFrames: StatementSync;
  readonly insertSegment: StatementSync;
  readonly insertChunk: StatementSync;
  readonly deletePack: StatementSync;
  readonly deleteFrames: StatementSync;
  readonly deleteSegments: StatementSync;
  readonly places: StatementSync;
  readonly frames: StatementSync;
  readonly segment: StatementSync;
  readonly totals: StatementSync;
  readonly purge: StatementSync;
}

export type Row = Record<string, SQLOutputValue>;

const SCHEMA_VERSION = 2;
const CORRUPT_CODES = new Set([11, 26]);
/** Above this a check at every start would take longer than it is worth. */
const CHECKED_SIZE_MAX_BYTES = 64 * MIB;
const BUSY_TIMEOUT_MS = 20_000;

/**
 * `chunks` finds places by the first 6 bytes of a digest, which SQLite stores and compares as
 * integers; whole digests stand in segments, which are read once for all their chunks.
 */
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS packs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, size_bytes INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL, chunk_count INTEGER NOT NULL, plain_bytes INTEGER NOT NULL,
    damage TEXT
  );
  CREATE TABLE IF NOT EXISTS frames (pack INTEGER PRIMARY KEY, frames BLOB NOT NULL);
  CREATE TABLE IF NOT EXISTS segments (
    pack INTEGER NOT NULL, first_slot INTEGER NOT NULL, digests BLOB NOT NULL,
    PRIMARY KEY (pack, first_slot)
  );
  CREATE TABLE IF NOT EXISTS chunks (
    prefix INTEGER NOT NULL, pack INTEGER NOT NULL, slot INTEGER NOT NULL,
    PRIMARY KEY (prefix, pack, slot)
  ) WITHOUT ROWID;
`;

/** The file is not what it must be; its owner empties it. */
export class StaleIndexError extends Error {}

export function openIndexDatabase(indexPath: string, repositoryId: string): IndexDatabase {
  mkdirSync(path.dirname(indexPath), { recursive: true, mode: 0o700 });
  try {
    return connect(indexPath, repositoryId);
  } catch (error) {
    if (!isIndexCorruption(error)) throw error;
    removeIndexFiles(indexPath);
    return connect(indexPath, repositoryId);
  }
}

function connect(indexPath: string, repositoryId: string): IndexDatabase {
  // SQLite gives its other files the mode of this one: which chunks exist is nobody else's to know.
  closeSync(openSync(indexPath, 'a', 0o600));
  const database = new DatabaseSync(indexPath, { timeout: BUSY_TIMEOUT_MS });
  try {
    // The index can be rebuilt, so a lost transaction costs a synchronisation and nothing else.
    database.exec(
      'PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384;',
    );
    database.exec(
      'CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;',
    );
    checkIdentity(database, `${SCHEMA_VERSION} ${repositoryId}`);
    database.exec(SCHEMA);
    if (statSync(indexPath).size <= CHECKED_SIZE_MAX_BYTES) checkIntegrity(database);
    return prepare(database);
  } catch (error) {
    database.close();
    throw error;
  }
}

function checkIdentity(database: DatabaseSync, identity: string): void {
  database.prepare('INSERT OR IGNORE INTO meta VALUES (?, ?)').run('identity', identity);
  const row = database.prepare('SELECT value FROM meta WHERE key = ?').get('identity');
  if (row?.['value'] !== identity) throw new StaleIndexError('index of another repository');
}

function checkIntegrity(database: DatabaseSync): void {
  const row = database.prepare('PRAGMA quick_check(1)').get();
  if (row?.['quick_check'] !== 'ok') throw new StaleIndexError('index fails its check');
}

function prepare(database: DatabaseSync): IndexDatabase {
  return {
    database,
    packByNumber: database.prepare('SELECT * FROM packs WHERE number = ?'),
    packById: database.prepare('SELECT * FROM packs WHERE id = ?'),
    allPacks: database.prepare('SELECT * FROM packs ORDER BY number'),
    insertPack: database.prepare(
      'INSERT OR IGNORE INTO packs (id, size_bytes, created_at_ms, chunk_count, plain_bytes, damage) VALUES (?, ?, ?, ?, ?, ?)',
    ),
    insertFrames: database.prepare('INSERT OR REPLACE INTO frames VALUES (?, ?)'),
    insertSegment: database.prepare('INSERT OR REPLACE INTO segments VALUES (?, ?, ?)'),
    insertChunk: database.prepare('INSERT OR IGNORE INTO chunks VALUES (?, ?, ?)'),
    deletePack: database.prepare('DELETE FROM packs WHERE number = ?'),
    deleteFrames: database.prepare('DELETE FROM frames WHERE pack = ?'),
    deleteSegments: database.prepare('DELETE FROM segments WHERE pack = ?'),
    places: database.prepare('SELECT pack, slot FROM chunks WHERE prefix = ? ORDER BY pack DESC'),
    frames: database.prepare('SELECT frames FROM frames WHERE pack = ?'),
    segment: database.prepare('SELECT digests FROM segments WHERE pack = ? AND first_slot = ?'),
    totals: database.prepare(
      'SELECT count(*) AS packs, total(chunk_count) AS chunks, total(size_bytes) AS stored, total(plain_bytes) AS plain FROM packs',
    ),
    purge: database.prepare(
      'DELETE FROM chunks WHERE prefix >= ? AND prefix < ? AND pack NOT IN (SELECT number FROM packs)',
    ),
  };
}

export function inTransaction<T>(database: DatabaseSync, action: () => T): T {
  database.exec('BEGIN IMMEDIATE');
  try {
    const result = action();
    database.exec('COMMIT');
    return result;
  } catch (error) {
    // SQLite may have rolled back by itself (a full disk): a second rollback then has nothing to do.
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}

export function integerOf(row: Row, column: string): number {
  const value = row[column];
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) {
    throw new StaleIndexError(`column ${column} is not a number`);
  }
  return value;
}

/** A blob as words, aligned whatever SQLite returned. */
export function wordsOf(row: Row, column: string): Int32Array {
  const value = row[column];
  if (!(value instanceof Uint8Array) || value.length % 4 !== 0) {
    throw new StaleIndexError(`column ${column} is not a list of words`);
  }
  return value.byteOffset % 4 === 0
    ? new Int32Array(value.buffer, value.byteOffset, value.length / 4)
    : new Int32Array(new Uint8Array(value).buffer);
}

export function isIndexCorruption(error: unknown): boolean {
  if (error instanceof StaleIndexError) return true;
  if (!(error instanceof Error) || !('errcode' in error)) return false;
  return typeof error.errcode === 'number' && CORRUPT_CODES.has(error.errcode & 0xff);
}

export function removeIndexFiles(indexPath: string): void {
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${indexPath}${suffix}`, { force: true });
}
