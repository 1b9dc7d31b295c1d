import { randomBytes } from 'node:crypto';
import type { Clock } from '../../shared/clock.ts';
import { createSemaphore } from '../../shared/waiting.ts';
import type { BlobStorage } from '../blob-storage/blob-storage.ts';
import type { ChunkIndex } from './chunk-index.ts';
import type { ComputePool } from './compute-pool.ts';

import { DIGEST_BYTES, digestHex, digestKey } from './digest.ts';
import {
  createDigestTable,
  DIGEST_WORDS,
  type DigestTable,
  SEGMENT_DIGESTS_MAX,
} from './digest-table.ts';
import { FRAME_OVERHEAD_BYTES } from './frame.ts';
import { FRAME_CHUNKS_MAX, PACK_CHUNKS_MAX, type RepositoryLayout } from './layout.ts';
import { NODE_LENGTH_BYTES } from './node-frame.ts';
import {
  encodePackEnd,
  encodePackHeader,
  type FrameEntry,
  PACK_HEADER_BYTES,
  PACK_ID_BYTES,
  packName,
} from './pack-format.ts';

/** Block size 0 stands for tree nodes. */
export interface NewChunk {
  readonly blockSizeBytes: number;
  /** Its digest stands in these words. */
  readonly words: Int32Array;
  readonly at: number;
  /** Its bytes are this part of these. */
  readonly bytes: Buffer;
  readonly from: number;
  readonly to: number;
  /** Who is charged for what the chunk takes in a pack. */
  readonly account: StorageAccount;
}

export interface StorageAccount {
  storedBytes: number;
}

/**
 * Turns new chunks into frames and frames into packs. One per repository handle, so that writers
 * that run at once share chunks that are not durable yet.
 */
export interface PackBuilder {
  /** Null until something could not be stored; then nothing that was added counts as durable. */
  failure(): Error | null;
  isPending(words: Int32Array, at: number): boolean;
  /** A node that is not durable yet. */
  pendingNode(key: string): Uint8Array | undefined;
  /** False when there is no room in the open frame: call `makeRoom` and look again whether it is pending. */
  tryAdd(chunk: NewChunk): boolean;
  makeRoom(blockSizeBytes: number): Promise<void>;
  /** Closes the open pack; resolves when everything that was added is durable and indexed. */
  flush(): Promise<void>;
}

interface OpenPack {
  readonly id: Uint8Array;
  readonly frames: (FrameEntry | undefined)[];
  readonly digestsOfFrames: Uint8Array[];
  /** Header and frames as they will be stored. */
  readonly buffer: Buffer;
  /** Its digests in the table of what is pending. */
  readonly segments: PendingSegment[];
  readonly nodeKeys: string[];
  chunkCount: number;
  storedLength: number;
  framesUnderWay: number;
  closed: boolean;
  /** Settles when the pack is durable and indexed, or when the builder has failed. */
  readonly done: PromiseWithResolvers<void>;
}

interface PendingSegment {
  readonly number: number;
  readonly words: Int32Array;
  count: number;
}

interface OpenFrame {
  readonly pack: OpenPack;
  readonly slot: number;
  readonly plain: Buffer;
  readonly blockSizeBytes: number;
  readonly words: Int32Array;
  readonly shares: Map<StorageAccount, number>;
  chunkCount: number;
  length: number;
}

/** Each account pays its part of the frame, and for its digests in the table of contents. */
function chargeFrame(frame: OpenFrame, storedLength: number): void {
  const total = storedLength + frame.chunkCount * DIGEST_BYTES;
  for (const [account, share] of frame.shares) {
    account.storedBytes += Math.round((total * share) / frame.length);
  }
}

/** Packs that are being stored; more would only hold memory. */
const PACKS_IN_FLIGHT_MAX = 1;

export interface PackBuilderOptions {
  readonly storage: BlobStorage;
  readonly pool: ComputePool;
  readonly index: ChunkIndex;
  readonly layout: RepositoryLayout;
  readonly packsKey: Uint8Array | null;
  readonly clock: Clock;
}

interface BuilderState extends PackBuilderOptions {
  /** Chunks that are not durable and indexed yet. */
  readonly pending: DigestTable;
  readonly pendingNodes: Map<string, Uint8Array>;
  readonly openFrames: Map<number, OpenFrame>;
  readonly unfinished: Set<OpenPack>;
  readonly storing: ReturnType<typeof createSemaphore>;
  /** Used again: fresh memory costs a page fault per page. */
  readonly buffers: Buffer[];
  current: OpenPack | undefined;
  failure: Error | null;
}

const anyPlace = (): boolean => true;

