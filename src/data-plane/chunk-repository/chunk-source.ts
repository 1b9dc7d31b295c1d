import type { Clock } from '../../shared/clock.ts';
import { KIB, MIB } from '../../shared/byte-size.ts';
import { OperationError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/waiting.ts';
import type { BlobStorage } from '../blob-storage/blob-storage.ts';
import { type ChunkIndex, type IndexedPack, placeAt, type PlaceCursor } from './chunk-index.ts';
import type { ComputePool } from './compute-pool.ts';
import { StoredDataError } from './damage.ts';
import { DIGEST_BYTES } from './digest.ts';
import { DIGEST_WORDS, digestWords, isSameDigest, isZeroAt } from './digest-table.ts';
import type { CachedFrame, FrameCache } from './frame-cache.ts';
import type { IndexedFrame } from './index-contents.ts';
import { parseNodeFrame } from './node-frame.ts';
import { packName } from './pack-format.ts';

/** A chunk's verified bytes, or why it cannot be had. */
export type LoadedChunk = Uint8Array | { readonly reason: string };

export interface ChunkSource {
  /** One result per digest, in order. Never throws for what is missing or wrong in the storage. */
  load(digests: readonly Uint8Array[], signal?: AbortSignal): Promise<LoadedChunk[]>;
  /** The same for many chunks, without an object or a copy for each. */
  visit(request: VisitRequest): Promise<void>;
}

export interface VisitRequest {
  /** Digests one after the other, 8 words each; all-zero ones are left out. */
  readonly words: Int32Array;
  /**
   * Verified chunks that are neighbours, in any order; the bytes are there during the call only.
   * Nodes come one by one.
   */
  readonly onChunks: (index: number, count: number, bytes: Uint8Array) => void;
  readonly onMissing: (index: number, reason: string) => void;
  /** Which pack chunks are taken from. */
  readonly onPack?: (index: number, pack: IndexedPack) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Wanted chunks that are neighbours in the request and in a frame. */
interface Run {
  readonly index: number;
  count: number;
  /** Position of the first in its frame. */
  readonly position: number;
}

interface FrameRuns {
  readonly frame: IndexedFrame;
  readonly runs: Run[];
}

/** Frames of one pack that are this close are read at once. */
const GAP_MAX_BYTES = 64 * KIB;
const READ_MAX_BYTES = MIB;
/** Bounds the memory for what was read and not decoded yet. */
const READS_IN_FLIGHT_MAX = 4;
/** When much is missing, not every load needs a new look at the storage. */
const SYNC_INTERVAL_MS = 2000;

export interface ChunkSourceOptions {
  readonly storage: BlobStorage;
  readonly index: ChunkIndex;
  readonly pool: ComputePool;
  readonly cache: FrameCache;
  /** Makes the index agree with the storage; called once for a load that misses something. */
  readonly synchronize: () => Promise<void>;
  readonly clock: Clock;
}

interface SourceState extends ChunkSourceOptions {
  /** Keeps this source's frames apart from others'. */
  readonly sourceId: number;
  readonly cursor: PlaceCursor;
}

let sourcesMade = 0;

export function createChunkSource(options: ChunkSourceOptions): ChunkSource {
  const { synchronize, clock } = options;
  sourcesMade += 1;
  const state: SourceState = {
    ...options,
    sourceId: sourcesMade,
    cursor: { segment: null, slot: 0 },
  };
  let syncedAtMs = Number.NEGATIVE_INFINITY;

  const visit = async (request: VisitRequest): Promise<void> => {
    throwIfAborted(request.signal);
    const missed = await visitOnce(state, request, null);
    if (missed.size === 0) return;
    // A collection may have moved the chunks to other packs meanwhile.
    if (clock.monotonicMs() - syncedAtMs > SYNC_INTERVAL_MS) {
      await synchronize();
      syncedAtMs = clock.monotonicMs();
    }
    const lost = await visitOnce(state, request, [...missed.keys()]);
    for (const [index, reason] of lost) request.onMissing(index, reason);
  };

  return {
    visit,
    async load(digests, signal) {
      const words = new Int32Array(digests.length * DIGEST_WORDS);
      for (const [index, digest] of digests.entries()) {
        words.set(digestWords(digest), index * DIGEST_WORDS);
      }
      const results = digests.map((): LoadedChunk => ({ reason: 'a zero digest names nothing' }));
      await visit({
        words,
        signal,
        onChunks(index, count, bytes) {
          const size = bytes.length / count;
          for (let at = 0; at < count; at += 1) {
            results[index + at] = bytes.slice(at * size, (at + 1) * size);
          }
        },
        onMissing: (index, reason) => void (results[index] = { reason }),
      });
      return results;
    },
  };
}

export const isMissing = (chunk: LoadedChunk): chunk is { readonly reason: string } =>
  'reason' in chunk;

/** Visits all chunks, or those at some indexes; resolves to those that could not be had. */
async function visitOnce(
  state: SourceState,
  request: VisitRequest,
  indexes: readonly number[] | null,
): Promise<Map<number, string>> {
  const missed = new Map<number, string>();
  const wanted = planVisit(state, request, indexes, missed);
  const queue = planReads(state, wanted).values();
  const lanes = Array.from({ length: READS_IN_FLIGHT_MAX }, async () => {
    for (const read of queue) {
      throwIfAborted(request.signal);
      await visitRead(state, request, read, missed);
    }
  });
  for (const result of await Promise.allSettled(lanes)) {
    if (result.status === 'rejected') throw result.reason;
  }
  return missed;
}

function planVisit(
  { index: chunkIndex, cursor }: SourceState,
  { words, onPack }: VisitRequest,
  indexes: readonly number[] | null,
  missed: Map<number, string>,
): FrameRuns[] {
  const frames = new Map<string, FrameRuns>();
  let current: FrameRuns | undefined;
  let run: Run | undefined;
  const count = indexes === null ? words.length / DIGEST_WORDS : indexes.length;
  for (let step = 0; step < count; step += 1) {
    const index = indexes === null ? step : (indexes[step] ?? 0);
    if (isZeroAt(words, index * DIGEST_WORDS)) continue;
    if (!chunkIndex.find(words, index * DIGEST_WORDS, cursor, null)) {
      missed.set(index, 'no pack has it');
      continue;
    }
    const place = placeAt(cursor);
    if (!current || !isIn(current.frame, place.pack.number, place.slot)) {
      const frame = chunkIndex.frameOf(place);
      if (frame === null) {
        missed.set(index, 'no pack has it');
        continue;
      }
      const key = `${frame.pack.number}:${frame.frameNumber}`;
      current = frames.get(key);
      if (current === undefined) {
        current = { frame, runs: [] };
        frames.set(key, current);
        onPack?.(index, frame.pack);
      }
      run = undefined;
    }
    const position = place.slot - current.frame.firstSlot;
    if (run && run.index + run.count === index && run.position + run.count === position) {
      run.count += 1;
    } else {
      run = { index, count: 1, position };
      current.runs.push(run);
    }
  }
  return [...frames.values()];
}

const isIn = (frame: IndexedFrame, packNumber: number, slot: number): boolean =>
  frame.pack.number === packNumber &&
  slot >= frame.firstSlot &&
  slot < frame.firstSlot + frame.chunkCount;

const keyOf = ({ sourceId }: SourceState, frame: IndexedFrame): string =>
  `${sourceId}:${frame.pack.number}:${frame.frameNumber}`;

interface PlannedRead {
  readonly wanted: FrameRuns[];
  /** Whether its frames were in the cache when the read was planned. */
  readonly cached: boolean;
}

/** Groups frames that lie close together, so that one read brings them all. */
function planReads(state: SourceState, wanted: readonly FrameRuns[]): PlannedRead[] {
  const isCached = (frame: IndexedFrame): boolean => state.cache.has(keyOf(state, frame));
  const inCache = wanted.filter(({ frame }) => isCached(frame));
  const sorted = wanted
    .filter(({ frame }) => !isCached(frame))
    .toSorted(
      ({ frame: left }, { frame: right }) =>
        left.pack.number - right.pack.number || left.offset - right.offset,
    );
  const reads: PlannedRead[] = inCache.length > 0 ? [{ wanted: inCache, cached: true }] : [];
  let open: FrameRuns[] = [];
  for (const next of sorted) {
    const first = open[0]?.frame;
    const last = open.at(-1)?.frame;
    if (first && last && isOneRead(first, last, next.frame)) open.push(next);
    else {
      open = [next];
      reads.push({ wanted: open, cached: false });
    }
  }
  return reads;
}

const isOneRead = (first: IndexedFrame, last: IndexedFrame, next: IndexedFrame): boolean =>
  first.pack.number === next.pack.number &&
  next.offset - (last.offset + last.storedLength) <= GAP_MAX_BYTES &&
  next.offset + next.storedLength - first.offset <= READ_MAX_BYTES;

async function visitRead(
  state: SourceState,
  request: VisitRequest,
  { wanted, cached }: PlannedRead,
  missed: Map<number, string>,
): Promise<void> {
  const first = wanted[0]?.frame;
  const last = wanted.at(-1)?.frame;
  if (!first || !last) return;
  const whole = cached
    ? null
    : readRange(state.storage, first, last.offset + last.storedLength - first.offset);
  // Frames that are cached after all don't ask for it; those that need it get the error.
  whole?.catch(() => undefined);
  const visits = wanted.map(async ({ frame, runs }) => {
    const decode = async (slot: number): Promise<CachedFrame> => {
      // What was in the cache may have made room meanwhile.
      const stored =
        whole === null
          ? await readRange(state.storage, frame, frame.storedLength)
          : await cutFrame(whole, frame, first.offset);
      return await decodeStored(state.pool, frame, stored, slot);
    };
    try {
      await state.cache.withFrame(keyOf(state, frame), decode, (loaded) => {
        for (const run of runs) emitRun(request, { frame, run, loaded }, missed);
      });
    } catch (error) {
      if (!(error instanceof StoredDataError)) throw error;
      for (const { index, count } of runs) {
        for (let at = 0; at < count; at += 1) missed.set(index + at, error.message);
      }
    }
  });
  for (const result of await Promise.allSettled(visits)) {
    if (result.status === 'rejected') throw result.reason;
  }
}

async function cutFrame(
  whole: Promise<Uint8Array>,
  { offset, storedLength }: IndexedFrame,
  wholeOffset: number,
): Promise<Uint8Array> {
  const start = offset - wholeOffset;
  return (await whole).subarray(start, start + storedLength);
}

async function readRange(
  storage: BlobStorage,
  { pack, offset }: IndexedFrame,
  lengthBytes: number,
): Promise<Uint8Array> {
  try {
    return await storage.get(packName(pack.id), { offset, lengthBytes });
  } catch (error) {
    if (error instanceof OperationError && error.code === 'not_found') {
      throw new StoredDataError(`pack ${pack.idHex} is gone`, { cause: error });
    }
    throw error;
  }
}

async function decodeStored(
  pool: ComputePool,
  frame: IndexedFrame,
  stored: Uint8Array,
  cacheSlot: number,
): Promise<CachedFrame> {
  const { pack, frameNumber, storedLength, plainLength, encoding, blockSizeBytes } = frame;
  if (stored.length !== storedLength) throw new StoredDataError(`pack ${pack.idHex} is cut off`);
  if (storedLength > pool.storedMaxBytes || plainLength > pool.frameSizeBytes) {
    throw new StoredDataError('a frame is larger than this repository makes them');
  }
  const slot = await pool.frameSlots.acquire();
  try {
    const places = { ...pool.cachePlaces(cacheSlot), stored: pool.framePlaces(slot).stored };
    new Uint8Array(pool.arena).set(stored, places.stored);
    const shape = { storedLength, plainLength, encoding, blockSizeBytes, frameNumber };
    const chunkCount = await pool.decode({ places, packIdHex: pack.idHex, ...shape });
    const bytes = new Uint8Array(pool.arena, places.plain, plainLength);
    return {
      bytes,
      words: new Int32Array(pool.arena, places.digests, (chunkCount * DIGEST_BYTES) / 4),
      chunkCount,
      nodes: blockSizeBytes === 0 ? parseNodeFrame(bytes) : null,
    };
  } finally {
    pool.frameSlots.release(slot);
  }
}

/** Hands on the chunks of a run whose bytes have the digests that are wanted. */
function emitRun(
  { words, onChunks }: VisitRequest,
  { frame, run, loaded }: { frame: IndexedFrame; run: Run; loaded: CachedFrame },
  missed: Map<number, string>,
): void {
  const isRight = (at: number): boolean => {
    const position = run.position + at;
    const wantedAt = (run.index + at) * DIGEST_WORDS;
    return (
      position < loaded.chunkCount &&
      isSameDigest(loaded.words, position * DIGEST_WORDS, words, wantedAt)
    );
  };
  for (let at = 0; at < run.count;) {
    if (!isRight(at)) {
      missed.set(run.index + at, `pack ${frame.pack.idHex} holds other bytes in its place`);
      at += 1;
      continue;
    }
    const node = loaded.nodes?.[run.position + at];
    let end = at + 1;
    if (node) onChunks(run.index + at, 1, loaded.bytes.subarray(node.start, node.end));
    else {
      while (end < run.count && isRight(end)) end += 1;
      const start = (run.position + at) * frame.blockSizeBytes;
      const stop = (run.position + end) * frame.blockSizeBytes;
      onChunks(run.index + at, end - at, loaded.bytes.subarray(start, stop));
    }
    at = end;
  }
}
