import type { Clock } from '../../shared/clock.ts';
import { OperationError } from '../../shared/errors.ts';
import { KIB, MIB } from '../../shared/byte-size.ts';
import { throwIfAborted } from '../../shared/waiting.ts';
import type { BlobStorage } from '../blob-storage/blob-storage.ts';
import type { ChunkIndex, ChunkPlace, IndexedFrame } from './chunk-index.ts';
import type { ComputePool } from './compute-pool.ts';
import { StoredDataError } from './damage.ts';
import { DIGEST_BYTES } from './digest.ts';
import { FRAME_CHUNKS_MAX } from './layout.ts';
import { parseNodeFrame } from './node-frame.ts';
import { packName } from './pack-format.ts';

/** A chunk's verified bytes, or why it cannot be had. Bytes are shared with the cache: read only. */
export type LoadedChunk = Uint8Array | { readonly reason: string };

export interface ChunkSource {
  /** One result per digest, in order. Never throws for what is missing or wrong in the storage. */
  load(digests: readonly Uint8Array[], signal?: AbortSignal): Promise<LoadedChunk[]>;
}

interface LoadedFrame {
  readonly bytes: Uint8Array;
  readonly digests: Uint8Array;
  /** Node frames only: chunks of a data frame all have its block size. */
  readonly nodes: readonly { start: number; end: number }[] | null;
}

const CACHE_MAX_BYTES = 64 * MIB;
/** Frames of one pack that are this close are read at once. */
const GAP_MAX_BYTES = 64 * KIB;
const READ_MAX_BYTES = MIB;
/** When much is missing, not every load needs a new look at the storage. */
const SYNC_INTERVAL_MS = 2000;

export function createChunkSource(options: {
  storage: BlobStorage;
  index: ChunkIndex;
  pool: ComputePool;
  /** Makes the index agree with the storage; called once for a load that misses something. */
  synchronize: () => Promise<void>;
  clock: Clock;
}): ChunkSource {
  const { storage, index, pool, synchronize, clock } = options;
  let syncedAtMs = Number.NEGATIVE_INFINITY;
  const cache = createFrameCache();

  const loadOnce = async (
    digests: readonly Uint8Array[],
    signal: AbortSignal | undefined,
  ): Promise<LoadedChunk[]> => {
    const places = locateAll(index, digests);
    const wanted = new Map<string, IndexedFrame>();
    for (const { frame } of places.values()) if (frame !== null) wanted.set(keyOf(frame), frame);
    const missing = [...wanted].filter(([key]) => !cache.has(key)).map(([, frame]) => frame);
    const frames = new Map<string, Promise<LoadedFrame>>();
    for (const run of planReads(missing)) {
      const stored = readRun(storage, run);
      for (const frame of run) {
        const loading = decodeStored(pool, frame, stored, run[0]?.offset ?? 0);
        frames.set(keyOf(frame), loading);
        cache.add(keyOf(frame), frame.plainLength, loading);
      }
    }
    for (const key of wanted.keys()) {
      const cached = cache.get(key);
      if (cached !== undefined && !frames.has(key)) frames.set(key, cached);
    }
    const results: LoadedChunk[] = [];
    for (const [at, digest] of digests.entries()) {
      throwIfAborted(signal);
      const found = places.get(at);
      const frame = found?.frame;
      const loading = frame ? frames.get(keyOf(frame)) : undefined;
      if (!frame || !loading) results.push({ reason: 'no pack has it' });
      else results.push(await takeChunk(loading, frame, found.place.slot, digest));
    }
    return results;
  };

  return {
    async load(digests, signal) {
      throwIfAborted(signal);
      const results = await loadOnce(digests, signal);
      const missed = results.flatMap((result, at) => (isMissing(result) ? [at] : []));
      if (missed.length === 0) return results;
      // A collection may have moved the chunks to other packs meanwhile.
      if (clock.monotonicMs() - syncedAtMs > SYNC_INTERVAL_MS) {
        await synchronize();
        syncedAtMs = clock.monotonicMs();
      }
      const again = await loadOnce(
        missed.map((at) => digests[at] ?? new Uint8Array()),
        signal,
      );
      for (const [position, at] of missed.entries()) {
        const result = again[position];
        if (result !== undefined) results[at] = result;
      }
      return results;
    },
  };
}

export const isMissing = (chunk: LoadedChunk): chunk is { readonly reason: string } =>
  'reason' in chunk;

const keyOf = (frame: IndexedFrame): string => `${frame.pack.number}:${frame.frameNumber}`;

interface Found {
  readonly place: ChunkPlace;
  readonly frame: IndexedFrame | null;
}

function locateAll(index: ChunkIndex, digests: readonly Uint8Array[]): Map<number, Found> {
  const found = new Map<number, Found>();
  let last: IndexedFrame | null = null;
  for (const [at, digest] of digests.entries()) {
    const place = index.locate(digest);
    if (place === null) continue;
    // Neighbours in a tree are neighbours in a frame nearly always.
    if (!last || !holds(last, place)) last = index.frameOf(place);
    found.set(at, { place, frame: last });
  }
  return found;
}

const holds = (frame: IndexedFrame, { pack, slot }: ChunkPlace): boolean =>
  frame.pack.number === pack.number &&
  slot >= frame.firstSlot &&
  slot < frame.firstSlot + frame.chunkCount;