export function createPackBuilder(options: PackBuilderOptions): PackBuilder {
  const state: BuilderState = {
    ...options,
    pending: createDigestTable(),
    pendingNodes: new Map(),
    openFrames: new Map(),
    unfinished: new Set(),
    storing: createSemaphore(PACKS_IN_FLIGHT_MAX),
    buffers: [],
    current: undefined,
    failure: null,
  };
  const rolling = new Map<number, Promise<void>>();

  return {
    failure: () => state.failure,
    isPending: (words, at) => state.pending.find(words, at, anyPlace),
    pendingNode: (key) => state.pendingNodes.get(key),
    tryAdd: (chunk) => addToOpenFrame(state, chunk),
    async makeRoom(blockSizeBytes) {
      if (state.failure !== null) throw state.failure;
      let roll = rolling.get(blockSizeBytes);
      if (roll === undefined) {
        roll = rollFrame(state, blockSizeBytes).finally(() => rolling.delete(blockSizeBytes));
        rolling.set(blockSizeBytes, roll);
      }
      await roll;
    },
    async flush() {
      const packs = [...state.unfinished];
      if (state.current !== undefined) closePack(state, state.current);
      await Promise.all(packs.map(async ({ done }) => await done.promise));
      if (state.failure !== null) throw state.failure;
    },
  };
}

function addToOpenFrame(state: BuilderState, chunk: NewChunk): boolean {
  const { blockSizeBytes, words, at, bytes, from, to, account } = chunk;
  const frame = state.openFrames.get(blockSizeBytes);
  const lengthBytes = to - from + (blockSizeBytes === 0 ? NODE_LENGTH_BYTES : 0);
  if (frame === undefined || !hasRoom(frame, lengthBytes)) return false;
  const { plain, pack } = frame;
  if (blockSizeBytes === 0) {
    plain.writeUInt32BE(to - from, frame.length);
    const key = digestKey(new Uint8Array(words.buffer, words.byteOffset + at * 4, DIGEST_BYTES));
    pack.nodeKeys.push(key);
    state.pendingNodes.set(key, bytes.subarray(from, to));
  }
  bytes.copy(plain, frame.length + lengthBytes - (to - from), from, to);
  frame.length += lengthBytes;
  copyDigest(words, at, frame.words, frame.chunkCount);
  frame.chunkCount += 1;
  frame.shares.set(account, (frame.shares.get(account) ?? 0) + lengthBytes);
  addPending(state, pack, words, at);
  return true;
}

const hasRoom = (frame: OpenFrame, lengthBytes: number): boolean =>
  frame.length + lengthBytes <= frame.plain.length && frame.chunkCount < FRAME_CHUNKS_MAX;

function copyDigest(from: Int32Array, at: number, to: Int32Array, position: number): void {
  for (let word = 0; word < DIGEST_WORDS; word += 1) {
    to[position * DIGEST_WORDS + word] = from[at + word] ?? 0;
  }
}

function addPending(state: BuilderState, pack: OpenPack, words: Int32Array, at: number): void {
  let segment = pack.segments.at(-1);
  if (segment === undefined || segment.count === SEGMENT_DIGESTS_MAX) {
    const fresh = new Int32Array(SEGMENT_DIGESTS_MAX * DIGEST_WORDS);
    segment = { number: state.pending.addSegment(fresh, 0), words: fresh, count: 0 };
    pack.segments.push(segment);
  }
  copyDigest(words, at, segment.words, segment.count);
  state.pending.add(segment.number, segment.count);
  segment.count += 1;
  pack.chunkCount += 1;
}

async function rollFrame(state: BuilderState, blockSizeBytes: number): Promise<void> {
  const { pool, layout } = state;
  const full = state.openFrames.get(blockSizeBytes);
  if (full !== undefined) closeFrame(state, full);
  // The turn is over at once when storing keeps up; else new chunks wait for the packs before them.
  await state.storing.run(async () => undefined);
  const slot = await pool.frameSlots.acquire();
  if (state.failure !== null) {
    pool.frameSlots.release(slot);
    throw state.failure;
  }
  const pack = openPack(state);
  pack.framesUnderWay += 1;
  state.openFrames.set(blockSizeBytes, {
    pack,
    slot,
    plain: Buffer.from(pool.arena, pool.framePlaces(slot).plain, layout.frameSizeBytes),
    blockSizeBytes,
    words: new Int32Array(FRAME_CHUNKS_MAX * DIGEST_WORDS),
    shares: new Map(),
    chunkCount: 0,
    length: 0,
  });
}

function openPack(state: BuilderState): OpenPack {
  const { current } = state;
  if (current !== undefined && current.chunkCount < PACK_CHUNKS_MAX) return current;
  if (current !== undefined) closePack(state, current);
  const pack: OpenPack = {
    id: randomBytes(PACK_ID_BYTES),
    frames: [],
    digestsOfFrames: [],
    buffer: state.buffers.pop() ?? allocatePackBuffer(state),
    segments: [],
    nodeKeys: [],
    chunkCount: 0,
    storedLength: PACK_HEADER_BYTES,
    framesUnderWay: 0,
    closed: false,
    done: Promise.withResolvers<void>(),
  };
  state.current = pack;
  state.unfinished.add(pack);
  return pack;
}

