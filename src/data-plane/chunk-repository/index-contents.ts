import type { IndexedPack, ChunkPlace } from './chunk-index.ts';
import { DIGEST_BYTES } from './digest.ts';
import { DIGEST_WORDS, digestWords, SEGMENT_DIGESTS_MAX } from './digest-table.ts';
import type { FrameEncoding } from './frame.ts';
import type { IndexDatabase } from './index-database.ts';
import type { PackContents } from './pack-format.ts';

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

/** A frame in a row of the index: first slot, chunks, offset, stored and plain length, block size, encoding. */
const FRAME_WORDS = 7;

/** The first 6 bytes of a digest: as much as a number holds. */
export function prefixOf(words: Int32Array, at: number): number {
  return ((words[at] ?? 0) >>> 0) * 0x1_00_00 + ((words[at + 1] ?? 0) & 0xff_ff);
}

export function insertContents(
  connection: IndexDatabase,
  packNumber: number,
  { frames, digests }: PackContents,
): void {
  const frameWords = new Int32Array(frames.length * FRAME_WORDS);
  let firstSlot = 0;
  for (const [number, frame] of frames.entries()) {
    const { chunkCount, offset, storedLength, plainLength, blockSizeBytes } = frame;
    const zstd = frame.encoding === 'zstd' ? 1 : 0;
    frameWords.set(
      [firstSlot, chunkCount, offset, storedLength, plainLength, blockSizeBytes, zstd],
      number * FRAME_WORDS,
    );
    firstSlot += chunkCount;
  }
  connection.insertFrames.run(packNumber, new Uint8Array(frameWords.buffer));
  const segmentBytes = SEGMENT_DIGESTS_MAX * DIGEST_BYTES;
  for (let at = 0; at < digests.length; at += segmentBytes) {
    const segment = digests.subarray(at, at + segmentBytes);
    connection.insertSegment.run(packNumber, at / DIGEST_BYTES, segment);
  }
  insertSorted(connection, packNumber, digestWords(digests));
}

/** In the order of the table's key, rows that belong to one page are inserted together. */
function insertSorted(connection: IndexDatabase, packNumber: number, words: Int32Array): void {
  const count = words.length / DIGEST_WORDS;
  const prefixes = new Float64Array(count);
  for (let slot = 0; slot < count; slot += 1) prefixes[slot] = prefixOf(words, slot * DIGEST_WORDS);
  const slots = new Uint32Array(count);
  for (let slot = 0; slot < count; slot += 1) slots[slot] = slot;
  slots.sort((left, right) => (prefixes[left] ?? 0) - (prefixes[right] ?? 0));
  for (const slot of slots) connection.insertChunk.run(prefixes[slot] ?? 0, packNumber, slot);
}

/** Null when the list has no frame with this slot. */
export function frameOfWords(
  words: Int32Array,
  pack: IndexedPack,
  slot: ChunkPlace['slot'],
): IndexedFrame | null {
  let low = 0;
  let high = Math.floor(words.length / FRAME_WORDS) - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((words[middle * FRAME_WORDS] ?? 0) <= slot) low = middle;
    else high = middle - 1;
  }
  const [firstSlot = 0, chunkCount = 0, offset = 0, storedLength = 0, plainLength = 0, block = 0] =
    words.subarray(low * FRAME_WORDS, (low + 1) * FRAME_WORDS);
  if (slot < firstSlot || slot >= firstSlot + chunkCount) return null;
  const encoding = words[low * FRAME_WORDS + 6] === 1 ? 'zstd' : 'raw';
  return {
    pack,
    frameNumber: low,
    firstSlot,
    chunkCount,
    offset,
    storedLength,
    plainLength,
    blockSizeBytes: block,
    encoding,
  };
}
