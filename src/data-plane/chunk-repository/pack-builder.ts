import { randomBytes } from 'node:crypto';
import type { Clock } from '../../shared/clock.ts';
import { createSemaphore } from '../../shared/waiting.ts';
import type { BlobStorage } from '../blob-storage/blob-storage.ts';
import type { ChunkIndex } from './chunk-index.ts';
import type { ComputePool } from './compute-pool.ts';

import { DIGEST_BYTES, digestHex } from './digest.ts';
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
  readonly key: string;
  readonly digest: Uint8Array;
  readonly bytes: Uint8Array;
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
  isPending(key: string): boolean;
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
  readonly digestsOfFrames: Uint8Array[][];
  /** Header and frames as they will be stored. */
  readonly buffer: Buffer;
  readonly keys: string[];
  storedLength: number;
  framesUnderWay: number;
  closed: boolean;
  /** Settles when the pack is durable and indexed, or when the builder has failed. */
  readonly done: PromiseWithResolvers<void>;
}

interface OpenFrame {
  readonly pack: OpenPack;
  readonly slot: number;
  readonly plain: Buffer;
  readonly blockSizeBytes: number;
  readonly digests: Uint8Array[];
  readonly shares: Map<StorageAccount, number>;
  length: number;
}

/** Each account pays its part of the frame, and for its digests in the table of contents. */
function chargeFrame(frame: OpenFrame, storedLength: number): void {
  const total = storedLength + frame.digests.length * DIGEST_BYTES;
  for (const [account, share] of frame.shares) {
    account.storedBytes += Math.round((total * share) / frame.length);
  }
}

/** Packs that are being stored; more would only hold memory. */
const PACKS_IN_FLIGHT_MAX = 2;

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
  readonly pending: Set<string>;
  readonly pendingNodes: Map<string, Uint8Array>;
  readonly openFrames: Map<number, OpenFrame>;
  readonly unfinished: Set<OpenPack>;
  readonly storing: ReturnType<typeof createSemaphore>;
  /** Used again: fresh memory costs a page fault per page. */
  readonly buffers: Buffer[];
  current: OpenPack | undefined;
  failure: Error | null;
}

export function createPackBuilder(options: PackBuilderOptions): PackBuilder {
  const state: BuilderState = {
    ...options,
    pending: new Set(),
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
    isPending: (key) => state.pending.has(key),
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
  const { blockSizeBytes, key, digest, bytes, account } = chunk;
  const frame = state.openFrames.get(blockSizeBytes);
  const prefix = blockSizeBytes === 0 ? NODE_LENGTH_BYTES : 0;
  if (frame === undefined || !hasRoom(frame, prefix + bytes.length)) return false;
  if (prefix > 0) frame.plain.writeUInt32BE(bytes.length, frame.length);
  asBuffer(bytes).copy(frame.plain, frame.length + prefix);
  frame.length += prefix + bytes.length;
  frame.digests.push(digest.slice());
  frame.shares.set(account, (frame.shares.get(account) ?? 0) + prefix + bytes.length);
  frame.pack.keys.push(key);
  state.pending.add(key);
  if (blockSizeBytes === 0) state.pendingNodes.set(key, bytes);
  return true;
}

const asBuffer = ({ buffer, byteOffset, byteLength }: Uint8Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);

const hasRoom = (frame: OpenFrame, lengthBytes: number): boolean =>
  frame.length + lengthBytes <= frame.plain.length && frame.digests.length < FRAME_CHUNKS_MAX;

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
    digests: [],
    shares: new Map(),
    length: 0,
  });
}

function openPack(state: BuilderState): OpenPack {
  const { current } = state;
  if (current !== undefined && current.keys.length < PACK_CHUNKS_MAX) return current;
  if (current !== undefined) closePack(state, current);
  const pack: OpenPack = {
    id: randomBytes(PACK_ID_BYTES),
    frames: [],
    digestsOfFrames: [],
    buffer: state.buffers.pop() ?? allocatePackBuffer(state),
    keys: [],
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
  if (frame.digests.length > 0) {
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
  pack.digestsOfFrames.push(frame.digests);
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
      chunkCount: frame.digests.length,
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
    digests: Buffer.concat(pack.digestsOfFrames.flat()),
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
  for (const key of pack.keys) {
    state.pending.delete(key);
    state.pendingNodes.delete(key);
  }
  state.buffers.push(pack.buffer);
  state.unfinished.delete(pack);
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
