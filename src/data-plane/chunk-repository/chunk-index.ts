import { OperationError } from '../../shared/errors.ts';
import { DIGEST_BYTES, digestHex } from './digest.ts';
import { createDigestFilter, type DigestFilter, FILTER_DIGESTS_MAX } from './digest-filter.ts';
import { DIGEST_WORDS, digestWords, isSameDigest, SEGMENT_DIGESTS_MAX } from './digest-table.ts';
import { frameOfWords, type IndexedFrame, insertContents, prefixOf } from './index-contents.ts';
import {
  inTransaction,
  type IndexDatabase,
  integerOf,
  isIndexCorruption,
  openIndexDatabase,
  removeIndexFiles,
  type Row,
  StaleIndexError,
  wordsOf,
} from './index-database.ts';
import type { PackContents } from './pack-format.ts';
import { createSegmentCache, type Segment, type SegmentCache } from './segment-cache.ts';

/** A cache of what the packs' tables of contents say; any copy of it can be thrown away. */
export interface ChunkIndex {
  packs(): IndexedPack[];
  /** Idempotent: a pack that is known stays as it is. */
  addPack(pack: { id: Uint8Array; sizeBytes: number; contents: PackContents }): IndexedPack;
  /** Remembers that a pack cannot be read, so that it is not read again at every start. */
  addDamagedPack(pack: { id: Uint8Array; sizeBytes: number; reason: string }): void;
  forgetPacks(packs: readonly IndexedPack[]): void;
  /** Where a chunk is, in the newest pack that `accept` takes; null when nowhere. */
  locate(digest: Uint8Array, accept?: AcceptPack): ChunkPlace | null;
  /**
   * The same in any pack, for the digest at a position of words. The cursor says what was found and
   * is where the next search looks first: neighbours in a tree are neighbours in a pack.
   */
  find(words: Int32Array, at: number, cursor: PlaceCursor, accept: AcceptPack | null): boolean;
  frameOf(place: ChunkPlace): IndexedFrame | null;
  totals(): IndexTotals;
  /** Drops what is remembered of packs in memory: other processes may have changed the file. */
  forgetCached(): void;
  /** Prepares a bounded part of quick answers for chunks that are new; true when there is more. */
  warm(): boolean;
  /** Removes rows of packs that are gone; slices keep each transaction short. */
  purgeSlice(slice: number): void;
  /** Empties the index; the next synchronisation fills it again. */
  reset(): void;
  close(): void;
}

export type AcceptPack = (pack: IndexedPack) => boolean;

export const PURGE_SLICES = 256;
const PREFIXES_PER_SLICE = 2 ** 40;

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

export interface PlaceCursor {
  segment: Segment | null;
  /** Position in the segment. */
  slot: number;
}

export interface IndexTotals {
  readonly packs: number;
  readonly chunks: number;
  readonly storedBytes: number;
  readonly plainBytes: number;
}

export function placeAt({ segment, slot }: PlaceCursor): ChunkPlace {
  if (segment === null) throw new Error('nothing was found');
  return { pack: segment.pack, slot: segment.firstSlot + slot };
}

/** Segments of tables of contents read for the filter in one turn. */
const WARM_DIGESTS = 64 * SEGMENT_DIGESTS_MAX;
/** A list takes at most a few kilobytes. */
const CACHED_FRAME_LISTS_MAX = 1024;

interface Warmth {
  readonly filter: DigestFilter;
  /** Packs whose digests are in the filter. */
  readonly covered: Set<number>;
  ready: boolean;
}

interface IndexState {
  readonly indexPath: string;
  readonly repositoryId: string;
  readonly segments: SegmentCache;
  readonly cachedPacks: Map<number, IndexedPack | null>;
  readonly cachedFrames: Map<number, Int32Array>;
  connection: IndexDatabase;
  warmth: Warmth | null;
}

