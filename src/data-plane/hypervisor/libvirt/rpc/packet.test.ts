import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { OperationError } from '../../../../shared/errors.ts';
import { hex } from './fake-daemon.ts';
import { createPacketReader, formatPacket, type Packet } from './packet.ts';

const isProtocolError = (error: unknown) =>
  error instanceof OperationError && error.code === 'protocol_error';

const TWO_PACKETS = hex(`
  00000020                    # 32 bytes, this word included
  20008086 00000001 0000009d  # remote program, version 1, procedure 157
  00000001 00000007 00000000  # reply, serial 7, ok
  0badcafe                    # payload
  0000001c                    # 28 bytes: the shortest packet
  6b656570 00000001 00000001  # keepalive program, ping
  00000002 00000000 00000000  # event, serial 0, ok
`);

function readAll(chunks: readonly Buffer[]): Packet[] {
  const packets: Packet[] = [];
  const reader = createPacketReader((packet) => {
    packets.push({ ...packet, payload: Uint8Array.from(packet.payload) });
  });
  for (const chunk of chunks) reader.push(chunk);
  return packets;
}

test('packets are the same however the stream is cut', () => {
  const whole = readAll([TWO_PACKETS]);
  assert.equal(whole.length, 2);
  assert.deepEqual(whole[0], {
    program: 0x20008086,
    version: 1,
    procedure: 157,
    type: 1,
    serial: 7,
    status: 0,
    payload: Uint8Array.from([0x0b, 0xad, 0xca, 0xfe]),
  });
  for (let first = 0; first <= TWO_PACKETS.length; first += 1) {
    for (let second = first; second <= TWO_PACKETS.length; second += 1) {
      const chunks = [
        TWO_PACKETS.subarray(0, first),
        TWO_PACKETS.subarray(first, second),
        TWO_PACKETS.subarray(second),
      ];
      assert.deepEqual(readAll(chunks), whole, `cut at ${first} and ${second}`);
    }
  }
  assert.deepEqual(readAll(Array.from(TWO_PACKETS, (byte) => Buffer.from([byte]))), whole);
});

test('what is written is what is read', () => {
  const word = fc.integer({ min: 0, max: 0xffffffff });
  const packet = fc.record(
    {
      program: word,
      version: word,
      procedure: word,
      type: word,
      serial: word,
      status: word,
      payload: fc.uint8Array({ maxLength: 100 }),
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(
      fc.array(packet, { maxLength: 5 }),
      fc.integer({ min: 1, max: 60 }),
      (sent, size) => {
        const stream = Buffer.concat(sent.map((item) => formatPacket(item, item.payload)));
        const chunks: Buffer[] = [];
        for (let at = 0; at < stream.length; at += size)
          chunks.push(stream.subarray(at, at + size));
        assert.deepEqual(readAll(chunks), sent);
      },
    ),
  );
});

test('a length that cannot be true is refused as soon as it is there', () => {
  for (const length of ['00000000', '0000001b', '02000005', 'ffffffff']) {
    assert.throws(() => readAll([hex(length)]), isProtocolError);
  }
});

test('memory follows what arrived, not what was announced', () => {
  const reader = createPacketReader(() => assert.fail('nothing is complete'));
  const before = process.memoryUsage().arrayBuffers;
  reader.push(hex('02000004')); // 32 MiB announced
  for (let sent = 0; sent < 1000; sent += 1) reader.push(Buffer.from([0]));
  assert.ok(process.memoryUsage().arrayBuffers - before < 1024 * 1024);
});
