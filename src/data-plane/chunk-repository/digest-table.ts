import { randomBytes } from 'node:crypto';
import { DIGEST_BYTES } from './digest.ts';

/** A digest is 8 words; arrays of words compare and hash without an object per digest. */
export const DIGEST_WORDS = DIGEST_BYTES / 4;
/** Bounds one segment, so that a place fits 32 bits. */
export const SEGMENT_DIGESTS_MAX = 2048;

const SLOT_BITS = Math.log2(SEGMENT_DIGESTS_MAX);
const SLOT_MASK = SEGMENT_DIGESTS_MAX - 1;
const CAPACITY_MIN = 1 << 12;

/** Digests as words: a view where the memory is aligned, else a copy. */
export function digestWords(digests: Uint8Array): Int32Array {
  const { buffer, byteOffset, length } = digests;
  if (byteOffset % 4 === 0) return new Int32Array(buffer, byteOffset, length / 4);
  // `slice` of a Buffer would be a view again.
  return new Int32Array(new Uint8Array(digests).buffer);
}

/** Positions are in words. */
export function isSameDigest(
  left: Int32Array,
  leftAt: number,
  right: Int32Array,
  rightAt: number,
): boolean {
  for (let word = 0; word < DIGEST_WORDS; word += 1) {
    if (left[leftAt + word] !== right[rightAt + word]) return false;
  }
  return true;
}

export function isZeroAt(words: Int32Array, at: number): boolean {
  for (let word = 0; word < DIGEST_WORDS; word += 1) if (words[at + word] !== 0) return false;
  return true;
}

/**
 * Finds digests in segments that their owner keeps: 4 to 8 bytes per digest and no object for any.
 * One digest may stand in several segments.
 */
export interface DigestTable {
  /** The segment's first `count` digests are found from now on; returns its number. */
  addSegment(words: Int32Array, count: number): number;
  /** One more digest of a segment, which its owner has just written. */
  add(segment: number, slot: number): void;
  removeSegments(segments: Iterable<number>): void;
  /** Calls `take` for every place of the digest until it returns true; whether it did. */
  find(words: Int32Array, at: number, take: (segment: number, slot: number) => boolean): boolean;
}

interface Segment {
  readonly words: Int32Array;
  count: number;
}

interface TableState {
  readonly segments: (Segment | undefined)[];
  readonly seedA: number;
  readonly seedB: number;
  /** Segment and slot, plus one; 0 where nothing is. */
  places: Int32Array;
  used: number;
}

export function createDigestTable(): DigestTable {
  // Unencrypted names can be chosen by guests: unknown seeds keep them from making long chains.
  const [seedA = 0, seedB = 0] = new Int32Array(new Uint8Array(randomBytes(8)).buffer);
  const places = new Int32Array(CAPACITY_MIN);
  const state: TableState = { segments: [], seedA, seedB, places, used: 0 };
  const { segments } = state;
  const freeNumbers: number[] = [];

  const add = (number: number, slot: number): void => {
    const segment = segments[number];
    if (segment === undefined) throw new Error('no such segment');
    segment.count = Math.max(segment.count, slot + 1);
    if (state.used * 3 >= state.places.length * 2) rebuild(state);
    else insert(state, number, segment.words, slot);
  };

  return {
    addSegment(words, count) {
      const number = freeNumbers.pop() ?? segments.length;
      segments[number] = { words, count: 0 };
      for (let slot = 0; slot < count; slot += 1) add(number, slot);
      return number;
    },
    add,
    removeSegments(numbers) {
      for (const number of numbers) {
        if (segments[number] === undefined) continue;
        segments[number] = undefined;
        freeNumbers.push(number);
      }
      rebuild(state);
    },
    find(words, at, take) {
      const mask = state.places.length - 1;
      for (let position = startOf(state, words, at); ; position = (position + 1) & mask) {
        const place = (state.places[position] ?? 0) - 1;
        if (place < 0) return false;
        const number = place >> SLOT_BITS;
        const slot = place & SLOT_MASK;
        const segment = segments[number];
        if (segment === undefined) continue;
        if (!isSameDigest(segment.words, slot * DIGEST_WORDS, words, at)) continue;
        if (take(number, slot)) return true;
      }
    },
  };
}

function startOf({ seedA, seedB, places }: TableState, words: Int32Array, at: number): number {
  const mixed =
    Math.imul((words[at] ?? 0) ^ seedA, 0x9e3779b1) ^
    Math.imul((words[at + 1] ?? 0) ^ seedB, 0x85ebca6b);
  return (mixed ^ (mixed >>> 15)) & (places.length - 1);
}

function insert(state: TableState, segment: number, words: Int32Array, slot: number): void {
  const { places } = state;
  let at = startOf(state, words, slot * DIGEST_WORDS);
  while (places[at] !== 0) at = (at + 1) & (places.length - 1);
  places[at] = ((segment << SLOT_BITS) | slot) + 1;
  state.used += 1;
}

function rebuild(state: TableState): void {
  let total = 0;
  for (const segment of state.segments) total += segment?.count ?? 0;
  let capacity = CAPACITY_MIN;
  while (capacity < total * 3) capacity *= 2;
  state.places = new Int32Array(capacity);
  state.used = 0;
  for (const [number, segment] of state.segments.entries()) {
    if (segment === undefined) continue;
    for (let slot = 0; slot < segment.count; slot += 1) insert(state, number, segment.words, slot);
  }
}