export function openChunkIndex(indexPath: string, repositoryId: string): ChunkIndex {
  const state: IndexState = {
    indexPath,
    repositoryId,
    segments: createSegmentCache(),
    cachedPacks: new Map(),
    cachedFrames: new Map(),
    connection: openIndexDatabase(indexPath, repositoryId),
    warmth: null,
  };

  return {
    ...createPackRows(state),
    locate(digest, accept) {
      const cursor: PlaceCursor = { segment: null, slot: 0 };
      const words = digestWords(digest);
      const found = guard(state, () => findInFile(state, words, 0, cursor, accept ?? null));
      return found ? placeAt(cursor) : null;
    },
    find(words, at, cursor, accept) {
      if (isNextOfCursor(words, at, cursor, accept)) {
        cursor.slot += 1;
        return true;
      }
      if (state.segments.find(words, at, cursor, accept)) return true;
      const { warmth } = state;
      if (warmth?.ready === true && !warmth.filter.mayHave(words, at)) return false;
      return guard(state, () => findInFile(state, words, at, cursor, accept));
    },
    frameOf: ({ pack, slot }) =>
      guard(state, () => {
        const frames = framesOf(state, pack);
        return frames === null ? null : frameOfWords(frames, pack, slot);
      }),
    totals: () => guard(state, () => decodeTotals(state.connection.totals.get() ?? {})),
    forgetCached: () => dropCached(state),
    warm: () =>
      guard(state, () => {
        state.warmth ??= { filter: createDigestFilter(), covered: new Set(), ready: false };
        return warmSome(state.connection, state.warmth);
      }),
    purgeSlice(slice) {
      const from = slice * PREFIXES_PER_SLICE;
      guard(state, () => state.connection.purge.run(from, from + PREFIXES_PER_SLICE));
    },
    reset: () => reset(state),
    close() {
      if (state.connection.database.isOpen) state.connection.database.close();
    },
  };
}

function createPackRows(
  state: IndexState,
): Pick<ChunkIndex, 'packs' | 'addPack' | 'addDamagedPack' | 'forgetPacks'> {
  const { segments, cachedPacks, cachedFrames } = state;
  return {
    packs: () =>
      guard(state, () => {
        const { connection, warmth } = state;
        const packs = connection.allPacks.all().map(decodePack);
        // What another process added is not in the filter: until it is, the file is asked.
        if (warmth && packs.some(({ number }) => !warmth.covered.has(number))) {
          warmth.ready = false;
        }
        return packs;
      }),
    addPack: (pack) =>
      guard(state, () => {
        const { connection, warmth } = state;
        const added = inTransaction(connection.database, () => insertPack(connection, pack));
        cachedPacks.set(added.number, added);
        const words = digestWords(pack.contents.digests);
        segments.addPack(added, words);
        if (warmth && !warmth.covered.has(added.number)) {
          warmth.filter.add(words, added.chunkCount);
          warmth.covered.add(added.number);
        }
        return added;
      }),
    addDamagedPack: ({ id, sizeBytes, reason }) =>
      guard(state, () => void state.connection.insertPack.run(id, sizeBytes, 0, 0, 0, reason)),
    forgetPacks: (packs) =>
      guard(state, () => {
        const { connection } = state;
        inTransaction(connection.database, () => {
          for (const { number } of packs) {
            connection.deletePack.run(number);
            connection.deleteFrames.run(number);
            connection.deleteSegments.run(number);
            cachedPacks.set(number, null);
            cachedFrames.delete(number);
          }
        });
        segments.forget(new Set(packs.map(({ number }) => number)));
      }),
  };
}

function dropCached({ segments, cachedPacks, cachedFrames }: IndexState): void {
  segments.forget(null);
  cachedPacks.clear();
  cachedFrames.clear();
}

function reset(state: IndexState): void {
  state.connection.database.close();
  removeIndexFiles(state.indexPath);
  dropCached(state);
  state.warmth = null;
  state.connection = openIndexDatabase(state.indexPath, state.repositoryId);
}

function guard<T>(state: IndexState, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!isIndexCorruption(error)) throw error;
    reset(state);
    throw new OperationError(
      'repository_damaged',
      'The local index of the repository was damaged and has been emptied; it fills itself again. Try again.',
      { cause: error },
    );
  }
}

/** The index file is asked only for what the memory does not know. */
function findInFile(
  state: IndexState,
  words: Int32Array,
  at: number,
  cursor: PlaceCursor,
  accept: AcceptPack | null,
): boolean {
  for (const row of state.connection.places.all(prefixOf(words, at))) {
    const pack = packOf(state, integerOf(row, 'pack'));
    if (pack === null || pack.damage !== null || accept?.(pack) === false) continue;
    const slot = integerOf(row, 'slot');
    const segment = segmentAt(state, pack, slot);
    if (segment === null) continue;
    const inSegment = slot - segment.firstSlot;
    if (!isSameDigest(segment.words, inSegment * DIGEST_WORDS, words, at)) continue;
    cursor.segment = segment;
    cursor.slot = inSegment;
    return true;
  }
  return false;
}

