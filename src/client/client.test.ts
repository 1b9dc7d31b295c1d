import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { after, afterEach, before, test } from 'node:test';
import { OperationError } from '../shared/errors.ts';
import { createClient } from './client.ts';
import {
  sampleJob,
  sampleRequest,
  sampleSnapshot,
  sampleVm,
  SNAPSHOT_ID,
  REQUEST_ID,
} from './samples.test-suite.ts';
import { startTableServer, TABLE_TOKEN } from './table-server.test-suite.ts';
import type { TableServer } from './table-server.test-suite.ts';

let server: TableServer;
before(async () => {
  server = await startTableServer({});
});
after(() => server.close());
afterEach(() => {
  server.calls.length = 0;
});

const connect = (options: { token?: string; timeoutMs?: number } = {}) =>
  createClient({ baseUrl: `${server.url}/`, token: TABLE_TOKEN, ...options });

const failsWith = (code: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof OperationError, String(error));
  assert.equal(error.code, code);
  assert.match(error.message, message);
  return true;
};

test('a call sends what the contract says and validates what comes back', async () => {
  server.handlers = { snapshotCreate: () => sampleRequest(), snapshotGet: () => sampleSnapshot() };
  const client = connect();
  const request = await client.call('snapshotCreate', { body: { vm: 'web-01', kind: 'disk' } });
  assert.equal(request.id, REQUEST_ID);
  assert.deepEqual(server.calls[0]?.body, {
    vm: 'web-01',
    kind: 'disk',
    description: '',
    quiesce: 'prefer',
    skipDisks: [],
    labels: {},
  });
  assert.match(String(server.calls[0]?.headers['idempotency-key']), /^[0-9a-f-]{36}$/);
  const answer = await client.ask('snapshotGet', { params: { id: SNAPSHOT_ID } });
  assert.equal(answer.etag, '"1"');
  assert.equal(answer.body.name, 'before-upgrade');
});

test('an answer that breaks the contract is a protocol error that names the field', async () => {
  server.handlers = {
    whoami: ({ response }) => response.writeHead(200).end(JSON.stringify({ principal: 3 })),
  };
  await assert.rejects(connect().call('whoami', {}), failsWith('protocol_error', /principal/));
  server.handlers = { whoami: ({ response }) => response.writeHead(200).end('<html>') };
  await assert.rejects(connect().call('whoami', {}), failsWith('protocol_error', /whoami/));
});

test('an id that is none never reaches the server', async () => {
  for (const id of ['..', 'a/b', '', 'web-01'])
    await assert.rejects(
      connect().call('requestCancel', { params: { id }, body: {} }),
      failsWith('invalid_input', /cannot be the id/),
    );
  assert.equal(server.calls.length, 0);
});

test('a watch outlives a server that starts anew', async () => {
  let lost = 0;
  server.handlers = {
    eventStream: () => {
      throw new OperationError('not_found', 'no events here');
    },
    requestGet: ({ response }) => {
      lost += 1;
      // Longer than one call tries.
      return lost > 1 && lost < 7
        ? response.destroy()
        : sampleRequest({ jobId: null, ...(lost > 6 ? { state: 'succeeded' } : {}) });
    },
  };
  const last = await connect().waitForRequest(REQUEST_ID, { pollMs: 1 });
  assert.equal(last.request.state, 'succeeded');
});

test('problem documents keep the code, the reason and what to do', async () => {
  server.handlers = {
    snapshotGet: () => {
      throw new OperationError('snapshot_damaged', 'Disk vda lost 64 KiB.', {
        details: { whatToDo: 'Use another snapshot.', part: 'disk vda' },
      });
    },
  };
  await assert.rejects(
    connect().call('snapshotGet', { params: { id: SNAPSHOT_ID } }),
    (error: OperationError) => {
      failsWith('snapshot_damaged', /lost 64 KiB/)(error);
      assert.equal(error.details['whatToDo'], 'Use another snapshot.');
      assert.equal(error.details['part'], 'disk vda');
      return true;
    },
  );
  await assert.rejects(
    connect({ token: 'wrong' }).call('whoami', {}),
    failsWith('unauthenticated', /signed in/),
  );
  server.handlers = { whoami: ({ response }) => response.writeHead(502).end('Bad Gateway') };
  await assert.rejects(connect().call('whoami', {}), failsWith('protocol_error', /502/));
});

test('a lost connection is retried with the same idempotency key, and only so often', async () => {
  let lost = 0;
  server.handlers = {
    snapshotCreate: ({ response }) => {
      lost += 1;
      return lost <= 2 ? response.destroy() : sampleRequest();
    },
  };
  await connect().call('snapshotCreate', { body: { vm: 'web-01' } });
  const keys = server.calls.map((call) => call.headers['idempotency-key']);
  assert.equal(keys.length, 3);
  assert.equal(new Set(keys).size, 1);

  server.calls.length = 0;
  lost = -100;
  await assert.rejects(
    connect().call('snapshotCreate', { body: { vm: 'web-01' } }),
    failsWith('unreachable', /cannot be reached/),
  );
  assert.equal(server.calls.length, 4);
});

test('a change with If-Match is never sent twice', async () => {
  server.handlers = { snapshotUpdate: ({ response }) => response.destroy() };
  await assert.rejects(
    connect().call(
      'snapshotUpdate',
      { params: { id: SNAPSHOT_ID }, body: { pinned: true } },
      { ifMatch: '"1"' },
    ),
    failsWith('unreachable', /./),
  );
  assert.equal(server.calls.length, 1);
});

