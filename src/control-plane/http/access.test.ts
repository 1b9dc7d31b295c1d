import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemSchema } from '../../contract/problem.ts';
import { RIGHTS, rightsThatGive, type Right } from '../../contract/rights.ts';
import { operationIds, routeOf } from '../../contract/routes.ts';
import { silentLogger, type LogFields, type Logger } from '../../shared/logger.ts';
import { callRoute, idFor } from './route-calls.test-suite.ts';
import { startTestServer, UNKNOWN_ID, VM_ID, type TestServer } from './server.test-suite.ts';

const WRONG_TOKEN = `kmd_${'A'.repeat(43)}`;

async function withSnapshot(server: TestServer): Promise<{ snapshotId: string }> {
  const administrator = await server.token('administrator');
  await server.call(administrator, 'POST', '/api/v1/snapshots', {
    body: { vm: 'web', name: 'one' },
  });
  await server.runNextJob();
  const list = await server.call(administrator, 'GET', '/api/v1/snapshots');
  return { snapshotId: list.json<{ items: { id: string }[] }>().items[0]?.id ?? '' };
}

test('every route refuses calls without a token and with a wrong one', async (t) => {
  const server = await startTestServer(t, {
    rateLimits: { perTokenAndMinute: 1000, failuresPerAddressAndMinute: 1000 },
  });
  for (const operationId of operationIds.filter((id) => !routeOf(id).open))
    for (const token of [null, WRONG_TOKEN, 'x', '']) {
      const response = await callRoute(server, operationId, token, UNKNOWN_ID);
      assert.equal(response.statusCode, 401, `${operationId} with ${token}`);
      const problem = problemSchema.parse(response.json());
      assert.equal(problem.code, 'unauthenticated');
      assert.equal(response.headers['www-authenticate'], 'Bearer');
    }
  for (const url of ['/metrics', '/api/v1/openapi.json'])
    assert.equal((await server.call(null, 'GET', url)).statusCode, 401, url);
  for (const url of ['/healthz', '/readyz'])
    assert.equal((await server.call(null, 'GET', url)).statusCode, 200, url);
});

test('every route refuses whoever lacks exactly its right, and records the refusal of an act', async (t) => {
  const server = await startTestServer(t);
  const known = await withSnapshot(server);
  const refusals = async () =>
    (
      await server.catalog.read
        .selectFrom('audit_events')
        .selectAll()
        .where('outcome', '=', 'denied')
        .execute()
    ).length;
  for (const operationId of operationIds) {
    const { right, audited } = routeOf(operationId);
    if (right === null) continue;
    const others: Right[] = RIGHTS.filter((other) => !rightsThatGive(other).includes(right));
    const token = await server.token('administrator', { rights: others });
    const before = await refusals();
    const response = await callRoute(server, operationId, token, idFor(operationId, known));
    assert.equal(response.statusCode, 403, `${operationId}: ${response.body}`);
    assert.equal((await refusals()) - before, audited ? 1 : 0, operationId);
  }
});

test('every route but the stream works for an administrator', async (t) => {
  const server = await startTestServer(t);
  const administrator = await server.token('administrator');
  for (const operationId of operationIds) {
    if (operationId === 'eventStream' || routeOf(operationId).open) continue;
    const known = await withSnapshot(server).catch(() => ({ snapshotId: UNKNOWN_ID }));
    const response = await callRoute(server, operationId, administrator, idFor(operationId, known));
    const expected = [routeOf(operationId).status, 404, 409];
    // The code of an app that this test does not have.
    if (operationId === 'oneTimeCodesConfirm') expected.push(400);
    assert.ok(expected.includes(response.statusCode), `${operationId}: ${response.body}`);
  }
});

