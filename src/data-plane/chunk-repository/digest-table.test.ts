import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createDigestFilter } from './digest-filter.ts';
import {
  createDigestTable,
  DIGEST_WORDS,
  digestWords,
  SEGMENT_DIGESTS_MAX,
} from './digest-table.ts';
import { createDigester, isZeroDigest } from './digest.ts';

/** Few different digests, so that segments share some. */
const wordsOf = (names: readonly number[]): Int32Array =>
  digestWords(Buffer.concat(names.map((name) => hash('sha256', String(name), 'buffer'))));

test('digests are found wherever they are, after any additions and removals', () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('add' as const),
      names: fc.array(fc.nat(4000), { minLength: 1, maxLength: 1500 }),
      oneByOne: fc.boolean(),
    }),
    fc.record({ kind: fc.constant('remove' as const), which: fc.nat(20) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const table = createDigestTable();
      const oracle = new Map<number, readonly number[]>();
      for (const change of steps) {
        if (change.kind === 'remove') {
          const number = [...oracle.keys()][change.which];
          if (number === undefined) continue;
          table.removeSegments([number]);
          oracle.delete(number);
        } else {
          const { names, oneByOne } = change;
          const number = table.addSegment(wordsOf(names), oneByOne ? 0 : names.length);
          if (oneByOne) for (const slot of names.keys()) table.add(number, slot);
          assert.ok(!oracle.has(number));
          oracle.set(number, names);
        }
      }
      for (let name = 0; name < 4000; name += 97) {
        const places: string[] = [];
        table.find(wordsOf([name]), 0, (segment, slot) => {
          places.push(`${segment}:${slot}`);
          return false;
        });
        const expected = [...oracle].flatMap(([segment, names]) =>
          names.flatMap((other, slot) => (other === name ? [`${segment}:${slot}`] : [])),
        );
        assert.deepEqual(places.toSorted(), expected.toSorted());
      }
    }),
    { numRuns: 20 },
  );
});

test('a full segment keeps every slot apart, and digests of unaligned memory are the same', () => {
  const names = Array.from({ length: SEGMENT_DIGESTS_MAX }, (_, name) => name);
  const words = wordsOf(names);
  const table = createDigestTable();
  const segment = table.addSegment(words, names.length);
  const shifted = Buffer.concat([Buffer.alloc(1), new Uint8Array(words.buffer)]).subarray(1);
  for (const source of [words, digestWords(shifted)]) {
    for (const slot of names) {
      assert.ok(
        table.find(source, slot * DIGEST_WORDS, (number, at) => number === segment && at === slot),
      );
    }
  }
});

test('a filter never denies what was added, and denies nearly everything else', () => {
  const filter = createDigestFilter();
  const added = wordsOf(Array.from({ length: 3000 }, (_, name) => name));
  filter.add(added, 3000);
  let wrong = 0;
  for (let name = 0; name < 3000; name += 1) {
    assert.ok(filter.mayHave(added, name * DIGEST_WORDS));
    if (filter.mayHave(wordsOf([name + 10_000]), 0)) wrong += 1;
  }
  assert.ok(wrong < 5, `${wrong} of 3000`);
});

test('names of blocks are SHA-256, keyed with key and block size in front; zero blocks have none', () => {
  const key = Buffer.alloc(32, 7);
  const node = Buffer.alloc(32, 9);
  for (const blockSizeBytes of [4096, 65_536]) {
    const bytes = Buffer.alloc(3 * blockSizeBytes);
    bytes.fill(1, 0, blockSizeBytes);
    bytes.writeUInt8(1, 3 * blockSizeBytes - 1);
    const prefix = Buffer.alloc(64);
    key.copy(prefix);
    prefix.writeUInt32BE(blockSizeBytes, 32);
    for (const chunk of [null, key]) {
      const digests = Buffer.alloc(96, 0xee);
      const run = { bytes, start: 0, count: 3, blockSizeBytes };
      createDigester({ chunk, node }).chunks(run, digests, 0);
      assert.ok(isZeroDigest(digests.subarray(32, 64)));
      for (const index of [0, 2]) {
        const block = bytes.subarray(index * blockSizeBytes, (index + 1) * blockSizeBytes);
        const message = chunk === null ? block : Buffer.concat([prefix, block]);
        const expected = hash('sha256', message, 'buffer');
        assert.ok(digests.subarray(index * 32, index * 32 + 32).equals(expected));
      }
    }
  }
});
