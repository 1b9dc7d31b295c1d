import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { OperationError } from '../../shared/errors.ts';
import { COMMAND, MAGIC, viewOf, writeUint64 } from './protocol.ts';
import { createRequestQueue } from './request-queue.ts';
import type { ByteSink, Wire } from './wire.ts';

/** A wire whose other end is the test. */
function createLooseWire() {
  const dead = Promise.withResolvers<OperationError>();
  let sink: ByteSink | null = null;
  const sent: Uint8Array[][] = [];
  const wire: Wire = {
    closed: dead.promise,
    setSink(next) {
      sink = next;
    },
    write(parts) {
      sent.push([...parts]);
    },
    startTls: () => Promise.reject(new Error('not here')),
    async end() {
      dead.resolve(new OperationError('unreachable', 'closed'));
    },
    destroy: (reason) => dead.resolve(reason),
  };
  const receive = (bytes: Uint8Array): void => {
    for (const byte of bytes) {
      const room = sink?.nextBuffer();
      assert.ok(room);
      room[0] = byte;
      sink?.filled(1);
    }
  };
  return { wire, sent, receive };
}

function simpleReply(cookie: number): Uint8Array {
  const bytes = new Uint8Array(16);
  viewOf(bytes).setUint32(0, MAGIC.simpleReply);
  writeUint64(viewOf(bytes), 8, cookie);
  return bytes;
}

const OPTIONS = {
  where: 'test',
  structuredReplies: false,
  contextIds: new Set<number>(),
  maxRequestsInFlight: 2,
  requestTimeoutMs: 60_000,
};
const READ = { command: COMMAND.read, flags: 0, offset: 0, lengthBytes: 8 };

/** Whether a promise has settled, after everything that was ready has run. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  promise.then(
    () => (settled = true),
    () => (settled = true),
  );
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
  return settled;
}

describe('NBD request queue', () => {
  it('sends no more requests than the limit and keeps their order', async () => {
    const { wire, sent, receive } = createLooseWire();
    const queue = createRequestQueue(wire, OPTIONS);
    const targets = Array.from({ length: 4 }, () => new Uint8Array(8));
    const reads = targets.map((target) => queue.submit({ ...READ, target }));
    assert.equal(sent.length, 2);
    assert.equal(queue.load(), 4);
    for (const cookie of [2, 1, 4, 3]) {
      receive(simpleReply(cookie));
      receive(new Uint8Array(8).fill(cookie));
    }
    await Promise.all(reads);
    assert.deepEqual(
      targets.map((target) => target[7]),
      [1, 2, 3, 4],
    );
    await queue.close(1000);
  });

  it('keeps the buffer of a cancelled read until the data in flight is in', async () => {
    const { wire, receive } = createLooseWire();
    const queue = createRequestQueue(wire, OPTIONS);
    const cancel = new AbortController();
    const read = queue.submit({ ...READ, target: new Uint8Array(8), signal: cancel.signal });
    receive(simpleReply(1));
    receive(new Uint8Array(4));
    cancel.abort();
    assert.equal(await isSettled(read), false);
    receive(new Uint8Array(4));
    await assert.rejects(read, { code: 'cancelled' });
    const next = queue.submit({ ...READ, target: new Uint8Array(8) });
    receive(simpleReply(2));
    receive(new Uint8Array(8));
    await next;
    await queue.close(1000);
  });

  it('cuts the connection when that data does not come', async () => {
    const { wire, receive } = createLooseWire();
    const queue = createRequestQueue(wire, { ...OPTIONS, requestTimeoutMs: 50 });
    const cancel = new AbortController();
    const read = queue.submit({ ...READ, target: new Uint8Array(8), signal: cancel.signal });
    receive(simpleReply(1));
    receive(new Uint8Array(4));
    cancel.abort();
    await assert.rejects(read, { code: 'cancelled' });
    assert.equal((await wire.closed).code, 'cancelled');
  });

  it('keeps the payload of a cancelled write until the server has answered', async () => {
    const { wire, receive } = createLooseWire();
    const queue = createRequestQueue(wire, OPTIONS);
    const cancel = new AbortController();
    const write = queue.submit({
      ...READ,
      command: COMMAND.write,
      payload: new Uint8Array(8),
      signal: cancel.signal,
    });
    cancel.abort();
    assert.equal(await isSettled(write), false);
    receive(simpleReply(1));
    await assert.rejects(write, { code: 'cancelled' });
    await queue.close(1000);
  });

  it('forgets a cancelled request that waits', async () => {
    const { wire, sent, receive } = createLooseWire();
    const queue = createRequestQueue(wire, { ...OPTIONS, maxRequestsInFlight: 1 });
    const first = queue.submit({ ...READ, target: new Uint8Array(8) });
    const cancel = new AbortController();
    const second = queue.submit({ ...READ, target: new Uint8Array(8), signal: cancel.signal });
    cancel.abort();
    await assert.rejects(second, { code: 'cancelled' });
    receive(simpleReply(1));
    receive(new Uint8Array(8));
    await first;
    assert.equal(sent.length, 1);
    await queue.close(1000);
  });
});
