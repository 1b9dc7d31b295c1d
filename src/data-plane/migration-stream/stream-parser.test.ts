import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { OperationError } from '../../shared/errors.ts';
import { collectStream, synthesisInput } from './stream-collector.ts';
import {
  be32,
  be64,
  fixtureHead,
  fixtureMemory,
  fixtureRamPart,
  fixtureRamStart,
  fixtureStream,
  type FixtureStream,
  fixtureTail,
  RAM_ID,
} from './stream-fixture.ts';
import { measureSynthesizedStream, synthesizeStream } from './stream-synthesis.ts';

const PAGED_MIN = 1 << 20;
const page = (byte: number): Uint8Array => new Uint8Array(4096).fill(byte);

const SMALL: FixtureStream = {
  blocks: new Map([
    ['pc.ram', 3 << 20],
    ['pc.bios', 2 * 4096],
  ]),
  parts: [
    [
      { block: 'pc.ram', page: 0, content: page(1) },
      { block: 'pc.ram', page: 1, content: null },
      { block: 'pc.ram', page: 2, content: page(2) },
      { block: 'pc.ram', page: 700, content: page(3) },
    ],
    [
      { block: 'pc.bios', page: 0, content: page(4) },
      { block: 'pc.bios', page: 1, content: null },
    ],
    [
      { block: 'pc.bios', page: 1, content: page(5) },
      { block: 'pc.ram', page: 700, content: null },
      { block: 'pc.ram', page: 0, content: page(6) },
    ],
  ],
};

const pageArbitrary = fc.oneof(
  fc.constant(null),
  fc.nat(255).map((byte) => page(byte)),
);
const streamArbitrary: fc.Arbitrary<FixtureStream> = fc
  .record({
    ramPages: fc.integer({ min: 256, max: 1100 }),
    vgaPages: fc.integer({ min: 256, max: 600 }),
    romPages: fc.integer({ min: 1, max: 3 }),
  })
  .chain(({ ramPages, vgaPages, romPages }) => {
    const near = (count: number): fc.Arbitrary<number> =>
      fc.oneof(fc.nat(count - 1), fc.nat(Math.min(count - 1, 8)));
    const record = (block: string, count: number) =>
      fc.record({ block: fc.constant(block), page: near(count), content: pageArbitrary });
    const records = fc.array(
      fc.oneof(
        { weight: 4, arbitrary: record('pc.ram', ramPages) },
        { weight: 1, arbitrary: record('vga.vram', vgaPages) },
        { weight: 1, arbitrary: record('/rom@etc/acpi/tables', romPages) },
      ),
      { maxLength: 60 },
    );
    return fc.record({
      endless: fc.boolean(),
      blocks: fc.constant(
        new Map([
          ['pc.ram', ramPages * 4096],
          ['vga.vram', vgaPages * 4096],
          ['/rom@etc/acpi/tables', romPages * 4096],
        ]),
      ),
      parts: fc
        .array(records, { minLength: 1, maxLength: 5 })
        .filter((parts) => parts.some((part) => part.length > 0)),
    });
  });