function packOf({ connection, cachedPacks }: IndexState, number: number): IndexedPack | null {
  const cached = cachedPacks.get(number);
  if (cached !== undefined) return cached;
  const row = connection.packByNumber.get(number);
  const pack = row === undefined ? null : decodePack(row);
  cachedPacks.set(number, pack);
  return pack;
}

/** Null when another process has just removed it. */
function segmentAt(
  { connection, segments }: IndexState,
  pack: IndexedPack,
  slot: number,
): Segment | null {
  const firstSlot = slot - (slot % SEGMENT_DIGESTS_MAX);
  const known = segments.get(pack, firstSlot);
  if (known !== undefined) return known;
  const words = readSegment(connection, pack, firstSlot);
  return words === null ? null : segments.add(pack, firstSlot, words);
}

/** Null when another process has just removed it. */
function framesOf({ connection, cachedFrames }: IndexState, pack: IndexedPack): Int32Array | null {
  const cached = cachedFrames.get(pack.number);
  if (cached !== undefined) return cached;
  const row = connection.frames.get(pack.number);
  if (row === undefined) return null;
  const frames = wordsOf(row, 'frames');
  cachedFrames.set(pack.number, frames);
  for (const oldest of cachedFrames.keys()) {
    if (cachedFrames.size <= CACHED_FRAME_LISTS_MAX) break;
    cachedFrames.delete(oldest);
  }
  return frames;
}

function warmSome(connection: IndexDatabase, warmth: Warmth): boolean {
  const packs = connection.allPacks.all().map(decodePack);
  if (packs.reduce((sum, { chunkCount }) => sum + chunkCount, 0) > FILTER_DIGESTS_MAX) {
    warmth.ready = false;
    return false;
  }
  let read = 0;
  for (const pack of packs) {
    if (warmth.covered.has(pack.number)) continue;
    if (read >= WARM_DIGESTS) return true;
    for (let slot = 0; slot < pack.chunkCount; slot += SEGMENT_DIGESTS_MAX) {
      const words = readSegment(connection, pack, slot);
      if (words !== null) warmth.filter.add(words, words.length / DIGEST_WORDS);
    }
    read += pack.chunkCount;
    warmth.covered.add(pack.number);
  }
  warmth.ready = true;
  return false;
}

function isNextOfCursor(
  words: Int32Array,
  at: number,
  { segment, slot }: PlaceCursor,
  accept: AcceptPack | null,
): boolean {
  if (segment === null || segment.gone || slot + 1 >= segment.count) return false;
  if (!isSameDigest(segment.words, (slot + 1) * DIGEST_WORDS, words, at)) return false;
  return accept === null || accept(segment.pack);
}

function readSegment(
  connection: IndexDatabase,
  pack: IndexedPack,
  firstSlot: number,
): Int32Array | null {
  const row = connection.segment.get(pack.number, firstSlot);
  if (row === undefined) return null;
  const words = wordsOf(row, 'digests');
  const expected = Math.min(SEGMENT_DIGESTS_MAX, pack.chunkCount - firstSlot);
  if (words.length !== expected * DIGEST_WORDS) {
    throw new StaleIndexError('a list of digests has another length');
  }
  return words;
}

function insertPack(
  connection: IndexDatabase,
  { id, sizeBytes, contents }: { id: Uint8Array; sizeBytes: number; contents: PackContents },
): IndexedPack {
  const known = connection.packById.get(id);
  if (known !== undefined) return decodePack(known);
  const chunkCount = contents.digests.length / DIGEST_BYTES;
  const plainBytes = contents.frames.reduce((sum, frame) => sum + frame.plainLength, 0);
  connection.insertPack.run(id, sizeBytes, contents.createdAtMs, chunkCount, plainBytes, null);
  const pack = decodePack(connection.packById.get(id) ?? {});
  insertContents(connection, pack.number, contents);
  return pack;
}

function decodePack(row: Row): IndexedPack {
  const id = row['id'];
  if (!(id instanceof Uint8Array)) throw new StaleIndexError('column id is not a blob');
  const damage = row['damage'];
  return {
    number: integerOf(row, 'number'),
    id,
    idHex: digestHex(id),
    sizeBytes: integerOf(row, 'size_bytes'),
    createdAtMs: integerOf(row, 'created_at_ms'),
    chunkCount: integerOf(row, 'chunk_count'),
    damage: typeof damage === 'string' ? damage : null,
  };
}

function decodeTotals(row: Row): IndexTotals {
  return {
    packs: integerOf(row, 'packs'),
    chunks: integerOf(row, 'chunks'),
    storedBytes: integerOf(row, 'stored'),
    plainBytes: integerOf(row, 'plain'),
  };
}
