import { StoredDataError } from './damage.ts';
import { DIGEST_BYTES, isZeroDigest } from './digest.ts';

/**
 * A node: version (u8), level (u8), number of entries (u16), a bitmap of the entries that are not
 * all zero (most significant bit first), and the digests of those.
 */
const NODE_VERSION = 1;
const HEAD_BYTES = 4;

/** Null when every entry is zero: such a node does not exist. `digests` has zeroes for zero entries. */
export function encodeNode(level: number, digests: Uint8Array): Buffer | null {
  const count = digests.length / DIGEST_BYTES;
  const bitmapBytes = Math.ceil(count / 8);
  const node = Buffer.alloc(HEAD_BYTES + bitmapBytes + digests.length);
  node.writeUInt8(NODE_VERSION, 0);
  node.writeUInt8(level, 1);
  node.writeUInt16BE(count, 2);
  let end = HEAD_BYTES + bitmapBytes;
  for (let entry = 0; entry < count; entry += 1) {
    const digest = digests.subarray(entry * DIGEST_BYTES, (entry + 1) * DIGEST_BYTES);
    if (isZeroDigest(digest)) continue;
    const at = HEAD_BYTES + (entry >> 3);
    node.writeUInt8(node.readUInt8(at) | (0x80 >> (entry & 7)), at);
    node.set(digest, end);
    end += DIGEST_BYTES;
  }
  return end === HEAD_BYTES + bitmapBytes ? null : node.subarray(0, end);
}

/** Entries of a node, 32 bytes each, zeroes for zero entries. Only the one right encoding is taken. */
export function decodeNode(encoded: Uint8Array, level: number, count: number): Uint8Array {
  const node = Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  const bitmapBytes = Math.ceil(count / 8);
  const wrong = (what: string): StoredDataError =>
    new StoredDataError(`a tree node is wrong: ${what}`);
  if (node.length < HEAD_BYTES + bitmapBytes) throw wrong('too short');
  if (node.readUInt8(0) !== NODE_VERSION) throw wrong('version');
  if (node.readUInt8(1) !== level) throw wrong('level');
  if (node.readUInt16BE(2) !== count) throw wrong('number of entries');
  const digests = new Uint8Array(count * DIGEST_BYTES);
  let at = HEAD_BYTES + bitmapBytes;
  for (let entry = 0; entry < bitmapBytes * 8; entry += 1) {
    const present = node.readUInt8(HEAD_BYTES + (entry >> 3)) & (0x80 >> (entry & 7));
    if (present === 0) continue;
    if (entry >= count || at + DIGEST_BYTES > node.length) throw wrong('bitmap');
    digests.set(node.subarray(at, at + DIGEST_BYTES), entry * DIGEST_BYTES);
    at += DIGEST_BYTES;
  }
  if (at !== node.length) throw wrong('length');
  return digests;
}
