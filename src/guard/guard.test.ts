import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import * as fc from 'fast-check';
import type { GuardedCapture, GuestRescue } from '../data-plane/hypervisor/freeze-guard.ts';
import { systemClock } from '../shared/clock.ts';
import { OperationError, type ErrorCode } from '../shared/errors.ts';
import { silentLogger } from '../shared/logger.ts';
import { waitFor } from '../shared/waiting.ts';
import { createGuardClient } from './guard-client.ts';
import {
  LINE_BYTES_MAX,
  createLineReader,
  formatLine,
  requestSchema,
  type GuardRequest,
} from './guard-protocol.ts';
import { startGuard, type Guard } from './guard.ts';

const LIMIT_MS = 5_000;
const LONG_MS = 60_000;

/** Guests in memory: what is marked, and what was let go. */
function createFakeRescue() {
  const marks = new Map<string, GuardedCapture & { ownerAlive: boolean }>();
  const released: string[] = [];
  const waiting = new Map<string, () => void>();
  let failures = 0;
  const rescue: GuestRescue = {
    listMarked: async () => await Promise.resolve([...marks.values()]),
    readMark: async (captureId) => await Promise.resolve(marks.get(captureId) ?? null),
    async release({ captureId }) {
      if (failures > 0) {
        failures -= 1;
        throw new Error('libvirt restarts');
      }
      released.push(captureId);
      marks.delete(captureId);
      waiting.get(captureId)?.();
      await Promise.resolve();
    },
    close: async () => await Promise.resolve(),
  };
  return {
    rescue,
    marks,
    released,
    failNext: (times: number) => {
      failures = times;
    },
    async untilReleased(captureId: string): Promise<void> {
      if (released.includes(captureId)) return;
      const done = new Promise<void>((resolve) => waiting.set(captureId, resolve));
      await waitFor(done, { timeoutMs: LIMIT_MS, what: 'Letting the guest go' });
    },
  };
}

const newCapture = (holds: GuardedCapture['holds'] = 'suspended'): GuardedCapture => ({
  captureId: randomUUID(),
  vmId: randomUUID(),
  wasRunning: true,
  holds,
});

const hasCode =
  (code: ErrorCode) =>
  (error: unknown): boolean =>
    error instanceof OperationError && error.code === code;

let folder = '';
let fake = createFakeRescue();
const guards = new Set<Guard>();
const clients = new Set<{ close(): void }>();

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'komadori-guard-'));
});
afterEach(async () => {
  for (const client of clients) client.close();
  for (const guard of guards) await guard.close();
  clients.clear();
  guards.clear();
  fake = createFakeRescue();
});
after(async () => await rm(folder, { recursive: true, force: true }));

const socketPath = (): string => path.join(folder, 'guard.sock');

async function start(): Promise<Guard> {
  const guard = await startGuard({
    socketPath: socketPath(),
    rescue: fake.rescue,
    clock: systemClock,
    logger: silentLogger,
  });
  guards.add(guard);
  return guard;
}

async function stop(guard: Guard): Promise<void> {
  guards.delete(guard);
  await guard.close();
}

function newClient() {
  const client = createGuardClient({ socketPath: socketPath(), logger: silentLogger });
  clients.add(client);
  return client;
}

/** As the libvirt driver does: the mark first, then the guard. */
async function hold(
  client: ReturnType<typeof newClient>,
  capture: GuardedCapture,
  deadlineMs: number | null,
): Promise<void> {
  fake.marks.set(capture.captureId, { ...capture, ownerAlive: true });
  await client.arm(capture, deadlineMs);
}

/** Sends raw bytes and resolves when the guard has hung up. */
async function sendRaw(...pieces: (string | Buffer)[]): Promise<void> {
  const socket = connect(socketPath());
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  // The guard may hang up while we still write.
  socket.on('error', () => undefined);
  for (const piece of pieces) socket.write(piece);
  await waitFor(closed, { timeoutMs: LIMIT_MS, what: 'Being cut off' });
}