/** A pack is closed once it is large enough; what is being compressed then comes on top. */
function allocatePackBuffer({ layout, pool }: BuilderState): Buffer {
  const frameMax = layout.frameSizeBytes + FRAME_OVERHEAD_BYTES;
  return Buffer.allocUnsafeSlow(
    PACK_HEADER_BYTES + layout.packSizeBytes + (pool.frameSlotCount + 1) * frameMax,
  );
}

function closePack(state: BuilderState, pack: OpenPack): void {
  if (state.current === pack) state.current = undefined;
  pack.closed = true;
  for (const frame of state.openFrames.values()) {
    if (frame.pack === pack) closeFrame(state, frame);
  }
  storeWhenComplete(state, pack);
}

function closeFrame(state: BuilderState, frame: OpenFrame): void {
  state.openFrames.delete(frame.blockSizeBytes);
  if (frame.chunkCount > 0) {
    encodeFrame(state, frame).catch((error: unknown) => fail(state, error));
    return;
  }
  state.pool.frameSlots.release(frame.slot);
  frame.pack.framesUnderWay -= 1;
}

async function encodeFrame(state: BuilderState, frame: OpenFrame): Promise<void> {
  const { pool } = state;
  const { pack, slot } = frame;
  const frameNumber = pack.frames.length;
  pack.frames.push(undefined);
  pack.digestsOfFrames.push(new Uint8Array(frame.words.buffer, 0, frame.chunkCount * DIGEST_BYTES));
  try {
    const places = pool.framePlaces(slot);
    const { storedLength, encoding } = await pool.encode({
      places,
      plainLength: frame.length,
      packIdHex: digestHex(pack.id),
      frameNumber,
    });
    // `set` copies shared memory byte by byte unless both ends are aligned alike; `copy` never does.
    Buffer.from(pool.arena, places.stored, storedLength).copy(pack.buffer, pack.storedLength);
    pack.frames[frameNumber] = {
      offset: pack.storedLength,
      storedLength,
      plainLength: frame.length,
      blockSizeBytes: frame.blockSizeBytes,
      chunkCount: frame.chunkCount,
      encoding,
    };
    pack.storedLength += storedLength;
    chargeFrame(frame, storedLength);
  } finally {
    pool.frameSlots.release(slot);
    pack.framesUnderWay -= 1;
  }
  const full = pack.storedLength >= state.layout.packSizeBytes;
  if (full && !pack.closed) closePack(state, pack);
  else storeWhenComplete(state, pack);
}

function storeWhenComplete(state: BuilderState, pack: OpenPack): void {
  if (!pack.closed || pack.framesUnderWay > 0 || state.failure !== null) return;
  if (pack.frames.length === 0) finishPack(state, pack);
  else {
    state.storing
      .run(async () => await storePack(state, pack))
      .catch((error: unknown) => fail(state, error));
  }
}

async function storePack(state: BuilderState, pack: OpenPack): Promise<void> {
  const contents = {
    createdAtMs: state.clock.now().getTime(),
    frames: pack.frames.filter((frame) => frame !== undefined),
    digests: Buffer.concat(pack.digestsOfFrames),
  };
  const keys = { packId: pack.id, packsKey: state.packsKey };
  const end = encodePackEnd(contents, keys, pack.storedLength);
  const sizeBytes = pack.storedLength + end.length;
  pack.buffer.set(encodePackHeader(keys));
  const frames = pack.buffer.subarray(0, pack.storedLength);
  await state.storage.put(packName(pack.id), [frames, end]);
  state.index.addPack({ id: pack.id, sizeBytes, contents });
  finishPack(state, pack);
}

function finishPack(state: BuilderState, pack: OpenPack): void {
  state.pending.removeSegments(pack.segments.map(({ number }) => number));
  for (const key of pack.nodeKeys) state.pendingNodes.delete(key);
  state.unfinished.delete(pack);
  // Nothing is being written any more: the memory goes back.
  if (state.unfinished.size === 0) state.buffers.length = 0;
  else state.buffers.push(pack.buffer);
  pack.done.resolve();
}

/** Whoever waits for a pack looks at `failure` next. */
function fail(state: BuilderState, error: unknown): void {
  state.failure ??= error instanceof Error ? error : new Error(String(error));
  for (const frame of state.openFrames.values()) state.pool.frameSlots.release(frame.slot);
  state.openFrames.clear();
  for (const pack of state.unfinished) pack.done.resolve();
  state.unfinished.clear();
}
