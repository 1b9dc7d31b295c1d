import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { OperationError } from '../../shared/errors.ts';
import type { NbdConnection } from './client.ts';
import { listNbdExports, openNbdClient } from './client.ts';
import type { ByteSink } from './wire.ts';
import type { PendingRequest } from './reply-reader.ts';
import { createReplyReader } from './reply-reader.ts';
import { COMMAND } from './protocol.ts';
import { createTestFolder } from './testing.ts';

const text = (value: string): number[] => [...Buffer.from(value)];
const u16 = (value: number): number[] => [value >>> 8, value & 255];
const u32 = (value: number): number[] => [...u16(value >>> 16), ...u16(value & 0xffff)];
const u64 = (value: number): number[] => [
  ...u32(Math.floor(value / 2 ** 32)),
  ...u32(value % 2 ** 32),
];

const GREETING = [...text('NBDMAGIC'), ...text('IHAVEOPT'), 0, 3]; // fixed newstyle, no zeroes
const optionReply = (option: number, type: number, data: number[] = []): number[] => [
  ...u64(0x3e889045565a9), // reply magic
  ...u32(option),
  ...u32(type),
  ...u32(data.length),
  ...data,
];
const STRUCTURED = optionReply(8, 1); // ACK of STRUCTURED_REPLY
const CONTEXT = [
  ...optionReply(10, 4, [...u32(7), ...text('base:allocation')]), // META_CONTEXT with id 7
  ...optionReply(10, 1),
];
const INFO_EXPORT = optionReply(7, 3, [0, 0, ...u64(1 << 20), 0, 3]); // 1 MiB, HAS_FLAGS, READ_ONLY
const GO = [...INFO_EXPORT, ...optionReply(7, 1)];

const simple = (errno: number, cookie: number): number[] => [
  ...u32(0x67446698),
  ...u32(errno),
  ...u64(cookie),
];
const chunk = (flags: number, type: number, cookie: number, payload: number[]): number[] => [
  ...u32(0x668e33ef),
  ...u16(flags),
  ...u16(type),
  ...u64(cookie),
  ...u32(payload.length),
  ...payload,
];
const data = (flags: number, offset: number, lengthBytes: number, fill = 0xaa): number[] =>
  chunk(flags, 1, 1, [...u64(offset), ...Array.from({ length: lengthBytes }, () => fill)]);
const hole = (flags: number, offset: number, lengthBytes: number): number[] =>
  chunk(flags, 2, 1, [...u64(offset), ...u32(lengthBytes)]);

/** Sends each script entry as the answer to the next thing the client says. */
async function withScript<T>(
  script: readonly number[][],
  work: (socketPath: string) => Promise<T>,
): Promise<T> {
  await using folder = await createTestFolder();
  const socketPath = folder.file('nbd');
  const clients = new Set<Socket>();
  const server = createServer((socket) => {
    clients.add(socket);
    const steps = [...script];
    const next = (): void => {
      const step = steps.shift();
      if (step !== undefined) socket.write(Uint8Array.from(step));
    };
    socket.on('error', () => undefined).on('data', next);
    next();
  });
  await new Promise<void>((resolve) => {
    server.listen(socketPath, resolve);
  });
  try {
    return await work(socketPath);
  } finally {
    for (const client of clients) client.destroy();
    await new Promise((resolve) => {
      server.close(resolve);
    });
  }
}

const open = async (socketPath: string): Promise<NbdConnection> =>
  await openNbdClient({
    address: { socketPath },
    exportName: '',
    metaContexts: ['base:allocation'],
    connectTimeoutMs: 2000,
    requestTimeoutMs: 500,
  });

const HANDSHAKE = [GREETING, STRUCTURED, CONTEXT, GO];
const protocolError = { name: 'OperationError', code: 'protocol_error' };