/** Groups frames that lie close together, so that one read brings them all. */
function planReads(frames: readonly IndexedFrame[]): IndexedFrame[][] {
  const sorted = frames.toSorted(
    (left, right) => left.pack.number - right.pack.number || left.offset - right.offset,
  );
  const runs: IndexedFrame[][] = [];
  for (const frame of sorted) {
    const run = runs.at(-1);
    const first = run?.[0];
    const last = run?.at(-1);
    if (
      run &&
      first &&
      last &&
      first.pack.number === frame.pack.number &&
      frame.offset - (last.offset + last.storedLength) <= GAP_MAX_BYTES &&
      frame.offset + frame.storedLength - first.offset <= READ_MAX_BYTES
    ) {
      run.push(frame);
    } else runs.push([frame]);
  }
  return runs;
}

async function readRun(storage: BlobStorage, run: readonly IndexedFrame[]): Promise<Uint8Array> {
  const first = run[0];
  const last = run.at(-1);
  if (!first || !last) return new Uint8Array();
  const lengthBytes = last.offset + last.storedLength - first.offset;
  try {
    return await storage.get(packName(first.pack.id), { offset: first.offset, lengthBytes });
  } catch (error) {
    if (error instanceof OperationError && error.code === 'not_found') {
      throw new StoredDataError(`pack ${first.pack.idHex} is gone`, { cause: error });
    }
    throw error;
  }
}

async function decodeStored(
  pool: ComputePool,
  frame: IndexedFrame,
  reading: Promise<Uint8Array>,
  readOffset: number,
): Promise<LoadedFrame> {
  const read = await reading;
  const start = frame.offset - readOffset;
  const stored = read.subarray(start, start + frame.storedLength);
  if (stored.length !== frame.storedLength) {
    throw new StoredDataError(`pack ${frame.pack.idHex} is cut off`);
  }
  const slot = await pool.frameSlots.acquire();
  try {
    const places = pool.framePlaces(slot);
    const room = places.digests - places.stored;
    if (stored.length > room || frame.plainLength > places.stored - places.plain) {
      throw new StoredDataError('a frame is larger than this repository makes them');
    }
    new Uint8Array(pool.arena).set(stored, places.stored);
    const count = await pool.decode({ places, packIdHex: frame.pack.idHex, ...decodeShape(frame) });
    const bytes = new Uint8Array(pool.arena, places.plain, frame.plainLength).slice();
    const digests = new Uint8Array(pool.arena, places.digests, count * DIGEST_BYTES).slice();
    return { bytes, digests, nodes: frame.blockSizeBytes === 0 ? parseNodeFrame(bytes) : null };
  } finally {
    pool.frameSlots.release(slot);
  }
}

type DecodeShape = Pick<
  IndexedFrame,
  'storedLength' | 'plainLength' | 'encoding' | 'blockSizeBytes' | 'frameNumber'
>;

const decodeShape = (frame: IndexedFrame): DecodeShape => ({
  storedLength: frame.storedLength,
  plainLength: frame.plainLength,
  encoding: frame.encoding,
  blockSizeBytes: frame.blockSizeBytes,
  frameNumber: frame.frameNumber,
});

async function takeChunk(
  loading: Promise<LoadedFrame>,
  frame: IndexedFrame,
  slot: number,
  wanted: Uint8Array,
): Promise<LoadedChunk> {
  let loaded: LoadedFrame;
  try {
    loaded = await loading;
  } catch (error) {
    if (error instanceof StoredDataError) return { reason: error.message };
    throw error;
  }
  const position = slot - frame.firstSlot;
  const digest = loaded.digests.subarray(position * DIGEST_BYTES, (position + 1) * DIGEST_BYTES);
  if (Buffer.compare(digest, wanted) !== 0) {
    return { reason: `pack ${frame.pack.idHex} holds other bytes in its place` };
  }
  if (loaded.nodes !== null) {
    const node = loaded.nodes[position];
    return node ? loaded.bytes.subarray(node.start, node.end) : { reason: 'no such node' };
  }
  const start = position * frame.blockSizeBytes;
  return loaded.bytes.subarray(start, start + frame.blockSizeBytes);
}

/** Frames by key, least recently used first; a frame that failed to load is not kept. */
function createFrameCache(): {
  has(key: string): boolean;
  get(key: string): Promise<LoadedFrame> | undefined;
  add(key: string, sizeBytes: number, loading: Promise<LoadedFrame>): void;
} {
  const entries = new Map<string, { sizeBytes: number; loading: Promise<LoadedFrame> }>();
  let total = 0;
  const remove = (key: string): void => {
    const entry = entries.get(key);
    if (!entry) return;
    entries.delete(key);
    total -= entry.sizeBytes;
  };
  return {
    has: (key) => entries.has(key),
    get(key) {
      const entry = entries.get(key);
      if (!entry) return undefined;
      entries.delete(key);
      entries.set(key, entry);
      return entry.loading;
    },
    add(key, plainLength, loading) {
      remove(key);
      const sizeBytes = plainLength + FRAME_CHUNKS_MAX;
      entries.set(key, { sizeBytes, loading });
      total += sizeBytes;
      for (const oldest of entries.keys()) {
        if (total <= CACHE_MAX_BYTES || oldest === key) break;
        remove(oldest);
      }
      // Whoever asked for the frame gets the error; the cache only forgets it.
      loading.catch(() => {
        if (entries.get(key)?.loading === loading) remove(key);
      });
    },
  };
}
