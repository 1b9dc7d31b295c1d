import type { FrameEncoding } from './frame.ts';
import type { ArenaPlan, FramePlaces, InputPlace } from './compute-arena.ts';
import type { DigestKeys } from './digest.ts';

/** Between the pool and its threads. Only places in the arena travel, never data. */
export interface ThreadSetup {
  readonly arena: SharedArrayBuffer;
  readonly plan: ArenaPlan;
  readonly digestKeys: DigestKeys;
  readonly packsKey: Uint8Array | null;
  readonly compressionLevel: number;
}

export interface HashTask {
  readonly work: 'hash';
  readonly place: InputPlace;
  readonly offset: number;
  readonly lengthBytes: number;
  readonly blockSizeBytes: number;
}

export interface EncodeTask {
  readonly work: 'encode';
  readonly places: FramePlaces;
  readonly plainLength: number;
  /** Hex: a view would take its whole backing memory along. */
  readonly packIdHex: string;
  readonly frameNumber: number;
}

export interface DecodeTask {
  readonly work: 'decode';
  readonly places: FramePlaces;
  readonly storedLength: number;
  readonly plainLength: number;
  readonly encoding: FrameEncoding;
  /** 0 for a frame of tree nodes. */
  readonly blockSizeBytes: number;
  /** Hex: a view would take its whole backing memory along. */
  readonly packIdHex: string;
  readonly frameNumber: number;
}

export type ComputeTask = HashTask | EncodeTask | DecodeTask;

export type ComputeResult =
  | { readonly work: 'hash' }
  | { readonly work: 'encode'; readonly storedLength: number; readonly encoding: FrameEncoding }
  /** How many digests stand in the slot. */
  | { readonly work: 'decode'; readonly chunkCount: number }
  /** The stored bytes are wrong. */
  | { readonly work: 'damaged'; readonly reason: string }
  /** A bug of ours or no memory. */
  | { readonly work: 'failed'; readonly reason: string };

export interface TaskMessage {
  readonly id: number;
  readonly task: ComputeTask;
}

export interface ResultMessage {
  readonly id: number;
  readonly result: ComputeResult;
}
