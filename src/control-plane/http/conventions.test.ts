import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemSchema, type Problem } from '../../contract/problem.ts';
import type { Snapshot } from '../../contract/snapshots.ts';
import { ERROR_TABLE } from '../../shared/errors.ts';
import { reportVm } from '../database/vms.ts';
import {
  HOST_ID,
  startTestServer,
  UNKNOWN_ID,
  VM_ID,
  WEB,
  type TestServer,
} from './server.test-suite.ts';
import { WHAT_TO_DO } from './what-to-do.ts';

const addVms = (server: TestServer, count: number) =>
  server.catalog.write(async (tx) => {
    for (let n = 0; n < count; n += 1)
      await reportVm(tx, {
        hostId: HOST_ID,
        description: {
          ...WEB,
          id: `44444444-4444-4444-8444-${String(n).padStart(12, '0')}`,
          name: `vm-${n % 3}`,
        },
        at: new Date(server.clock.nowMs).toISOString(),
      });
  });

test('errors of every kind are problem documents that say what to do', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('administrator');
  const authorization = `Bearer ${token}`;
  const json = { authorization, 'content-type': 'application/json' };
  const url = '/api/v1/snapshots';
  const cases: [object, number, string][] = [
    [{ method: 'GET', url: '/nowhere', headers: { authorization } }, 404, 'not_found'],
    [{ method: 'PUT', url, headers: json, payload: '{}' }, 404, 'not_found'],
    [{ method: 'GET', url: '/api/v1/vms/%ff', headers: { authorization } }, 400, 'invalid_input'],
    [
      { method: 'GET', url: '/api/v1/vms/not-an-id', headers: { authorization } },
      400,
      'invalid_input',
    ],
    [
      { method: 'GET', url: `/api/v1/vms/${UNKNOWN_ID}`, headers: { authorization } },
      404,
      'not_found',
    ],
    [
      { method: 'GET', url: `/api/v1/vms/${'x'.repeat(500)}`, headers: { authorization } },
      400,
      'invalid_input',
    ],
    [{ method: 'GET', url: `${url}?limit=0`, headers: { authorization } }, 400, 'invalid_input'],
    [{ method: 'GET', url: `${url}?cursor=zzz`, headers: { authorization } }, 400, 'invalid_input'],
    [
      { method: 'GET', url: `${url}?label=nothing`, headers: { authorization } },
      400,
      'invalid_input',
    ],
    [{ method: 'POST', url, headers: json, payload: '{' }, 400, 'invalid_input'],
    [{ method: 'POST', url, headers: json, payload: '[]' }, 400, 'invalid_input'],
    [{ method: 'POST', url, headers: json, payload: '{"__proto__": {}}' }, 400, 'invalid_input'],
    [
      { method: 'POST', url, headers: { ...json, 'content-type': 'text/xml' }, payload: '<a/>' },
      400,
      'invalid_input',
    ],
    [
      { method: 'POST', url, headers: json, payload: `{"vm":"${'x'.repeat(1024 * 1024)}"}` },
      413,
      'payload_too_large',
    ],
  ];
  for (const [call, status, code] of cases) {
    const response = await server.app.inject(call);
    assert.equal(
      response.statusCode,
      status,
      `${JSON.stringify(call).slice(0, 120)} ${response.body}`,
    );
    assert.match(String(response.headers['content-type']), /^application\/problem\+json/);
    const problem = problemSchema.parse(response.json());
    assert.equal(problem.code, code);
    assert.equal(problem.requestId, response.headers['x-request-id'] ?? problem.requestId);
    assert.ok(problem.whatToDo.length > 5);
  }
});

test('a fault of ours is shown as such, without its inside', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('viewer');
  await server.catalog.write((tx) =>
    tx.updateTable('vms').set({ description: '{"secret":1}' }).execute(),
  );
  const response = await server.call(token, 'GET', '/api/v1/vms');
  assert.equal(response.statusCode, 500);
  assert.ok(!response.body.includes('"secret"'));
});

