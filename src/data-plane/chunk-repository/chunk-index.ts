import { mkdirSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { DatabaseSync, type SQLOutputValue, type StatementSync } from 'node:sqlite';
import { MIB } from '../../shared/byte-size.ts';
import { OperationError } from '../../shared/errors.ts';
import { DIGEST_BYTES, digestHex } from './digest.ts';
import type { FrameEncoding } from './frame.ts';
import type { PackContents } from './pack-format.ts';

/** A cache of what the packs' tables of contents say; any copy of it can be thrown away. */
export interface ChunkIndex {
  packs(): IndexedPack[];
  /** Idempotent: a pack that is known stays as it is. */
  addPack(pack: { id: Uint8Array; sizeBytes: number; contents: PackContents }): IndexedPack;
  /** Remembers that a pack cannot be read, so that it is not read again at every start. */
  addDamagedPack(pack: { id: Uint8Array; sizeBytes: number; reason: string }): void;
  forgetPacks(packs: readonly IndexedPack[]): void;
  /** Where a chunk is, in a pack that `accept` takes; null when nowhere. */
  locate(digest: Uint8Array, accept?: (pack: IndexedPack) => boolean): ChunkPlace | null;
  frameOf(place: ChunkPlace): IndexedFrame | null;
  totals(): IndexTotals;
  /** Drops what is remembered of packs in memory: other processes may have changed the file. */
  forgetCached(): void;
  /** Removes rows of packs that are gone; slices keep each transaction short. */
  purgeSlice(slice: number): void;
  /** Empties the index; the next synchronisation fills it again. */
  reset(): void;
  close(): void;
}

export const PURGE_SLICES = 256;

export interface IndexedPack {
  readonly number: number;
  readonly id: Uint8Array;
  readonly idHex: string;
  readonly sizeBytes: number;
  readonly createdAtMs: number;
  readonly chunkCount: number;
  /** Why its table of contents cannot be read; null when it can. */
  readonly damage: string | null;
}

export interface ChunkPlace {
  readonly pack: IndexedPack;
  /** Position among all chunks of the pack. */
  readonly slot: number;
}

export interface IndexedFrame {
  readonly pack: IndexedPack;
  readonly frameNumber: number;
  readonly firstSlot: number;
  readonly chunkCount: number;
  readonly offset: number;
  readonly storedLength: number;
  readonly plainLength: number;
  readonly blockSizeBytes: number;
  readonly encoding: FrameEncoding;
}

export interface IndexTotals {
  readonly packs: number;
  readonly chunks: number;
  readonly storedBytes: number;
  readonly plainBytes: number;
}

const SCHEMA_VERSION = 1;
const CORRUPT_CODES = new Set([11, 26]);
/** Above this a check at every start would take longer than it is worth. */
const CHECKED_SIZE_MAX_BYTES = 64 * MIB;
const BUSY_TIMEOUT_MS = 20_000;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS packs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, size_bytes INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL, chunk_count INTEGER NOT NULL, plain_bytes INTEGER NOT NULL,
    damage TEXT
  );
  CREATE TABLE IF NOT EXISTS frames (
    pack INTEGER NOT NULL, first_slot INTEGER NOT NULL, number INTEGER NOT NULL,
    chunk_count INTEGER NOT NULL, offset INTEGER NOT NULL, stored_length INTEGER NOT NULL,
    plain_length INTEGER NOT NULL, block_size INTEGER NOT NULL, zstd INTEGER NOT NULL,
    PRIMARY KEY (pack, first_slot)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS chunks (
    digest BLOB NOT NULL, pack INTEGER NOT NULL, slot INTEGER NOT NULL, PRIMARY KEY (digest, pack)
  ) WITHOUT ROWID;
`;

type Row = Record<string, SQLOutputValue>;

export function openChunkIndex(indexPath: string, repositoryId: string): ChunkIndex {
  mkdirSync(path.dirname(indexPath), { recursive: true, mode: 0o700 });
  let connection = openOrRecreate(indexPath, repositoryId);
  const cachedPacks = new Map<number, IndexedPack | null>();

  const reset = (): void => {
    connection.database.close();
    removeFiles(indexPath);
    cachedPacks.clear();
    connection = openOrRecreate(indexPath, repositoryId);
  };

  const guarded = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      if (!isCorruption(error)) throw error;
      reset();
      throw new OperationError(
        'repository_damaged',
        'The local index of the repository was damaged and has been emptied; it fills itself again. Try again.',
        { cause: error },
      );
    }
  };

  const locate = createLookup(() => connection, cachedPacks);

  return {
    packs: () => guarded(() => connection.allPacks.all().map(decodePack)),
    addPack: (pack) =>
      guarded(() => {
        const added = insertPack(connection, pack);
        cachedPacks.set(added.number, added);
        return added;
      }),
    addDamagedPack: ({ id, sizeBytes, reason }) =>
      guarded(() => void connection.insertPack.run(id, sizeBytes, 0, 0, 0, reason)),
    forgetPacks: (packs) =>
      guarded(() =>
        inTransaction(connection.database, () => {
          for (const { number } of packs) {
            connection.deletePack.run(number);
            connection.deleteFrames.run(number);
            cachedPacks.set(number, null);
          }
        }),
      ),
    locate: (digest, accept) => guarded(() => locate(digest, accept)),
    frameOf: ({ pack, slot }) =>
      guarded(() => {
        const row = connection.frame.get(pack.number, slot);
        return row === undefined ? null : decodeFrameRow(row, pack, slot);
      }),
    totals: () => guarded(() => decodeTotals(connection.totals.get() ?? {})),
    forgetCached: () => cachedPacks.clear(),
    purgeSlice: (slice) =>
      guarded(() => {
        const low = Buffer.alloc(DIGEST_BYTES);
        low[0] = slice;
        const high = Buffer.alloc(DIGEST_BYTES + 1, 0xff);
        high[0] = slice;
        connection.purge.run(low, high);
      }),
    reset,
    close() {
      if (connection.database.isOpen) connection.database.close();
    },
  };
}

type Locate = (
  digest: Uint8Array,
  accept: ((pack: IndexedPack) => boolean) | undefined,
) => ChunkPlace | null;

function createLookup(
  connection: () => Connection,
  cachedPacks: Map<number, IndexedPack | null>,
): Locate {
  const packOf = (number: number): IndexedPack | null => {
    const cached = cachedPacks.get(number);
    if (cached !== undefined) return cached;
    const row = connection().packByNumber.get(number);
    const pack = row === undefined ? null : decodePack(row);
    cachedPacks.set(number, pack);
    return pack;
  };

  return (digest, accept) => {
    const first = connection().chunk.get(digest);
    if (first === undefined) return null;
    const place = acceptRow(first, packOf, accept);
    if (place !== null) return place;
    for (const row of connection().chunk.all(digest)) {
      const other = acceptRow(row, packOf, accept);
      if (other !== null) return other;
    }
    return null;
  };
}

interface Connection {
  readonly database: DatabaseSync;
  readonly packByNumber: StatementSync;
  readonly packById: StatementSync;
  readonly allPacks: StatementSync;
  readonly insertPack: StatementSync;
  readonly insertFrame: StatementSync;
  readonly insertChunk: StatementSync;
  readonly deletePack: StatementSync;
  readonly deleteFrames: StatementSync;
  readonly chunk: StatementSync;
  readonly frame: StatementSync;
  readonly totals: StatementSync;
  readonly purge: StatementSync;
}

function openOrRecreate(indexPath: string, repositoryId: string): Connection {
  try {
    return connect(indexPath, repositoryId);
  } catch (error) {
    if (!isCorruption(error)) throw error;
    removeFiles(indexPath);
    return connect(indexPath, repositoryId);
  }
}

class StaleIndexError extends Error {}

function connect(indexPath: string, repositoryId: string): Connection {
  const database = new DatabaseSync(indexPath, { timeout: BUSY_TIMEOUT_MS });
  try {
    // The index can be rebuilt, so a lost transaction costs a synchronisation and nothing else.
    database.exec(
      'PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;',
    );
    database.exec(SCHEMA);
    checkIdentity(database, `${SCHEMA_VERSION} ${repositoryId}`);
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

function prepare(database: DatabaseSync): Connection {
  return {
    database,
    packByNumber: database.prepare('SELECT * FROM packs WHERE number = ?'),
    packById: database.prepare('SELECT * FROM packs WHERE id = ?'),
    allPacks: database.prepare('SELECT * FROM packs ORDER BY number'),
    insertPack: database.prepare(
      'INSERT OR IGNORE INTO packs (id, size_bytes, created_at_ms, chunk_count, plain_bytes, damage) VALUES (?, ?, ?, ?, ?, ?)',
    ),
    insertFrame: database.prepare(
      'INSERT OR IGNORE INTO frames VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
    ),
    insertChunk: database.prepare('INSERT OR IGNORE INTO chunks VALUES (?, ?, ?)'),
    deletePack: database.prepare('DELETE FROM packs WHERE number = ?'),
    deleteFrames: database.prepare('DELETE FROM frames WHERE pack = ?'),
    chunk: database.prepare('SELECT pack, slot FROM chunks WHERE digest = ? ORDER BY pack DESC'),
    frame: database.prepare(
      'SELECT * FROM frames WHERE pack = ? AND first_slot <= ? ORDER BY first_slot DESC LIMIT 1',
    ),
    totals: database.prepare(
      'SELECT count(*) AS packs, total(chunk_count) AS chunks, total(size_bytes) AS stored, total(plain_bytes) AS plain FROM packs',
    ),
    purge: database.prepare(
      'DELETE FROM chunks WHERE digest >= ? AND digest < ? AND pack NOT IN (SELECT number FROM packs)',
    ),
  };
}

function insertPack(
  connection: Connection,
  { id, sizeBytes, contents }: { id: Uint8Array; sizeBytes: number; contents: PackContents },
): IndexedPack {
  return inTransaction(connection.database, () => {
    const known = connection.packById.get(id);
    if (known !== undefined) return decodePack(known);
    const chunkCount = contents.digests.length / DIGEST_BYTES;
    const plainBytes = contents.frames.reduce((sum, frame) => sum + frame.plainLength, 0);
    connection.insertPack.run(id, sizeBytes, contents.createdAtMs, chunkCount, plainBytes, null);
    const pack = decodePack(connection.packById.get(id) ?? {});
    let firstSlot = 0;
    for (const [frameNumber, frame] of contents.frames.entries()) {
      const { offset, storedLength, plainLength, blockSizeBytes, encoding } = frame;
      const place = [pack.number, firstSlot, frameNumber, frame.chunkCount, offset];
      const zstd = encoding === 'zstd' ? 1 : 0;
      connection.insertFrame.run(...place, storedLength, plainLength, blockSizeBytes, zstd);
      firstSlot += frame.chunkCount;
    }
    for (let slot = 0; slot < chunkCount; slot += 1) {
      const digest = contents.digests.subarray(slot * DIGEST_BYTES, (slot + 1) * DIGEST_BYTES);
      connection.insertChunk.run(digest, pack.number, slot);
    }
    return pack;
  });
}

function inTransaction<T>(database: DatabaseSync, action: () => T): T {
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

function acceptRow(
  row: Row,
  packOf: (number: number) => IndexedPack | null,
  accept: ((pack: IndexedPack) => boolean) | undefined,
): ChunkPlace | null {
  const pack = packOf(integer(row, 'pack'));
  if (pack === null || pack.damage !== null || accept?.(pack) === false) return null;
  return { pack, slot: integer(row, 'slot') };
}

function decodePack(row: Row): IndexedPack {
  const id = row['id'];
  if (!(id instanceof Uint8Array)) throw new StaleIndexError('column id is not a blob');
  const damage = row['damage'];
  return {
    number: integer(row, 'number'),
    id,
    idHex: digestHex(id),
    sizeBytes: integer(row, 'size_bytes'),
    createdAtMs: integer(row, 'created_at_ms'),
    chunkCount: integer(row, 'chunk_count'),
    damage: typeof damage === 'string' ? damage : null,
  };
}

function decodeFrameRow(row: Row, pack: IndexedPack, slot: number): IndexedFrame | null {
  const frame: IndexedFrame = {
    pack,
    frameNumber: integer(row, 'number'),
    firstSlot: integer(row, 'first_slot'),
    chunkCount: integer(row, 'chunk_count'),
    offset: integer(row, 'offset'),
    storedLength: integer(row, 'stored_length'),
    plainLength: integer(row, 'plain_length'),
    blockSizeBytes: integer(row, 'block_size'),
    encoding: row['zstd'] === 1 ? 'zstd' : 'raw',
  };
  return slot < frame.firstSlot + frame.chunkCount ? frame : null;
}

function decodeTotals(row: Row): IndexTotals {
  return {
    packs: integer(row, 'packs'),
    chunks: integer(row, 'chunks'),
    storedBytes: integer(row, 'stored'),
    plainBytes: integer(row, 'plain'),
  };
}

function integer(row: Row, column: string): number {
  const value = row[column];
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) {
    throw new StaleIndexError(`column ${column} is not a number`);
  }
  return value;
}

function isCorruption(error: unknown): boolean {
  if (error instanceof StaleIndexError) return true;
  if (!(error instanceof Error) || !('errcode' in error)) return false;
  return typeof error.errcode === 'number' && CORRUPT_CODES.has(error.errcode & 0xff);
}

function removeFiles(indexPath: string): void {
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${indexPath}${suffix}`, { force: true });
}