describe('the guard lets a guest go (invariant 1)', () => {
  test('at once when the worker dies', async () => {
    await start();
    const client = newClient();
    const capture = newCapture();
    await hold(client, capture, LONG_MS);
    const startedMs = performance.now();
    client.close();
    await fake.untilReleased(capture.captureId);
    assert.ok(performance.now() - startedMs < 1_000);
  });

  test('also a capture that holds nothing, for its backup job', async () => {
    await start();
    const client = newClient();
    const capture = newCapture('nothing');
    await hold(client, capture, null);
    client.close();
    await fake.untilReleased(capture.captureId);
  });

  test('when the deadline passes, and the worker hears of it', async () => {
    await start();
    const client = newClient();
    const capture = newCapture();
    await hold(client, capture, 30);
    await fake.untilReleased(capture.captureId);
    await assert.rejects(client.arm({ ...capture, holds: 'nothing' }, null), hasCode('timed_out'));
  });

  test('not when its mark says that it is free by now', async () => {
    const guard = await start();
    const client = newClient();
    const capture = newCapture();
    await hold(client, capture, 10);
    fake.marks.set(capture.captureId, { ...capture, holds: 'nothing', ownerAlive: true });
    const other = newCapture();
    await hold(client, other, 50);
    await fake.untilReleased(other.captureId);
    assert.deepEqual(fake.released, [other.captureId]);
    assert.equal(guard.watched, 2);
  });

  test('not when it was told of more time, or of the end', async () => {
    await start();
    const client = newClient();
    const [longer, over, last] = [newCapture(), newCapture(), newCapture()];
    await hold(client, longer, 20);
    await hold(client, longer, LONG_MS);
    await hold(client, over, 20);
    await client.disarm(over.captureId);
    await hold(client, last, 60);
    await fake.untilReleased(last.captureId);
    assert.deepEqual(fake.released, [last.captureId]);
  });

  test('again and again until it works', async () => {
    await start();
    const client = newClient();
    const capture = newCapture();
    await hold(client, capture, LONG_MS);
    fake.failNext(2);
    client.close();
    await fake.untilReleased(capture.captureId);
  });

  test('of a dead worker only, not of the others', async () => {
    await start();
    const [dying, living] = [newClient(), newClient()];
    const [lost, kept] = [newCapture(), newCapture()];
    await hold(dying, lost, LONG_MS);
    await hold(living, kept, LONG_MS);
    dying.close();
    await fake.untilReleased(lost.captureId);
    assert.deepEqual(fake.released, [lost.captureId]);
    await living.disarm(kept.captureId);
  });

  test('after its own death: at its start, from the mark of a dead worker', async () => {
    const capture = newCapture('frozen');
    fake.marks.set(capture.captureId, { ...capture, ownerAlive: false });
    await start();
    await fake.untilReleased(capture.captureId);
  });

  test('after its own death: a living worker comes back, and its death is noticed again', async () => {
    const first = await start();
    const client = newClient();
    const capture = newCapture();
    await hold(client, capture, LONG_MS);
    // Its socket is cut with it; the mark of a living worker is not touched.
    const mark = fake.marks.get(capture.captureId)!;
    fake.marks.delete(capture.captureId);
    await stop(first);
    fake.marks.set(capture.captureId, mark);
    await start();
    await client.arm(capture, LONG_MS);
    assert.deepEqual(fake.released, []);
    client.close();
    await fake.untilReleased(capture.captureId);
  });

  test('after its own death: of a living worker that never comes back', async () => {
    const capture = newCapture();
    fake.marks.set(capture.captureId, { ...capture, ownerAlive: true });
    await start();
    await fake.untilReleased(capture.captureId);
  });
});