test('a server that asks to come back later is asked again', async () => {
  let refused = false;
  server.handlers = {
    hostList: ({ response }) => {
      if (refused) return { items: [], nextCursor: null };
      refused = true;
      return response.writeHead(429, { 'retry-after': '0' }).end();
    },
  };
  assert.deepEqual(await connect().call('hostList', {}), { items: [], nextCursor: null });
  assert.equal(server.calls.length, 2);
});

test('timeouts and aborts end a call with their own codes', async () => {
  server.handlers = { whoami: () => new Promise(() => undefined) };
  await assert.rejects(
    connect({ timeoutMs: 50 }).call('whoami', {}),
    failsWith('timed_out', /50 ms/),
  );
  const controller = new AbortController();
  const call = connect().call('whoami', {}, { signal: controller.signal });
  controller.abort();
  await assert.rejects(call, failsWith('cancelled', /cancelled/));
});

test('nobody listening is said so, with the address', async () => {
  const unused = createServer().listen(0, '127.0.0.1');
  await once(unused, 'listening');
  const { port } = unused.address() as { port: number };
  unused.close();
  await once(unused, 'close');
  await assert.rejects(
    createClient({ baseUrl: `http://127.0.0.1:${port}` }).call('whoami', {}),
    failsWith('unreachable', new RegExp(`127\\.0\\.0\\.1:${port}.*ECONNREFUSED`)),
  );
});

test('pages are followed by their cursors up to a limit', async () => {
  const names = ['a', 'b', 'c', 'd', 'e'];
  server.handlers = {
    vmList: ({ query }) => {
      const start = Number(query['cursor'] ?? 0);
      const end = start + 2;
      return {
        items: names.slice(start, end).map((name) => sampleVm({ name })),
        nextCursor: end < names.length ? String(end) : null,
      };
    },
  };
  const collect = async (maxItems?: number) => {
    const found: string[] = [];
    for await (const vm of connect().pages(
      'vmList',
      { query: { state: ['running', 'off'] } },
      { maxItems },
    ))
      found.push(vm.name);
    return found;
  };
  assert.deepEqual(await collect(), names);
  assert.deepEqual(server.calls[0]?.query['state'], ['running', 'off']);
  assert.deepEqual(await collect(3), ['a', 'b', 'c']);
});

const frame = (sequence: number, id = REQUEST_ID) =>
  `id: ${sequence}\nevent: changed\ndata: ${JSON.stringify({ type: 'changed', sequence, resource: 'request', id, at: '2026-03-01T09:30:00Z' })}\n\n`;

test('events resume after the last one seen, and refusals end them', async () => {
  let connection = 0;
  server.handlers = {
    eventStream: ({ response }) => {
      connection += 1;
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(`: hello\n\n${frame(connection * 10)}`);
      // Half an event is lost with the connection.
      response.write('id: 99\ndata: {');
      if (connection === 1) setImmediate(() => response.end());
    },
  };
  const controller = new AbortController();
  const seen: (string | number)[] = [];
  await assert.rejects(
    async () => {
      for await (const event of connect().events({ signal: controller.signal, firstDelayMs: 1 })) {
        seen.push('sequence' in event ? event.sequence : event.type);
        if (seen.length === 4) controller.abort();
      }
    },
    failsWith('cancelled', /./),
  );
  assert.deepEqual(seen, ['connected', 10, 'connected', 20]);
  assert.equal(server.calls[1]?.headers['last-event-id'], '10');

  await assert.rejects(
    async () => {
      for await (const event of connect({ token: 'wrong' }).events()) assert.fail(event.type);
    },
    failsWith('unauthenticated', /./),
  );
});

test('a silent event stream is given up and opened again', async () => {
  let connections = 0;
  server.handlers = {
    eventStream: ({ response }) => {
      connections += 1;
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': hello\n\n');
    },
  };
  const controller = new AbortController();
  const options = { signal: controller.signal, idleTimeoutMs: 30, firstDelayMs: 1 };
  await assert.rejects(
    async () => {
      for await (const _ of connect().events(options)) if (connections >= 2) controller.abort();
    },
    failsWith('cancelled', /./),
  );
  assert.equal(connections, 2);
});

for (const withEvents of [true, false]) {
  test(`a request is watched to its end ${withEvents ? 'by events' : 'by polling, where events do not work'}`, async () => {
    let reads = 0;
    const streams: { write(text: string): unknown }[] = [];
    server.handlers = {
      eventStream: ({ response }) => {
        if (!withEvents) throw new OperationError('not_found', 'no events here');
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write(': hello\n\n');
        streams.push(response);
      },
      requestGet: () => {
        reads += 1;
        streams[0]?.write(frame(reads));
        return sampleRequest(
          reads < 3 ? {} : { state: 'succeeded', result: { snapshotId: SNAPSHOT_ID } },
        );
      },
      jobGet: () => sampleJob({ attempts: reads }),
    };
    const started = performance.now();
    const last = await connect().waitForRequest(REQUEST_ID, { pollMs: withEvents ? 20_000 : 20 });
    assert.equal(last.request.result?.snapshotId, SNAPSHOT_ID);
    assert.equal(reads, 3);
    assert.ok(performance.now() - started < 10_000);
  });
}
