import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { OperationError } from '../../../../shared/errors.ts';
import { hex } from './fake-daemon.ts';
import { decodeErrorReport } from './libvirt-error.ts';
import { EVENT_SHAPES } from './events.ts';
import {
  decodeDomain,
  decodeDomainChild,
  decodeTypedParams,
  encodeDomain,
  encodeTypedParams,
} from './wire-types.ts';
import { createXdrDecoder, createXdrEncoder } from './xdr.ts';

const hasCode = (code: string) => (error: unknown) =>
  error instanceof OperationError && error.code === code;

const text = fc.string({ unit: 'grapheme' }).filter((value) => !value.includes('\0'));
const uuid = fc.uuid().map((value) => value.toLowerCase());
const domain = fc.record(
  { name: text, uuid, id: fc.integer({ min: -1, max: 0x7fffffff }) },
  { noNullPrototype: true },
);

test('every primitive comes back as it was written', () => {
  fc.assert(
    fc.property(
      fc.record(
        {
          int32: fc.integer({ min: -0x80000000, max: 0x7fffffff }),
          uint32: fc.integer({ min: 0, max: 0xffffffff }),
          int64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
          uint64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
          double: fc.double(),
          bool: fc.boolean(),
          string: text,
          optional: fc.option(text),
          opaque: fc.uint8Array({ maxLength: 40 }),
          list: fc.array(text, { maxLength: 10 }),
        },
        { noNullPrototype: true },
      ),
      (value) => {
        const encoder = createXdrEncoder();
        encoder.int32(value.int32);
        encoder.uint32(value.uint32);
        encoder.int64(value.int64);
        encoder.uint64(value.uint64);
        encoder.double(value.double);
        encoder.bool(value.bool);
        encoder.string(value.string);
        encoder.optionalString(value.optional);
        encoder.opaque(value.opaque);
        encoder.array(value.list, (item) => encoder.string(item));
        const bytes = encoder.finish();
        assert.equal(bytes.length % 4, 0);
        const decoder = createXdrDecoder(bytes);
        assert.deepEqual(
          {
            int32: decoder.int32(),
            uint32: decoder.uint32(),
            int64: decoder.int64(),
            uint64: decoder.uint64(),
            double: decoder.double(),
            bool: decoder.bool(),
            string: decoder.string(),
            optional: decoder.optionalString(),
            opaque: decoder.opaque(40),
            list: decoder.array(10, () => decoder.string()),
          },
          value,
        );
        decoder.finish();
      },
    ),
  );
});

test('a domain comes back as it was written', () => {
  fc.assert(
    fc.property(domain, (value) => {
      const encoder = createXdrEncoder();
      encodeDomain(encoder, value);
      assert.deepEqual(decodeDomain(createXdrDecoder(encoder.finish())), value);
    }),
  );
});

test('typed parameters have the layout libvirt uses', () => {
  const encoder = createXdrEncoder();
  encodeTypedParams(encoder, [
    { name: 'file', type: 'string', value: '/a' },
    { name: 'n', type: 'int', value: -1 },
    { name: 'big', type: 'ulong', value: 2n ** 64n - 1n },
  ]);
  const expected = hex(`
    00000003                    # three parameters
    00000004 66696c65           # "file"
    00000007 00000002 2f610000  # type 7 string "/a", padded
    00000001 6e000000           # "n", padded
    00000001 ffffffff           # type 1 int, -1
    00000003 62696700           # "big", padded
    00000004 ffffffff ffffffff  # type 4 unsigned hyper
  `);
  assert.deepEqual(Buffer.from(encoder.finish()), expected);
  assert.deepEqual(
    [...decodeTypedParams(createXdrDecoder(expected), 3)],
    [
      ['file', '/a'],
      ['n', -1],
      ['big', 2n ** 64n - 1n],
    ],
  );
});

test('an error report is read to its last field', () => {
  const report = decodeErrorReport(
    hex(`
      0000002a 0000000a           # code 42 no_domain, domain 10 qemu
      00000001 00000004 676f6e65  # message "gone"
      00000002                    # level error
      00000001 00000001 61000000  # a domain "a"
      000102030405060708090a0b0c0d0e0f ffffffff
      00000000 00000000 00000000  # no str1, str2, str3
      00000000 00000000           # int1, int2
      00000000                    # no network
    `),
  );
  assert.deepEqual(report, { number: 42, domain: 10, message: 'gone' });
});

test('what cannot be written is refused as invalid input', () => {
  const encoder = createXdrEncoder();
  assert.throws(() => encoder.string('a\0b'), hasCode('invalid_input'));
  assert.throws(() => encoder.string('x'.repeat(4 * 1024 * 1024 + 1)), hasCode('invalid_input'));
  assert.throws(() => encoder.uint32(-1), hasCode('invalid_input'));
  assert.throws(() => encoder.int32(1.5), hasCode('invalid_input'));
  assert.throws(() => encoder.uint64(2n ** 64n), hasCode('invalid_input'));
  assert.throws(
    () => encodeDomain(encoder, { name: 'x', uuid: 'no', id: 1 }),
    hasCode('invalid_input'),
  );
});

test('lengths and counts that cannot be true are refused before anything is allocated', () => {
  const decode = (bytes: string) => createXdrDecoder(hex(bytes));
  assert.throws(() => decode('ffffffff').string(), hasCode('protocol_error'));
  assert.throws(() => decode('00000005 6162').string(), hasCode('protocol_error'));
  assert.throws(() => decode('00003fff 00').array(0x4000, () => 1), hasCode('protocol_error'));
  assert.throws(
    () => decode('00000003 0000000000000000').array(2, () => 1),
    hasCode('protocol_error'),
  );
  assert.throws(() => decode('00000002').bool(), hasCode('protocol_error'));
  assert.throws(() => decode('0020000000000000').safeUint64(), hasCode('protocol_error'));
  assert.throws(() => decode('00').finish(), hasCode('protocol_error'));
});

test('arbitrary bytes either decode or are a protocol error, whatever is expected', () => {
  const shapes = [
    (bytes: Uint8Array) => decodeErrorReport(bytes),
    (bytes: Uint8Array) => decodeTypedParams(createXdrDecoder(bytes), 262_144),
    (bytes: Uint8Array) => {
      const decoder = createXdrDecoder(bytes);
      return decoder.array(16_384, () => decodeDomainChild(decoder));
    },
    ...Object.values(EVENT_SHAPES).map(
      (shape) => (bytes: Uint8Array) => shape.decode(createXdrDecoder(bytes)),
    ),
  ];
  // Small numbers are the interesting ones: they pass for lengths, counts and types.
  const word = fc.oneof(fc.integer({ min: 0, max: 8 }), fc.integer({ min: 0, max: 0xffffffff }));
  const input = fc.array(word, { maxLength: 40 }).map((words) => {
    const bytes = Buffer.alloc(words.length * 4);
    words.forEach((value, index) => bytes.writeUInt32BE(value, index * 4));
    return bytes;
  });
  fc.assert(
    fc.property(input, fc.constantFrom(...shapes), (bytes, decode) => {
      try {
        decode(bytes);
      } catch (error) {
        assert.ok(hasCode('protocol_error')(error), String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
