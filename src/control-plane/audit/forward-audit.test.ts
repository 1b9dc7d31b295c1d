import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { silentLogger } from '../../shared/logger.ts';
import { waitFor } from '../../shared/waiting.ts';
import { openCatalog, type Catalog } from '../database/catalog.ts';
import { readForwardPosition } from '../database/forward-position.ts';
import { appendAuditEvent } from './audit-trail.ts';
import { forwardAudit } from './forward-audit.ts';
import { formatSyslogFrame } from './syslog-message.ts';
import { FIRST_PREVIOUS_HASH } from './audit-chain.ts';

interface Receiver {
  readonly port: number;
  readonly sequences: number[];
  until(sequence: number): Promise<void>;
  kill(): Promise<void>;
}

/** Reads frames as RFC 6587 says; what is not one ends the test. */
function parseFrames(bytes: Buffer): { frames: string[]; rest: Buffer } {
  const frames: string[] = [];
  let rest = bytes;
  for (;;) {
    const space = rest.indexOf(0x20);
    if (space < 0) return { frames, rest };
    const length = Number(rest.subarray(0, space).toString());
    assert.ok(Number.isSafeInteger(length) && length > 0);
    if (rest.length < space + 1 + length) return { frames, rest };
    frames.push(rest.subarray(space + 1, space + 1 + length).toString());
    rest = rest.subarray(space + 1 + length);
  }
}

async function startReceiver(
  t: TestContext,
  options: { port?: number; dieAfterBytes?: number } = {},
): Promise<Receiver> {
  const sequences: number[] = [];
  const sockets = new Set<Socket>();
  let seen: () => void = () => undefined;
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined /* killed on purpose */);
    let rest: Buffer = Buffer.alloc(0);
    let bytes = 0;
    socket.on('data', (part) => {
      bytes += part.length;
      const parsed = parseFrames(Buffer.concat([rest, part]));
      ({ rest } = parsed);
      for (const frame of parsed.frames)
        sequences.push(Number(/ sequence="(\d+)"/.exec(frame)?.[1]));
      if (options.dieAfterBytes !== undefined && bytes > options.dieAfterBytes)
        socket.resetAndDestroy();
      seen();
    });
  });
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');
  const kill = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    if (!server.listening) return;
    server.close();
    await once(server, 'close');
  };
  t.after(kill);
  return {
    port: (server.address() as AddressInfo).port,
    sequences,
    until: async (sequence) => {
      const reached = Promise.withResolvers<void>();
      seen = () => {
        if (sequences.includes(sequence)) reached.resolve();
      };
      seen();
      await waitFor(reached.promise, { timeoutMs: 15_000, what: `Receiving event ${sequence}` });
    },
    kill,
  };
}

async function startCatalog(t: TestContext): Promise<Catalog> {
  const folder = await mkdtemp(path.join(tmpdir(), 'forward-'));
  const catalog = await openCatalog({ path: path.join(folder, 'catalog.db') });
  t.after(async () => {
    await catalog.close();
    await rm(folder, { recursive: true });
  });
  return catalog;
}

const append = (catalog: Catalog, count: number) =>
  catalog.write(async (tx) => {
    for (let n = 0; n < count; n += 1)
      await appendAuditEvent(tx, {
        at: '2026-01-02T03:04:05.678Z',
        actor: { id: 'a', name: 'Ann', kind: 'user' },
        action: 'test.act',
        resourceType: 'x',
        outcome: 'intent',
        details: { filler: 'x'.repeat(500) },
      });
  });

function forward(t: TestContext, catalog: Catalog, port: number): () => Promise<void> {
  const stop = new AbortController();
  const done = forwardAudit({
    catalog,
    receiver: { host: '127.0.0.1', port, tls: null },
    hostname: 'host-1',
    logger: silentLogger,
    signal: stop.signal,
    pollMs: 5,
    firstDelayMs: 5,
  });
  const end = async (): Promise<void> => {
    stop.abort();
    await waitFor(done, { timeoutMs: 5000, what: 'Ending the forwarding' });
  };
  t.after(end);
  return end;
}

const numbers = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

test('events arrive in order and once, and go on where they ended after a restart', async (t) => {
  const catalog = await startCatalog(t);
  const receiver = await startReceiver(t);
  await append(catalog, 450);
  const end = forward(t, catalog, receiver.port);
  await receiver.until(450);
  await append(catalog, 3);
  await receiver.until(453);
  await end();
  const position = await readForwardPosition(catalog.read);
  forward(t, catalog, receiver.port);
  await append(catalog, 2);
  await receiver.until(455);
  assert.deepEqual([...new Set(receiver.sequences)], numbers(1, 455));
  assert.ok(receiver.sequences.length - 455 <= 453 - position);
});

test('nothing is lost when the receiver dies in the middle and comes back', async (t) => {
  const catalog = await startCatalog(t);
  await append(catalog, 350);
  const dying = await startReceiver(t, { dieAfterBytes: 60_000 });
  forward(t, catalog, dying.port);
  await dying.until(1);
  await dying.kill();
  assert.equal(await readForwardPosition(catalog.read), 0, 'half a batch counts for nothing');
  await append(catalog, 50);
  const back = await startReceiver(t, { port: dying.port });
  await back.until(400);
  assert.deepEqual(back.sequences, numbers(1, 400));
});

test('values are escaped, and none makes a line of its own', () => {
  const frame = formatSyslogFrame(
    {
      sequence: 7,
      at: '2026-01-02T03:04:05.678Z',
      actor: { id: 'a', name: 'A"]\\\n<13>1 forged', kind: 'user' },
      onBehalfOf: null,
      sourceAddress: '192.0.2.1',
      action: 'snapshot.delete now',
      resourceType: 'snapshot',
      resourceId: 'id',
      resourceName: '更新前',
      requestId: null,
      outcome: 'denied',
      reason: null,
      details: {},
      previousHash: FIRST_PREVIOUS_HASH,
      hash: 'ff',
    },
    'höst',
  );
  const { frames } = parseFrames(Buffer.from(frame));
  const [message = ''] = frames;
  assert.ok(
    message.startsWith(
      '<108>1 2026-01-02T03:04:05.678Z h_st komadori - snapshot.delete_now [komadori@32473 sequence="7" actorId="a" actorName="A\\"\\]\\\\ <13>1 forged"',
    ),
    message,
  );
  assert.ok(message.includes('resourceName="更新前"') && !message.includes('\n'));
});