describe('without a guard', () => {
  test('nothing can be held', async () => {
    await rm(socketPath(), { force: true });
    await assert.rejects(newClient().arm(newCapture(), LONG_MS), hasCode('unreachable'));
  });

  test('one that ends takes nothing new and waits for what is held', async () => {
    const guard = await start();
    const client = newClient();
    const capture = newCapture();
    await hold(client, { ...capture, holds: 'nothing' }, null);
    const drained = guard.drain();
    await hold(client, capture, LONG_MS);
    await assert.rejects(client.arm(newCapture('nothing'), null), hasCode('limit_reached'));
    await client.disarm(capture.captureId);
    await waitFor(drained, { timeoutMs: LIMIT_MS, what: 'The end of the guard' });
  });
});

describe('what the guard hears is input', () => {
  test('nonsense is cut off and its captures are let go; others stay', async () => {
    await start();
    const living = newClient();
    const kept = newCapture();
    await hold(living, kept, LONG_MS);
    const capture = newCapture();
    fake.marks.set(capture.captureId, { ...capture, ownerAlive: true });
    const arm: GuardRequest = { type: 'arm', id: 1, capture, deadlineMs: LONG_MS };
    const socket = connect(socketPath());
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.write(formatLine(arm));
    await new Promise<void>((resolve) => socket.once('data', () => resolve()));
    socket.write('nonsense\n');
    await waitFor(closed, { timeoutMs: LIMIT_MS, what: 'Being cut off' });
    await fake.untilReleased(capture.captureId);
    for (const wrong of [
      '{}\n',
      '[]\n',
      'null\n',
      formatLine({ ...arm, deadlineMs: -1 }),
      formatLine({ ...arm, capture: { ...capture, vmId: '../../etc' } }),
      JSON.stringify({ ...arm, more: true }) + '\n',
      'x'.repeat(LINE_BYTES_MAX + 1),
      Buffer.alloc(1024 * 1024, 0x20),
    ]) {
      await sendRaw(wrong);
    }
    assert.deepEqual(fake.released, [capture.captureId]);
    await living.disarm(kept.captureId);
  });

  test('an end that is not known is no error', async () => {
    await start();
    const client = newClient();
    const capture = newCapture();
    await hold(client, capture, LONG_MS);
    await newClient().disarm(randomUUID());
    await client.disarm(capture.captureId);
    await client.disarm(capture.captureId);
    assert.deepEqual(fake.released, []);
  });

  test('more clients than it takes do not disturb those it has', async () => {
    await start();
    const client = newClient();
    const capture = newCapture();
    await hold(client, capture, LONG_MS);
    const sockets = Array.from({ length: 100 }, () => connect(socketPath()));
    for (const socket of sockets) socket.on('error', () => undefined);
    await hold(client, capture, LONG_MS);
    await client.disarm(capture.captureId);
    for (const socket of sockets) socket.destroy();
    assert.deepEqual(fake.released, []);
  });

  test('its socket is ours alone, and nothing else is left in the folder', async () => {
    await start();
    assert.equal((await stat(socketPath())).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(folder), ['guard.sock']);
  });

  test('lines survive being cut anywhere', () => {
    const messages: GuardRequest[] = [
      { type: 'arm', id: 1, capture: newCapture(), deadlineMs: null },
      { type: 'disarm', id: 2, captureId: 'é' },
      { type: 'arm', id: 3, capture: newCapture('frozen'), deadlineMs: 5 },
    ];
    const bytes = Buffer.from(messages.map(formatLine).join(''));
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 20 }), (cuts) => {
        const reader = createLineReader(requestSchema);
        const edges = [0, ...cuts.sort((a, b) => a - b), bytes.length];
        const read = edges.flatMap((edge, index) =>
          index === 0 ? [] : reader.push(bytes.subarray(edges[index - 1], edge)),
        );
        assert.deepEqual(read, messages);
      }),
    );
  });

  test('any bytes give messages or a typed error', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 4096 }), { maxLength: 4 }), (pieces) => {
        const reader = createLineReader(requestSchema);
        try {
          for (const piece of pieces) reader.push(Buffer.from(piece));
        } catch (error) {
          assert.ok(hasCode('protocol_error')(error));
        }
      }),
    );
  });
});
