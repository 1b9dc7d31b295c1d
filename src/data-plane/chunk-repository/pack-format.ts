import { hash } from 'node:crypto';
import { StoredDataError } from './damage.ts';
import { DIGEST_BYTES } from './digest.ts';
import type { FrameEncoding } from './frame.ts';
import { FRAME_CHUNKS_MAX, FRAME_SIZE_MAX_BYTES, PACK_SIZE_MAX_BYTES } from './layout.ts';
import { packSeal, seal, unseal } from './sealing.ts';

/** Byte layouts: docs/repository-format.md, section "Packs". All integers are big-endian. */
export const PACK_ID_BYTES = 16;
export const PACK_HEADER_BYTES = 32;
export const PACK_TRAILER_BYTES = 56;
const HEADER_MAGIC = Buffer.from('KOMAPACK');
const TRAILER_MAGIC = Buffer.from('KOMATOC1');
const FORMAT_VERSION = 1;
const FLAG_SEALED = 1;
const CONTENTS_HEAD_BYTES = 16;
const FRAME_ENTRY_BYTES = 20;
const TRAILER_DIGEST_OFFSET = PACK_TRAILER_BYTES - DIGEST_BYTES;
/** Nonce number of the table of contents; frames count up from 0 and stay far below. */
const CONTENTS_NONCE = 0xff_ff_ff_ff;

export interface FrameEntry {
  readonly offset: number;
  readonly storedLength: number;
  readonly plainLength: number;
  /** Size of each of its chunks; 0 for a frame of tree nodes, which have lengths of their own. */
  readonly blockSizeBytes: number;
  readonly chunkCount: number;
  readonly encoding: FrameEncoding;
}

export interface PackContents {
  readonly createdAtMs: number;
  readonly frames: readonly FrameEntry[];
  /** Digests of all chunks, frame by frame, 32 bytes each. */
  readonly digests: Uint8Array;
}

export interface PackKeys {
  readonly packId: Uint8Array;
  readonly packsKey: Uint8Array | null;
}

export function packName(packId: Uint8Array): string {
  const hex = Buffer.from(packId).toString('hex');
  return `packs/${hex.slice(0, 2)}/${hex}`;
}

/** Null for names that are not a pack's. */
export function packIdFromName(name: string): Uint8Array | null {
  const match = /^packs\/([0-9a-f]{2})\/(\1[0-9a-f]{30})$/.exec(name);
  return match?.[2] === undefined ? null : Buffer.from(match[2], 'hex');
}

export function encodePackHeader({ packId, packsKey }: PackKeys): Uint8Array {
  const header = Buffer.alloc(PACK_HEADER_BYTES);
  HEADER_MAGIC.copy(header);
  header.writeUInt16BE(FORMAT_VERSION, 8);
  header.writeUInt16BE(packsKey === null ? 0 : FLAG_SEALED, 10);
  header.set(packId, 16);
  return header;
}

/** Table of contents and trailer; `contentsOffset` is where the frames end. */
export function encodePackEnd(
  contents: PackContents,
  keys: PackKeys,
  contentsOffset: number,
): Uint8Array {
  const plain = encodeContents(contents);
  const stored =
    keys.packsKey === null
      ? plain
      : seal(plain, packSeal(keys.packsKey, keys.packId, CONTENTS_NONCE));
  const trailer = Buffer.alloc(PACK_TRAILER_BYTES);
  TRAILER_MAGIC.copy(trailer);
  trailer.writeUInt16BE(FORMAT_VERSION, 8);
  trailer.writeUInt16BE(keys.packsKey === null ? 0 : FLAG_SEALED, 10);
  trailer.writeUInt32BE(contentsOffset, 12);
  trailer.writeUInt32BE(stored.length, 16);
  trailer.set(endDigest(keys, stored, trailer), TRAILER_DIGEST_OFFSET);
  return Buffer.concat([stored, trailer]);
}

function endDigest(keys: PackKeys, stored: Uint8Array, trailer: Uint8Array): Uint8Array {
  const covered = [encodePackHeader(keys), stored, trailer.subarray(0, TRAILER_DIGEST_OFFSET)];
  return hash('sha256', Buffer.concat(covered), 'buffer');
}

function encodeContents({ createdAtMs, frames, digests }: PackContents): Buffer {
  const head = Buffer.alloc(CONTENTS_HEAD_BYTES + frames.length * FRAME_ENTRY_BYTES);
  head.writeUInt32BE(frames.length, 0);
  head.writeUInt32BE(digests.length / DIGEST_BYTES, 4);
  head.writeBigUInt64BE(BigInt(createdAtMs), 8);
  let at = CONTENTS_HEAD_BYTES;
  for (const frame of frames) {
    head.writeUInt32BE(frame.offset, at);
    head.writeUInt32BE(frame.storedLength, at + 4);
    head.writeUInt32BE(frame.plainLength, at + 8);
    head.writeUInt32BE(frame.blockSizeBytes, at + 12);
    head.writeUInt16BE(frame.chunkCount, at + 16);
    head.writeUInt8(frame.encoding === 'zstd' ? 1 : 0, at + 18);
    at += FRAME_ENTRY_BYTES;
  }
  return Buffer.concat([head, digests]);
}

