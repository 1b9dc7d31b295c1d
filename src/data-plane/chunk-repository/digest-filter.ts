import { DIGEST_WORDS } from './digest-table.ts';

/**
 * Says of most digests that are in no pack that they are not, without a look at the index. The
 * words of a digest are as good as hash functions. A wrong "maybe" costs one look.
 */
export interface DigestFilter {
  add(words: Int32Array, count: number): void;
  mayHave(words: Int32Array, at: number): boolean;
}

/** 8 MiB: 1 wrong answer in 400 at 5 million digests, 1 in 6 at 16 million. */
const FILTER_BITS = 1 << 26;
/** With more digests than this a filter answers "maybe" too often to be worth its memory. */
export const FILTER_DIGESTS_MAX = 1 << 24;
const PROBES = 4;
/** The first words of a digest place it in tables; these do not. */
const FIRST_PROBE_WORD = 2;

export function createDigestFilter(): DigestFilter {
  const bits = new Int32Array(FILTER_BITS / 32);
  const bitOf = (words: Int32Array, at: number, round: number): number =>
    (words[at + FIRST_PROBE_WORD + round] ?? 0) & (FILTER_BITS - 1);
  return {
    add(words, count) {
      for (let at = 0; at < count * DIGEST_WORDS; at += DIGEST_WORDS) {
        for (let round = 0; round < PROBES; round += 1) {
          const bit = bitOf(words, at, round);
          bits[bit >>> 5] = (bits[bit >>> 5] ?? 0) | (1 << (bit & 31));
        }
      }
    },
    mayHave(words, at) {
      for (let round = 0; round < PROBES; round += 1) {
        const bit = bitOf(words, at, round);
        if (((bits[bit >>> 5] ?? 0) & (1 << (bit & 31))) === 0) return false;
      }
      return true;
    },
  };
}