// The client sends its flags and STRUCTURED_REPLY at once, so both count as one message.
describe('NBD client against a broken handshake', () => {
  const cases: Record<string, number[][]> = {
    'another protocol': [text('HTTP/1.1 400 Bad Request\r\n')],
    'an oldstyle server': [[...text('NBDMAGIC'), 0, 0, 0x42, 0x02, 0x81, 0x86, 0x12, 0x53, 0, 0]],
    'no fixed newstyle': [[...text('NBDMAGIC'), ...text('IHAVEOPT'), 0, 0]],
    'a wrong reply magic': [GREETING, Array.from({ length: 20 }, () => 1)],
    'an answer to another option': [GREETING, optionReply(3, 1)],
    'a reply of 4 GiB': [GREETING, [...optionReply(8, 1).slice(0, 16), ...u32(0xffffffff)]],
    'a broken meta context': [
      GREETING,
      STRUCTURED,
      [...optionReply(10, 4, [1, 2]), ...optionReply(10, 1)],
    ],
    'one id for two contexts': [
      GREETING,
      STRUCTURED,
      [...optionReply(10, 4, [...u32(7), ...text('a')]), ...CONTEXT],
    ],
    'no size': [GREETING, STRUCTURED, CONTEXT, optionReply(7, 1)],
    'a size of 2^63': [
      GREETING,
      STRUCTURED,
      CONTEXT,
      [...optionReply(7, 3, [0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 3]), ...optionReply(7, 1)],
    ],
    'a block size that is no power of two': [
      GREETING,
      STRUCTURED,
      CONTEXT,
      [
        ...INFO_EXPORT,
        ...optionReply(7, 3, [0, 3, ...u32(3), ...u32(4096), ...u32(65_536)]),
        ...optionReply(7, 1),
      ],
    ],
    'a reply before any request': [GREETING, STRUCTURED, CONTEXT, [...GO, ...simple(0, 1)]],
    'infos without end': [
      GREETING,
      STRUCTURED,
      CONTEXT,
      Array.from({ length: 300 }, () => INFO_EXPORT).flat(),
    ],
  };
  for (const [name, script] of Object.entries(cases)) {
    it(`refuses ${name}`, async () => {
      await assert.rejects(withScript(script, open), protocolError);
    });
  }

  it('gives up on a server that says nothing', async () => {
    const silent = (socketPath: string) =>
      openNbdClient({ address: { socketPath }, exportName: '', connectTimeoutMs: 100 });
    await assert.rejects(withScript([], silent), { code: 'timed_out' });
  });

  it('refuses a list whose name is longer than its reply', async () => {
    const broken = optionReply(3, 2, [...u32(100), ...text('x')]);
    const script = [GREETING, STRUCTURED, [...broken, ...optionReply(3, 1)]];
    const list = (socketPath: string) => listNbdExports({ address: { socketPath } });
    await assert.rejects(withScript(script, list), protocolError);
  });
});

describe('NBD client against broken replies', () => {
  const reads: Record<string, number[]> = {
    'a wrong magic': text('NBDMAGICNBDMAGIC'),
    'a request that nobody made': chunk(1, 0, 99, []),
    'a read without structure': [...simple(0, 1), 1, 2, 3],
    'data outside the range': data(1, 4096, 16),
    'data before the range': data(1, 0, 16),
    'too much data': data(1, 512, 513),
    'the same data twice': [...data(0, 512, 512), ...data(1, 1023, 1)],
    'a part only': data(1, 512, 511),
    'nothing at all': chunk(1, 0, 1, []),
    'a data chunk without data': chunk(1, 1, 1, u64(512)),
    'a hole of nothing': hole(1, 512, 0),
    'a hole of a wrong length': chunk(1, 2, 1, [1, 2, 3]),
    'a status that nobody asked for': chunk(1, 5, 1, [...u32(7), ...u32(512), ...u32(0)]),
    'an empty chunk that is not the last': chunk(0, 0, 1, []),
    'a chunk of an unknown type': chunk(1, 99, 1, []),
    'an error without a number': chunk(1, 0x8001, 1, [...u32(0), ...u16(0)]),
    'an error whose text is longer than it': chunk(1, 0x8001, 1, [...u32(5), ...u16(9), 0x41]),
    'an offset of 2^63': chunk(1, 1, 1, [0x80, 0, 0, 0, 0, 0, 0, 0, 1]),
  };
  for (const [name, reply] of Object.entries(reads)) {
    it(`refuses ${name} as the answer to a read`, async () => {
      await withScript([...HANDSHAKE, reply], async (socketPath) => {
        const client = await open(socketPath);
        await assert.rejects(client.readInto(512, new Uint8Array(512)), protocolError);
        assert.equal((await client.closed).code, 'protocol_error');
      });
    });
  }

  const statuses: Record<string, number[]> = {
    nothing: simple(0, 1),
    'an extent of nothing': chunk(1, 5, 1, [...u32(7), ...u32(0), ...u32(0)]),
    'a context of its own': chunk(1, 5, 1, [...u32(8), ...u32(512), ...u32(0)]),
    'half an extent': chunk(1, 5, 1, [...u32(7), ...u32(512), ...u16(0)]),
    'extents beyond the range': chunk(1, 5, 1, [
      ...u32(7),
      ...u32(2 << 20),
      ...u32(0),
      ...u32(512),
      ...u32(0),
    ]),
    'an end without a status': chunk(1, 0, 1, []),
  };
  for (const [name, reply] of Object.entries(statuses)) {
    it(`refuses ${name} as the answer to a status request`, async () => {
      await withScript([...HANDSHAKE, reply], async (socketPath) => {
        const client = await open(socketPath);
        await assert.rejects(client.blockStatus(0, 1 << 20, 'base:allocation'), protocolError);
      });
    });
  }

  it('limits how many extents it takes', async () => {
    await withScript(
      [
        ...HANDSHAKE,
        chunk(1, 5, 1, [...u32(7), ...[0, 1, 0, 1].flatMap((flag) => [...u32(512), ...u32(flag)])]),
      ],
      async (socketPath) => {
        const client = await open(socketPath);
        const extents = client.extents('base:allocation', { maxExtents: 3 });
        await assert.rejects(Array.fromAsync(extents), protocolError);
      },
    );
  });

  it("reports a server's error by name and goes on", async () => {
    const remark = [...u32(28), ...u16(4), ...text('full')];
    await withScript(
      [...HANDSHAKE, chunk(1, 0x8001, 1, remark), chunk(1, 1, 2, [...u64(0), 0x42])],
      async (socketPath) => {
        const client = await open(socketPath);
        await assert.rejects(client.readInto(0, new Uint8Array(1)), (error) => {
          assert.ok(error instanceof OperationError);
          assert.equal(error.code, 'insufficient_space');
          assert.equal(error.details['errno'], 'ENOSPC');
          return true;
        });
        const target = new Uint8Array(1);
        await client.readInto(0, target);
        assert.equal(target[0], 0x42);
      },
    );
  });

  it('gives up on a request without an answer', async () => {
    await withScript(HANDSHAKE, async (socketPath) => {
      const client = await open(socketPath);
      await assert.rejects(client.readInto(0, new Uint8Array(1)), { code: 'timed_out' });
      assert.equal((await client.closed).code, 'timed_out');
    });
  });

  it('never touches the buffer of a cancelled read', async () => {
    await withScript(
      [...HANDSHAKE, chunk(1, 1, 2, [...u64(0), 7]), chunk(1, 1, 1, [...u64(0), 9])],
      async (socketPath) => {
        const client = await open(socketPath);
        const target = new Uint8Array(1);
        const cancel = new AbortController();
        const cancelled = client.readInto(0, target, cancel.signal);
        cancel.abort();
        await assert.rejects(cancelled, { code: 'cancelled' });
        const other = new Uint8Array(1);
        await client.readInto(0, other);
        assert.deepEqual([target[0], other[0]], [0, 7]);
      },
    );
  });
});

