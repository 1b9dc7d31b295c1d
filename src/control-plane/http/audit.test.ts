import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import type { AuditEvent, AuditVerification } from '../../contract/audit-events.ts';
import { appendAuditEvent } from '../audit/audit-trail.ts';
import { listAuditEvents } from '../database/audit-events.ts';
import { reportManifestHead } from '../database/manifest-heads.ts';
import { startTestServer, type TestServer } from './server.test-suite.ts';

const fill = (server: TestServer, count: number, reason = 'filler') =>
  server.catalog.write(async (tx) => {
    for (let n = 0; n < count; n += 1)
      await appendAuditEvent(tx, {
        at: new Date(server.clock.nowMs + n).toISOString(),
        actor: { id: `u${n % 2}`, name: n % 2 ? 'Odd' : 'Even', kind: 'user' },
        sourceAddress: '192.0.2.7',
        action: 'test.fill',
        resourceType: 'thing',
        resourceId: `id-${n}`,
        resourceName: `name_${n}`,
        outcome: n % 3 ? 'succeeded' : 'failed',
        reason,
      });
  });

const list = async (server: TestServer, token: string, query: string) => {
  const response = await server.call(token, 'GET', `/api/v1/audit-events?${query}`);
  assert.equal(response.statusCode, 200, response.body);
  return response.json<{ items: AuditEvent[]; nextCursor: string | null }>();
};

test('the trail is searched by who, what, outcome and text, either end first', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('auditor');
  await fill(server, 12, 'due to 100%');
  const count = async (query: string) => (await list(server, token, query)).items.length;
  assert.equal(await count('actorName=Odd'), 6);
  assert.equal(await count('actorId=u0&outcome=failed'), 2);
  assert.equal(await count('resourceType=thing&resourceName=name_3'), 1);
  assert.equal(await count('resourceId=id-4'), 1);
  assert.equal(await count('search=NAME_1'), 3);
  assert.equal(await count('search=100%25'), 12);
  assert.equal(await count('search=1_0'), 0, 'wildcards are text');
  assert.equal(await count('search=192.0.2'), 12);
  const after = new Date(server.clock.nowMs + 8).toISOString();
  assert.equal(await count(`after=${after}`), 3);
  const oldest = await list(server, token, 'order=oldest&limit=1');
  assert.equal(oldest.items[0]?.sequence, 1);
});

test('pages stay as they were while new events come in', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('auditor');
  await fill(server, 9);
  const seen: number[] = [];
  for (let cursor: string | null = ''; cursor !== null;) {
    const page = await list(server, token, `limit=4${cursor && `&cursor=${cursor}`}`);
    seen.push(...page.items.map((event) => event.sequence));
    cursor = page.nextCursor;
    await fill(server, 2);
  }
  assert.deepEqual(seen, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
});

test('an export holds the trail up to itself, and is recorded before and after', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('auditor');
  await fill(server, 450);
  const jsonl = await server.call(token, 'GET', '/api/v1/audit-events/export');
  assert.match(String(jsonl.headers['content-type']), /^application\/jsonl/);
  const lines = jsonl.body.trimEnd().split('\n');
  assert.equal(lines.length, 451);
  const [last] = lines.slice(-1).map((line): AuditEvent => JSON.parse(line));
  assert.deepEqual([last?.action, last?.outcome], ['audit.export', 'intent']);
  const [outcome] = await listAuditEvents(server.catalog.read, {}, { limit: 1, order: 'newest' });
  assert.equal(outcome?.outcome, 'succeeded');
  assert.deepEqual(outcome?.details, {
    format: 'jsonl',
    filter: {},
    events: 451,
    lastHash: last?.hash,
  });
  const csv = await server.call(
    token,
    'GET',
    '/api/v1/audit-events/export?format=csv&resourceId=id-7',
  );
  assert.match(String(csv.headers['content-type']), /^text\/csv/);
  assert.equal(csv.body.trimEnd().split('\r\n').length, 2);
});

test('whoever may not read the trail cannot export it, and the refusal is recorded', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('operator');
  const response = await server.call(token, 'GET', '/api/v1/audit-events/export');
  assert.equal(response.statusCode, 403);
  const [event] = await listAuditEvents(server.catalog.read, {}, { limit: 1, order: 'newest' });
  assert.deepEqual([event?.action, event?.outcome], ['audit.export', 'denied']);
});

test('a reader that goes away ends the export, which is recorded as not finished', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('auditor');
  await fill(server, 8_000, 'x'.repeat(600));
  const url = new URL(await server.app.listen({ host: '127.0.0.1', port: 0 }));
  const socket = connect(Number(url.port), '127.0.0.1');
  socket.write(
    `GET /api/v1/audit-events/export HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n\r\n`,
  );
  await once(socket, 'readable');
  socket.destroy();
  const deadline = Date.now() + 10_000;
  let outcome;
  while (outcome?.outcome !== 'failed' && Date.now() < deadline) {
    await new Promise((resolve) => setImmediate(resolve));
    [outcome] = await listAuditEvents(server.catalog.read, {}, { limit: 1, order: 'newest' });
  }
  assert.equal(outcome?.outcome, 'failed');
  assert.ok(Number(outcome?.details['events']) < 8_000, 'the server did not wait for the reader');
});

test('verification over the API compares with the heads of the manifests', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('auditor');
  await fill(server, 5);
  const verify = async () =>
    (await server.call(token, 'GET', '/api/v1/audit-events/verify')).json<AuditVerification>();
  const [third] = await listAuditEvents(
    server.catalog.read,
    {},
    { limit: 1, afterSequence: 2, order: 'oldest' },
  );
  const report = (snapshotId: string, auditHead: string) =>
    server.catalog.write((tx) =>
      reportManifestHead(tx, { snapshotId, auditHead, capturedAt: third?.at ?? '' }),
    );
  await report('one', third?.hash ?? '');
  assert.deepEqual([(await verify()).intact, (await verify()).headsChecked], [true, 1]);
  await report('two', 'f'.repeat(64));
  const { intact, firstBroken } = await verify();
  assert.equal(intact, false);
  assert.deepEqual([firstBroken?.sequence, firstBroken?.kind], [4, 'rewritten']);
});