test('tokens are limited by rate, and wrong ones by address', async (t) => {
  const server = await startTestServer(t, {
    rateLimits: { perTokenAndMinute: 3, failuresPerAddressAndMinute: 2 },
  });
  const [viewer, auditor] = [await server.token('viewer'), await server.token('auditor')];
  const statuses: number[] = [];
  for (let n = 0; n < 5; n += 1)
    statuses.push((await server.call(viewer, 'GET', '/api/v1/whoami')).statusCode);
  assert.deepEqual(statuses, [200, 200, 200, 429, 429]);
  const limited = await server.call(viewer, 'GET', '/api/v1/whoami');
  assert.ok(Number(limited.headers['retry-after']) > 0);
  assert.equal(problemSchema.parse(limited.json()).code, 'rate_limited');
  assert.equal((await server.call(auditor, 'GET', '/api/v1/whoami')).statusCode, 200);
  const failures: number[] = [];
  for (let n = 0; n < 3; n += 1)
    failures.push((await server.call(WRONG_TOKEN, 'GET', '/api/v1/whoami')).statusCode);
  assert.deepEqual(failures, [401, 401, 429]);
});

test('no token is ever logged', async (t) => {
  const lines: string[] = [];
  const record = (fields: LogFields, message: string): void =>
    void lines.push(JSON.stringify({ ...fields, message }));
  const logger: Logger = { ...silentLogger, info: record, warn: record, error: record };
  const server = await startTestServer(t, { logger });
  const token = await server.token('administrator');
  const made = await server.call(token, 'POST', '/api/v1/tokens', { body: { name: 'ci' } });
  await server.call(token, 'GET', `/api/v1/vms?search=${token}`);
  assert.equal(made.statusCode, 201);
  assert.ok(lines.length >= 2);
  for (const secret of [token, made.json<{ secret: string }>().secret])
    assert.ok(!lines.join('\n').includes(secret));
});

test('a token can be made, used, listed and revoked, but not with more rights than its maker', async (t) => {
  const server = await startTestServer(t);
  const viewer = await server.token('viewer');
  const tooMuch = await server.call(viewer, 'POST', '/api/v1/tokens', {
    body: { name: 'x', rights: ['delete'] },
  });
  assert.equal(tooMuch.statusCode, 403);
  const made = (
    await server.call(viewer, 'POST', '/api/v1/tokens', { body: { name: 'ci', rights: ['view'] } })
  ).json<{ id: string; secret: string }>();
  assert.equal((await server.call(made.secret, 'GET', '/api/v1/vms')).statusCode, 200);
  const list = await server.call(viewer, 'GET', '/api/v1/tokens');
  assert.equal(list.json<{ items: unknown[] }>().items.length, 2);
  assert.ok(!list.body.includes(made.secret));
  const stranger = await server.token('auditor');
  const url = `/api/v1/tokens/${made.id}`;
  assert.equal((await server.call(stranger, 'DELETE', url)).statusCode, 404);
  assert.equal((await server.call(viewer, 'DELETE', url)).statusCode, 204);
  assert.equal((await server.call(made.secret, 'GET', '/api/v1/vms')).statusCode, 401);
});

test('labels that give others a right are put on only by whoever holds that right', async (t) => {
  const server = await startTestServer(t);
  const administrator = await server.token('administrator');
  const made = await server.call(administrator, 'POST', '/api/v1/roles', {
    body: { name: 'keeper', rights: ['view', 'manage-access'] },
  });
  assert.equal(made.statusCode, 201, made.body);
  const keeper = await server.token(made.json<{ id: string }>().id, {
    name: 'keeper',
    scope: { kind: 'vms', vmIds: [VM_ID] },
  });
  await server.token('operator', { scope: { kind: 'label', key: 'team', value: 'red' } });
  const relabel = async (labels: Record<string, string>) => {
    const { headers } = await server.call(keeper, 'GET', `/api/v1/vms/${VM_ID}`);
    return await server.call(keeper, 'PATCH', `/api/v1/vms/${VM_ID}`, {
      body: { labels },
      headers: { 'if-match': String(headers.etag) },
    });
  };
  assert.equal((await relabel({ stage: 'test' })).statusCode, 200);
  const refused = await relabel({ stage: 'test', team: 'red' });
  assert.equal(refused.statusCode, 403, refused.body);
  assert.match(problemSchema.parse(refused.json()).detail, /create/);
  const vm = await server.call(keeper, 'GET', `/api/v1/vms/${VM_ID}`);
  assert.deepEqual(vm.json<{ labels: object }>().labels, { stage: 'test' });
});