test('each code has its own advice', () => {
  assert.deepEqual(Object.keys(WHAT_TO_DO), Object.keys(ERROR_TABLE));
});

test('lists page through everything once, also with equal names', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('viewer');
  await addVms(server, 10);
  const seen: string[] = [];
  for (let cursor: string | null = ''; cursor !== null;) {
    const response = await server.call(
      token,
      'GET',
      `/api/v1/vms?limit=3${cursor && `&cursor=${cursor}`}`,
    );
    const page: { items: { id: string }[]; nextCursor: string | null } = response.json();
    assert.ok(page.items.length <= 3);
    seen.push(...page.items.map((vm) => vm.id));
    cursor = page.nextCursor;
  }
  assert.equal(seen.length, 11);
  assert.equal(new Set(seen).size, 11);
});

test('filters narrow lists', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('administrator');
  await addVms(server, 3);
  await server.call(token, 'PATCH', `/api/v1/vms/${VM_ID}`, {
    body: { labels: { env: 'prod=1' } },
  });
  const count = async (query: string) =>
    (await server.call(token, 'GET', `/api/v1/vms?${query}`)).json<{ items: unknown[] }>().items
      .length;
  assert.equal(await count('name=web'), 1);
  assert.equal(await count('search=VM-'), 3);
  assert.equal(await count('label=env%3Dprod%3D1'), 1);
  assert.equal(await count('label=env%3Dprod'), 0);
  assert.equal(await count('state=off&state=paused'), 0);
  assert.equal(await count('state=running&present=true'), 4);
  assert.equal(await count('present=false'), 0);
});

test('changes take If-Match, keep what is not named, and refuse what may not change', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('administrator');
  await server.call(token, 'POST', '/api/v1/snapshots', {
    body: { vm: 'web', name: 'one', labels: { a: 'b' } },
  });
  await server.runNextJob();
  const list = await server.call(token, 'GET', '/api/v1/snapshots');
  const url = `/api/v1/snapshots/${list.json<{ items: Snapshot[] }>().items[0]?.id}`;
  const { etag } = (await server.call(token, 'GET', url)).headers;
  assert.ok(etag);
  const patch = (body: object, ifMatch?: string) =>
    server.call(token, 'PATCH', url, { body, headers: ifMatch ? { 'if-match': ifMatch } : {} });
  const changed = await patch({ description: 'x' }, etag);
  assert.equal(changed.statusCode, 200);
  assert.notEqual(changed.headers.etag, etag);
  assert.deepEqual(changed.json<Snapshot>().labels, { a: 'b' });
  const stale = await patch({ description: 'y' }, etag);
  assert.equal(stale.statusCode, 412);
  assert.equal(stale.json<Problem>().code, 'precondition_failed');
  assert.equal((await patch({ pinned: true }, `"other", ${changed.headers.etag}`)).statusCode, 200);
  assert.equal((await patch({ expiresAt: null }, '*')).statusCode, 200);
  for (const body of [{ name: 'x' }, { level: 'crash' }, { labels: { 'A B': 'x' } }])
    assert.equal((await patch(body)).statusCode, 400);
});

test('metrics are for Prometheus, with a token', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('viewer');
  await server.call(token, 'GET', '/api/v1/vms');
  const response = await server.call(token, 'GET', '/metrics');
  assert.equal(response.statusCode, 200);
  assert.match(
    response.body,
    /komadori_http_call_duration_seconds_count\{operation="vmList",status="200"\} 1/,
  );
  assert.match(response.body, /komadori_host_last_seen_timestamp_seconds\{host="host-1"\} \d+/);
});

test('answers carry the headers that browsers need to be careful', async (t) => {
  const server = await startTestServer(t);
  const response = await server.call(await server.token('viewer'), 'GET', '/api/v1/whoami');
  assert.equal(response.headers['x-content-type-options'], 'nosniff');
  assert.equal(response.headers['cache-control'], 'no-store');
  assert.ok(response.headers['content-security-policy']);
});