export interface PackTrailer {
  readonly contentsOffset: number;
  readonly contentsLength: number;
}

/** Reads a trailer and checks that it fits a pack of this size. */
export function decodePackTrailer(trailer: Uint8Array, packSizeBytes: number): PackTrailer {
  const bytes = Buffer.from(trailer);
  if (packSizeBytes > PACK_SIZE_MAX_BYTES) throw new StoredDataError('the pack is too large');
  if (
    bytes.length !== PACK_TRAILER_BYTES ||
    !bytes.subarray(0, 8).equals(TRAILER_MAGIC) ||
    packSizeBytes < PACK_HEADER_BYTES + PACK_TRAILER_BYTES
  ) {
    throw new StoredDataError('the pack has no trailer: it was cut off or overwritten');
  }
  if (bytes.readUInt16BE(8) !== FORMAT_VERSION) {
    throw new StoredDataError(`the pack has format version ${bytes.readUInt16BE(8)}`);
  }
  const contentsOffset = bytes.readUInt32BE(12);
  const contentsLength = bytes.readUInt32BE(16);
  if (
    contentsOffset < PACK_HEADER_BYTES ||
    contentsOffset + contentsLength + PACK_TRAILER_BYTES !== packSizeBytes
  ) {
    throw new StoredDataError("the pack's trailer does not fit its size");
  }
  return { contentsOffset, contentsLength };
}

/** `end` is the stored table of contents followed by the trailer. */
export function decodePackEnd(
  end: Uint8Array,
  keys: PackKeys,
  packSizeBytes: number,
): PackContents {
  const bytes = Buffer.from(end.buffer, end.byteOffset, end.byteLength);
  if (bytes.length < PACK_TRAILER_BYTES) throw new StoredDataError('the pack is cut off');
  const trailer = bytes.subarray(bytes.length - PACK_TRAILER_BYTES);
  const { contentsOffset, contentsLength } = decodePackTrailer(trailer, packSizeBytes);
  if (bytes.length !== contentsLength + PACK_TRAILER_BYTES) {
    throw new StoredDataError("the pack's table of contents is cut off");
  }
  const stored = bytes.subarray(0, contentsLength);
  const sealed = trailer.readUInt16BE(10) === FLAG_SEALED;
  if (sealed !== (keys.packsKey !== null)) {
    throw new StoredDataError('the pack belongs to a repository with another kind of encryption');
  }
  if (!trailer.subarray(TRAILER_DIGEST_OFFSET).equals(endDigest(keys, stored, trailer))) {
    throw new StoredDataError("the pack's table of contents was changed");
  }
  const plain =
    keys.packsKey === null
      ? stored
      : unseal(stored, packSeal(keys.packsKey, keys.packId, CONTENTS_NONCE));
  return decodeContents(Buffer.from(plain), contentsOffset);
}

function decodeContents(plain: Buffer, framesEnd: number): PackContents {
  const wrong = (what: string): StoredDataError =>
    new StoredDataError(`the pack's table of contents is wrong: ${what}`);
  if (plain.length < CONTENTS_HEAD_BYTES) throw wrong('too short');
  const frameCount = plain.readUInt32BE(0);
  const chunkCount = plain.readUInt32BE(4);
  const createdAtMs = Number(plain.readBigUInt64BE(8));
  const digestsOffset = CONTENTS_HEAD_BYTES + frameCount * FRAME_ENTRY_BYTES;
  if (plain.length !== digestsOffset + chunkCount * DIGEST_BYTES)
    throw wrong('counts and size differ');
  const frames: FrameEntry[] = [];
  let chunks = 0;
  for (let at = CONTENTS_HEAD_BYTES; at < digestsOffset; at += FRAME_ENTRY_BYTES) {
    const frame = decodeFrameEntry(plain, at);
    const { blockSizeBytes, chunkCount: count, plainLength } = frame;
    if (count === 0 || count > FRAME_CHUNKS_MAX) throw wrong('chunks of a frame');
    if (plainLength > FRAME_SIZE_MAX_BYTES) throw wrong('length of a frame');
    if (blockSizeBytes !== 0 && blockSizeBytes * count !== plainLength) throw wrong('block size');
    chunks += count;
    frames.push(frame);
  }
  if (chunks !== chunkCount) throw wrong('number of chunks');
  let end = PACK_HEADER_BYTES;
  for (const frame of frames.toSorted((left, right) => left.offset - right.offset)) {
    if (frame.offset !== end) throw wrong('frames overlap or leave gaps');
    end += frame.storedLength;
  }
  if (end !== framesEnd) throw wrong('frames do not fill the pack');
  return { createdAtMs, frames, digests: plain.subarray(digestsOffset) };
}

function decodeFrameEntry(plain: Buffer, at: number): FrameEntry {
  return {
    offset: plain.readUInt32BE(at),
    storedLength: plain.readUInt32BE(at + 4),
    plainLength: plain.readUInt32BE(at + 8),
    blockSizeBytes: plain.readUInt32BE(at + 12),
    chunkCount: plain.readUInt16BE(at + 16),
    encoding: plain.readUInt8(at + 18) === 0 ? 'raw' : 'zstd',
  };
}