function feed(sink: ByteSink, bytes: Uint8Array, cuts: readonly number[]): void {
  let position = 0;
  const ends = [...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  for (const end of ends) {
    while (position < end) {
      const room = sink.nextBuffer();
      const piece = bytes.subarray(position, Math.min(end, position + room.length));
      room.set(piece);
      sink.filled(piece.length);
      position += piece.length;
    }
  }
}

describe('NBD reply reader', () => {
  const pendingRead = (target: Uint8Array): PendingRequest => ({
    command: COMMAND.read,
    offset: 512,
    lengthBytes: target.length,
    target,
    covered: [],
    statuses: new Map(),
    failure: null,
  });
  const readerFor = (requests: Map<number, PendingRequest>, onFinish: (cookie: number) => void) =>
    createReplyReader({
      where: 'test',
      structuredReplies: true,
      contextIds: new Set([7]),
      find: (cookie) => requests.get(cookie),
      finish: (cookie) => onFinish(cookie),
    });

  it('reads the same from a stream however it is cut', () => {
    const stream = Uint8Array.from([
      ...data(0, 1024, 512, 3),
      ...chunk(1, 1, 2, [...u64(512), 1, 2, 3]),
      ...hole(0, 768, 256),
      ...data(1, 512, 256, 4),
    ]);
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 12 }), (cuts) => {
        const first = new Uint8Array(1024).fill(0xee);
        const second = new Uint8Array(3);
        const finished: number[] = [];
        const requests = new Map([
          [1, pendingRead(first)],
          [2, pendingRead(second)],
        ]);
        feed(
          readerFor(requests, (cookie) => finished.push(cookie)),
          stream,
          cuts,
        );
        const expected = new Uint8Array(1024).fill(4, 0, 256).fill(3, 512);
        assert.deepEqual(first, expected);
        assert.deepEqual([...second], [1, 2, 3]);
        assert.deepEqual(finished, [2, 1]);
      }),
    );
  });

  it('meets random bytes with a typed error or patience, never with a crash', () => {
    const magic = fc.constantFrom([0x66, 0x8e, 0x33, 0xef], [0x67, 0x44, 0x66, 0x98], []);
    const cookie = fc.constantFrom(u64(1), u64(2), u64(2 ** 60));
    const small = fc.constantFrom(0, 1, 2, 5, 6, 0x8001, 0x8002, 77);
    const stream = fc.array(
      fc.tuple(magic, small, cookie, fc.nat(40), fc.uint8Array({ maxLength: 48 })),
      { maxLength: 5 },
    );
    fc.assert(
      fc.property(stream, fc.array(fc.nat(), { maxLength: 4 }), (replies, cuts) => {
        const bytes = replies.flatMap(([start, type, id, lengthBytes, rest]) => [
          ...start,
          ...u16(type & 1),
          ...u16(type),
          ...id,
          ...u32(lengthBytes),
          ...rest,
        ]);
        const requests = new Map([
          [1, pendingRead(new Uint8Array(64))],
          [2, { ...pendingRead(new Uint8Array(0)), command: COMMAND.blockStatus, lengthBytes: 64 }],
        ]);
        const reader = readerFor(requests, (done) => requests.delete(done));
        try {
          feed(reader, Uint8Array.from(bytes), cuts);
        } catch (error) {
          assert.ok(error instanceof OperationError, String(error));
          assert.equal(error.code, 'protocol_error');
        }
      }),
      { numRuns: 500 },
    );
  });
});
