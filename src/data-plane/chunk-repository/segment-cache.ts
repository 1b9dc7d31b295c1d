import { MIB } from '../../shared/byte-size.ts';
import type { AcceptPack, IndexedPack, PlaceCursor } from './chunk-index.ts';
import { createDigestTable, DIGEST_WORDS, SEGMENT_DIGESTS_MAX } from './digest-table.ts';

/** Digests of up to SEGMENT_DIGESTS_MAX neighbouring chunks of one pack, in memory. */
export interface Segment {
  readonly pack: IndexedPack;
  readonly firstSlot: number;
  readonly count: number;
  readonly words: Int32Array;
  /** True once the pack may have gone: nothing must be found in it any more. */
  gone: boolean;
  lastUse: number;
}

/** What was stored or found lately; bounded. */
export interface SegmentCache {
  get(pack: IndexedPack, firstSlot: number): Segment | undefined;
  add(pack: IndexedPack, firstSlot: number, words: Int32Array): Segment;
  /** All digests of a pack. */
  addPack(pack: IndexedPack, words: Int32Array): void;
  find(words: Int32Array, at: number, cursor: PlaceCursor, accept: AcceptPack | null): boolean;
  /** Null: everything. */
  forget(packNumbers: ReadonlySet<number> | null): void;
}

/** Half a million chunks: 2 GiB of memory pages, or 32 GiB of disk. */
const WORDS_MAX = (16 * MIB) / 4;
/** Making room costs a new table, so it is made for a while. */
const KEPT_SHARE = 0.7;

const keyOf = (pack: IndexedPack, firstSlot: number): string => `${pack.number}:${firstSlot}`;

export function createSegmentCache(): SegmentCache {
  const table = createDigestTable();
  /** By the number that the table gave them. */
  const segments: (Segment | undefined)[] = [];
  const numbers = new Map<string, number>();
  let wordCount = 0;
  let uses = 0;

  const remove = (removed: readonly number[]): void => {
    for (const number of removed) {
      const segment = segments[number];
      if (segment === undefined) continue;
      segment.gone = true;
      segments[number] = undefined;
      numbers.delete(keyOf(segment.pack, segment.firstSlot));
      wordCount -= segment.words.length;
    }
    table.removeSegments(removed);
  };

  const add: SegmentCache['add'] = (pack, firstSlot, words) => {
    if (wordCount + words.length > WORDS_MAX) {
      remove(chooseOldest(segments, wordCount - WORDS_MAX * KEPT_SHARE));
    }
    const count = words.length / DIGEST_WORDS;
    const segment = { pack, firstSlot, count, words, gone: false, lastUse: (uses += 1) };
    const number = table.addSegment(words, count);
    segments[number] = segment;
    numbers.set(keyOf(pack, firstSlot), number);
    wordCount += words.length;
    return segment;
  };

  const get: SegmentCache['get'] = (pack, firstSlot) => {
    const number = numbers.get(keyOf(pack, firstSlot));
    return number === undefined ? undefined : segments[number];
  };

  return {
    get,
    add,
    addPack(pack, words) {
      const segmentWords = SEGMENT_DIGESTS_MAX * DIGEST_WORDS;
      for (let at = 0; at < words.length; at += segmentWords) {
        const firstSlot = at / DIGEST_WORDS;
        if (get(pack, firstSlot) === undefined) {
          add(pack, firstSlot, words.slice(at, at + segmentWords));
        }
      }
    },
    find(words, at, cursor, accept) {
      return table.find(words, at, (number, slot) => {
        const segment = segments[number];
        if (segment === undefined || accept?.(segment.pack) === false) return false;
        segment.lastUse = uses += 1;
        cursor.segment = segment;
        cursor.slot = slot;
        return true;
      });
    },
    forget(packNumbers) {
      if (packNumbers === null) {
        remove([...numbers.values()]);
        return;
      }
      const removed = [...numbers.values()].filter((number) =>
        packNumbers.has(segments[number]?.pack.number ?? -1),
      );
      if (removed.length > 0) remove(removed);
    },
  };
}

/** Numbers of the segments that were not used for longest and hold as many words. */
function chooseOldest(segments: readonly (Segment | undefined)[], wordsMin: number): number[] {
  const oldestFirst = [...segments.entries()]
    .flatMap(([number, segment]) => (segment ? [{ number, segment }] : []))
    .toSorted((left, right) => left.segment.lastUse - right.segment.lastUse);
  const chosen: number[] = [];
  let words = 0;
  for (const { number, segment } of oldestFirst) {
    if (words >= wordsMin) break;
    words += segment.words.length;
    chosen.push(number);
  }
  return chosen;
}