function* split(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let at = 0, index = 0; at < bytes.length; index += 1) {
    const size = sizes[index % sizes.length] ?? 1;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

async function synthesize(collected: ReturnType<typeof collectStream>): Promise<Buffer> {
  const input = synthesisInput(collected);
  const pieces: Uint8Array[] = [];
  for await (const piece of synthesizeStream(input)) pieces.push(piece);
  const bytes = Buffer.concat(pieces);
  assert.equal(await measureSynthesizedStream(input), bytes.length);
  return bytes;
}

describe('migration stream', () => {
  test('pages and the rest are told apart', () => {
    const { result, memory, remainder } = collectStream([fixtureStream(SMALL)], {
      pagedBlockMinBytes: PAGED_MIN,
    });
    assert.ok(result.understood);
    assert.equal(result.machineType, 'pc-i440fx-7.2');
    assert.deepEqual(result.blocks, [
      { name: 'pc.ram', lengthBytes: 3 << 20, paged: true },
      { name: 'pc.bios', lengthBytes: 8192, paged: false },
    ]);
    assert.deepEqual([result.pages, result.zeroPages, result.ramSectionId], [6, 3, RAM_ID]);
    assert.ok(memory.get('pc.ram')?.equals(fixtureMemory(SMALL).get('pc.ram') ?? Buffer.alloc(0)));
    const head = Buffer.concat([fixtureHead(), fixtureRamStart(SMALL.blocks)]);
    assert.equal(result.pagesAtRemainderOffset, head.length);
    const footer = Buffer.concat([be64(0x10), Buffer.of(0x7e), be32(RAM_ID)]);
    const bios = Buffer.from('\x07pc.bios');
    assert.deepEqual(
      remainder,
      Buffer.concat([
        head,
        // The first part had nothing but pages of pc.ram; records that follow name their block each.
        Buffer.of(2),
        be32(RAM_ID),
        be64(0x08),
        bios,
        page(4),
        be64(4096 + 0x02),
        bios,
        Buffer.of(0),
        footer,
        Buffer.of(3),
        be32(RAM_ID),
        be64(4096 + 0x08),
        bios,
        page(5),
        footer,
        fixtureTail(),
      ]),
    );
  });

  test('any stream, split anywhere, keeps its memory through parsing and synthesis', async () => {
    await fc.assert(
      fc.asyncProperty(
        streamArbitrary,
        fc.array(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 70_000 })), {
          minLength: 1,
          maxLength: 6,
        }),
        fc.integer({ min: 1, max: 6 }),
        async (stream, sizes, buffers) => {
          const bytes = fixtureStream(stream);
          const options = { pagedBlockMinBytes: PAGED_MIN, buffers };
          const collected = collectStream(split(bytes, sizes), options);
          const expected = fixtureMemory(stream);
          for (const [name, content] of collected.memory) {
            assert.ok(expected.get(name)?.equals(content), name);
          }
          const again = await synthesize(collected);
          // With every block paged, the small ones are compared too.
          const { result, memory } = collectStream([again], { pagedBlockMinBytes: 0 });
          assert.ok(result.understood);
          assert.equal(memory.size, expected.size);
          for (const [name, content] of expected)
            assert.ok(memory.get(name)?.equals(content), name);
        },
      ),
      { numRuns: 40 },
    );
  });

  test('sequential pages come in whole windows, also when others cut in', () => {
    const pages = Array.from({ length: 768 }, (_, index) => ({
      block: 'pc.ram',
      page: index,
      content: page(1 + (index % 250)),
    }));
    const urgent = Array.from({ length: 3 }, (_, index) => ({
      block: 'pc.ram',
      page: 767 - index * 3,
      content: page(9),
    }));
    const mixed = [...pages.slice(0, 100), ...urgent, ...pages.slice(100, 500)];
    const { windows } = collectStream(
      [
        fixtureStream({
          blocks: new Map([['pc.ram', 3 << 20]]),
          parts: [[...mixed, ...pages.slice(500)]],
        }),
      ],
      { pagedBlockMinBytes: PAGED_MIN },
    );
    assert.equal(windows, 3);
  });

  test('what it does not know ends in a reason, with the whole stream where no page was taken', () => {
    const start = fixtureRamStart(SMALL.blocks);
    const section = (body: Buffer): Buffer =>
      Buffer.concat([fixtureHead(), start, Buffer.of(2), be32(RAM_ID), body]);
    const capability = (name: string): Buffer =>
      Buffer.concat([
        fixtureHead(),
        Buffer.of(5, 26),
        Buffer.from('configuration/capabilities'),
        be32(1),
        be32(1),
        Buffer.of(name.length),
        Buffer.from(name),
      ]);
    const cases: [Buffer, RegExp][] = [
      [Buffer.from('LibvirtQemudSave'), /no QEMU migration stream/],
      [Buffer.concat([Buffer.from('QEVM'), be32(2)]), /version 2/],
      [Buffer.concat([Buffer.from('QEVM'), be32(3), Buffer.alloc(5)]), /configuration/],
      [capability('x-ignore-shared'), /x-ignore-shared/],
      [capability('mapped-ram'), /mapped-ram/],
      [Buffer.concat([fixtureHead(), Buffer.of(8, 0, 3, 0, 16), Buffer.alloc(16)]), /command 3/],
      [Buffer.concat([fixtureHead(), Buffer.of(4), be32(1), Buffer.alloc(50)]), /type 4/],
      [
        Buffer.from(
          Buffer.concat([fixtureHead(), start]).toString('latin1').replace('\x03ram', '\x03vfi'),
          'latin1',
        ),
        /"vfi"/,
      ],
      [section(be64(0x40)), /0x40/],
      [section(be64(0x80)), /0x80/],
      [section(be64(0x100)), /0x100/],
      [section(be64(0x200)), /0x200/],
      [section(Buffer.concat([be64(0x08), Buffer.from('\x04what')])), /unknown block/],
      [section(Buffer.concat([be64((4 << 20) + 0x08), Buffer.from('\x06pc.ram')])), /beyond/],
      [section(be64(0x28)), /no block/],
      [section(Buffer.concat([be64(0x02), Buffer.from('\x06pc.ram'), Buffer.of(7)])), /one byte/],
      [section(Buffer.concat([be64(0x10), Buffer.alloc(5)])), /footer/],
      [Buffer.concat([fixtureHead(), start, start]), /second RAM/],
      [fixtureStream({ blocks: SMALL.blocks, parts: [[]] }), /another channel/],
    ];
    for (const [bytes, reason] of cases) {
      const stream = Buffer.concat([bytes, Buffer.from('the rest of it')]);
      for (const sizes of [[1 << 20], [1], [7, 3]]) {
        const { result, remainder } = collectStream(split(stream, sizes));
        assert.ok(!result.understood, String(reason));
        assert.match(result.reason, reason);
        assert.ok(result.remainderIsWholeStream);
        assert.ok(remainder.equals(stream), String(reason));
      }
    }
    const late = Buffer.concat([
      fixtureHead(),
      start,
      fixtureRamPart(2, SMALL.parts[0] ?? [], null).bytes,
      Buffer.of(2),
      be32(RAM_ID),
      be64(0x40),
    ]);
    const { result } = collectStream([late]);
    assert.ok(!result.understood && !result.remainderIsWholeStream);
  });

  test('a stream cut anywhere is an error', () => {
    const bytes = fixtureStream(SMALL);
    for (let length = 0; length < bytes.length; length += length > bytes.length - 200 ? 1 : 293) {
      assert.throws(
        () => collectStream([bytes.subarray(0, length)], { pagedBlockMinBytes: PAGED_MIN }),
        (error) => error instanceof OperationError && error.code === 'protocol_error',
        `cut at ${length}`,
      );
    }
  });

  test('random and damaged bytes end in a result or a protocol error', () => {
    const valid = fixtureStream(SMALL);
    const damaged = fc
      .array(fc.tuple(fc.nat(400), fc.nat(255)), { minLength: 1, maxLength: 8 })
      .map((changes) => {
        const bytes = Buffer.from(valid);
        for (const [at, value] of changes) bytes[at] = value;
        return bytes;
      });
    const random = fc
      .uint8Array({ maxLength: 300 })
      .map((bytes) => Buffer.concat([fixtureHead(), bytes]));
    fc.assert(
      fc.property(fc.oneof(damaged, random), (bytes) => {
        try {
          collectStream([bytes], { pagedBlockMinBytes: PAGED_MIN, buffers: 2 });
        } catch (error) {
          assert.ok(error instanceof OperationError, String(error));
        }
      }),
      { numRuns: 300 },
    );
  });

  test('synthesis refuses what cannot be put together and stops when told to', async () => {
    const collected = collectStream([fixtureStream(SMALL)], { pagedBlockMinBytes: PAGED_MIN });
    const input = synthesisInput(collected);
    const drain = async (stream: AsyncIterable<Uint8Array>): Promise<void> => {
      for await (const piece of stream) assert.ok(piece.length > 0);
    };
    await assert.rejects(
      drain(synthesizeStream({ ...input, pagesAtRemainderOffset: 1 << 30 })),
      OperationError,
    );
    await assert.rejects(drain(synthesizeStream(input, AbortSignal.abort())), OperationError);
    const [block] = input.blocks;
    assert.ok(block);
    const pages = { ...block.pages, readInto: () => Promise.reject(new Error('damaged chunk')) };
    await assert.rejects(
      drain(synthesizeStream({ ...input, blocks: [{ ...block, pages }] })),
      /damaged chunk/,
    );
  });
});
