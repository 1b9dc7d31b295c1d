import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { serverEventSchema, type ServerEvent } from '../../contract/events.ts';
import { appendNotification, trimNotifications } from '../database/notifications.ts';
import { startTestServer, VM_ID, type TestServer } from './server.test-suite.ts';

const WAIT_MS = 10_000;

async function listen(server: TestServer): Promise<string> {
  return await server.app.listen({ host: '127.0.0.1', port: 0 });
}

interface Stream {
  readonly status: number;
  next(): Promise<ServerEvent>;
  /** Resolves when the server ends the stream. */
  ended(): Promise<void>;
  close(): void;
}

async function follow(
  t: TestContext,
  url: string,
  options: { token: string; headers?: Record<string, string> },
): Promise<Stream> {
  const stop = new AbortController();
  t.after(() => stop.abort());
  const response = await fetch(url, {
    headers: { authorization: `Bearer ${options.token}`, ...options.headers },
    signal: AbortSignal.any([stop.signal, AbortSignal.timeout(WAIT_MS)]),
  });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  assert.ok(reader);
  let text = '';
  const nextBlock = async (): Promise<string | undefined> => {
    for (;;) {
      const end = text.indexOf('\n\n');
      if (end >= 0) {
        const block = text.slice(0, end);
        text = text.slice(end + 2);
        return block;
      }
      const { value, done } = await reader.read();
      if (done) return undefined;
      text += value;
    }
  };
  return {
    status: response.status,
    next: async () => {
      for (;;) {
        const block = await nextBlock();
        assert.ok(block !== undefined, 'the stream ended');
        const [, id, type, data] = /^id: (\d+)\nevent: (\w+)\ndata: (.*)$/.exec(block) ?? [];
        if (data === undefined) continue;
        const event = serverEventSchema.parse(JSON.parse(data));
        assert.equal(String(event.sequence), id);
        assert.equal(event.type, type);
        return event;
      }
    },
    ended: async () => {
      while ((await nextBlock()) !== undefined);
    },
    close: () => stop.abort(),
  };
}

const notify = (
  server: TestServer,
  resource: 'vm' | 'snapshot' | 'audit-event',
  resourceId: string,
) =>
  server.catalog.write((tx) =>
    appendNotification(tx, {
      at: new Date(server.clock.nowMs).toISOString(),
      type: 'changed',
      resource,
      resourceId,
      vmId: null,
    }),
  );

test('what happens is told to those who follow, in order and once', async (t) => {
  const server = await startTestServer(t);
  const url = `${await listen(server)}/api/v1/events`;
  const token = await server.token('viewer');
  const stream = await follow(t, url, { token });
  await notify(server, 'vm', 'a');
  await notify(server, 'audit-event', 'not for viewers');
  await notify(server, 'snapshot', 'b');
  const [first, second] = [await stream.next(), await stream.next()];
  assert.deepEqual(
    [first, second].map((event) => 'id' in event && event.id),
    ['a', 'b'],
  );
  stream.close();
  await notify(server, 'vm', 'c');
  const resumed = await follow(t, url, {
    token,
    headers: { 'last-event-id': String(first.sequence) },
  });
  const events = [await resumed.next(), await resumed.next()];
  assert.deepEqual(
    events.map((event) => 'id' in event && event.id),
    ['b', 'c'],
  );
});

test('auditors hear of audit events, and filters keep others away', async (t) => {
  const server = await startTestServer(t);
  const url = `${await listen(server)}/api/v1/events?resource=audit-event&resource=snapshot`;
  const stream = await follow(t, url, { token: await server.token('auditor') });
  await notify(server, 'vm', 'a');
  await notify(server, 'audit-event', '7');
  assert.equal((await stream.next()).sequence > 0, true);
});

test('a client that was away too long is told to read everything again', async (t) => {
  const server = await startTestServer(t);
  const url = `${await listen(server)}/api/v1/events`;
  const token = await server.token('viewer');
  for (let n = 0; n < 10; n += 1) await notify(server, 'vm', VM_ID);
  await server.catalog.write((tx) => trimNotifications(tx, 2));
  for (const lastEventId of ['1', '999999']) {
    const stream = await follow(t, url, { token, headers: { 'last-event-id': lastEventId } });
    assert.equal((await stream.next()).type, 'resync');
    stream.close();
  }
  const stream = await follow(t, url, { token, headers: { 'last-event-id': 'x' } });
  assert.equal(stream.status, 400);
});

test('one principal can only open so many streams, and closed ones are free again', async (t) => {
  const server = await startTestServer(t);
  const url = `${await listen(server)}/api/v1/events`;
  const token = await server.token('viewer');
  const streams: Stream[] = [];
  for (let n = 0; n < 20; n += 1) streams.push(await follow(t, url, { token }));
  assert.equal((await follow(t, url, { token })).status, 429);
  assert.equal((await follow(t, url, { token: await server.token('auditor') })).status, 200);
  streams[0]?.close();
  const deadline = Date.now() + WAIT_MS;
  let status = 429;
  while (status === 429 && Date.now() < deadline) {
    ({ status } = await follow(t, url, { token }));
  }
  assert.equal(status, 200);
});

test('shutting down ends the streams', async (t) => {
  const server = await startTestServer(t);
  const url = `${await listen(server)}/api/v1/events`;
  const stream = await follow(t, url, { token: await server.token('viewer') });
  await server.app.close();
  await stream.ended();
});
