import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Job } from '../../contract/jobs.ts';
import type { Problem } from '../../contract/problem.ts';
import type { Request } from '../../contract/requests.ts';
import type { Snapshot } from '../../contract/snapshots.ts';
import { reportVm } from '../database/vms.ts';
import { createSignInSettings } from '../operations/environment.ts';
import { maintain } from '../operations/maintenance.ts';
import { verifyAuditChain } from '../audit/audit-trail.ts';
import { silentLogger } from '../../shared/logger.ts';
import {
  HOST_ID,
  startTestServer,
  UNKNOWN_ID,
  VM_ID,
  WEB,
  type TestServer,
} from './server.test-suite.ts';

const create = (server: TestServer, token: string, body: object, headers = {}) =>
  server.call(token, 'POST', '/api/v1/snapshots', { body: { vm: 'web', ...body }, headers });

async function activeSnapshot(server: TestServer, token: string, name: string): Promise<Snapshot> {
  await create(server, token, { name });
  assert.equal(await server.runNextJob(), 'succeeded');
  const list = await server.call(token, 'GET', `/api/v1/snapshots?name=${name}`);
  const [snapshot] = list.json<{ items: Snapshot[] }>().items;
  assert.ok(snapshot);
  return snapshot;
}

const auditOf = async (server: TestServer, action: string) =>
  (
    await server.catalog.read
      .selectFrom('audit_events')
      .select(['outcome', 'resource_name', 'request_id', 'source_address'])
      .where('action', '=', action)
      .orderBy('sequence')
      .execute()
  ).map((row) => ({ ...row }));

test('wishes of one second have default names of their own, also while one of them waits', async (t) => {
  const server = await startTestServer(t);
  const names: (string | undefined)[] = [];
  for (const role of ['operator', 'operator', 'administrator', 'administrator'] as const) {
    const response = await create(server, await server.token(role), {});
    assert.equal(response.statusCode, 202, response.body);
    const { parameters } = response.json<Request>();
    names.push('name' in parameters ? parameters.name : undefined);
  }
  const base = 'web_20260102T030405Z';
  assert.deepEqual(names, [base, `${base}-2`, `${base}-3`, `${base}-4`]);
});

test('a capture goes from wish to active snapshot, with audit and Location', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('administrator');
  const response = await create(server, token, { reason: 'upgrade' });
  assert.equal(response.statusCode, 202);
  const request = response.json<Request>();
  assert.equal(response.headers.location, `/api/v1/requests/${request.id}`);
  assert.equal(request.state, 'approved');
  assert.equal(request.snapshot?.name, 'web_20260102T030405Z');
  assert.equal(request.plan?.operation, 'create');
  const creating = await server.call(token, 'GET', `/api/v1/snapshots/${request.snapshot?.id}`);
  assert.equal(creating.json<Snapshot>().state, 'creating');
  assert.equal(creating.json<Snapshot>().busyWith?.operation, 'create');
  assert.deepEqual(await auditOf(server, 'snapshot.create'), [
    {
      outcome: 'intent',
      resource_name: 'web',
      request_id: request.id,
      source_address: '127.0.0.1',
    },
  ]);
  assert.equal(await server.runNextJob(), 'succeeded');
  const job = await server.call(token, 'GET', `/api/v1/jobs/${request.jobId}`);
  assert.equal(job.json<Job>().state, 'succeeded');
  assert.deepEqual(
    job.json<Job>().steps.map((step) => step.state),
    ['done'],
  );
  const active = (
    await server.call(token, 'GET', `/api/v1/snapshots/${request.snapshot?.id}`)
  ).json<Snapshot>();
  assert.equal(active.state, 'active');
  assert.equal(active.busyWith, null);
  assert.equal(active.pauseMs, 42.5);
});

test('what an operator asks for waits for somebody else to approve', async (t) => {
  const server = await startTestServer(t);
  const operator = await server.token('operator');
  const approver = await server.token('approver');
  const viewer = await server.token('viewer');
  const request = (await create(server, operator, { name: 'a' })).json<Request>();
  assert.equal(request.state, 'pending');
  assert.equal(request.jobId, null);
  const act = (token: string, verb: string, id = request.id) =>
    server.call(token, 'POST', `/api/v1/requests/${id}/${verb}`, { body: { comment: 'ok' } });
  assert.equal((await act(operator, 'approve')).statusCode, 403);
  assert.equal((await act(viewer, 'approve')).statusCode, 403);
  assert.equal((await act(viewer, 'cancel')).statusCode, 403);
  assert.equal((await act(approver, 'cancel')).statusCode, 403);
  const approved = await act(approver, 'approve');
  assert.equal(approved.statusCode, 200);
  assert.equal(approved.json<Request>().state, 'approved');
  assert.equal(approved.json<Request>().decidedBy?.name, 'approver');
  assert.equal((await act(approver, 'approve')).json<Problem>().code, 'wrong_state');
  const second = (await create(server, operator, { name: 'b' })).json<Request>();
  assert.equal((await act(approver, 'reject', second.id)).json<Request>().state, 'rejected');
  const third = (await create(server, operator, { name: 'c' })).json<Request>();
  assert.equal((await act(operator, 'cancel', third.id)).json<Request>().state, 'cancelled');
});

test('an administrator who asked through an operator token of the same name still cannot approve alone', async (t) => {
  const server = await startTestServer(t);
  const operator = await server.token('operator');
  const request = (await create(server, operator, { name: 'a' })).json<Request>();
  await server.catalog.write((tx) =>
    tx
      .updateTable('bindings')
      .set({ role_id: 'administrator' })
      .where('principal_id', '=', 'principal-operator')
      .execute(),
  );
  const response = await server.call(operator, 'POST', `/api/v1/requests/${request.id}/approve`);
  assert.equal(response.json<Problem>().code, 'forbidden');
});

test('a name that was taken while the request waited refuses the approval, and the request goes on waiting', async (t) => {
  const server = await startTestServer(t);
  const [operator, administrator] = [
    await server.token('operator'),
    await server.token('administrator'),
  ];
  const request = (await create(server, operator, { name: 'same' })).json<Request>();
  assert.equal((await create(server, administrator, { name: 'same' })).statusCode, 202);
  const approval = await server.call(
    administrator,
    'POST',
    `/api/v1/requests/${request.id}/approve`,
  );
  assert.equal(approval.json<Problem>().code, 'name_taken');
  const after = await server.call(operator, 'GET', `/api/v1/requests/${request.id}`);
  assert.equal(after.json<Request>().state, 'pending');
});

test('pending requests expire', async (t) => {
  const server = await startTestServer(t);
  const operator = await server.token('operator');
  const request = (await create(server, operator, {})).json<Request>();
  server.clock.nowMs += 8 * 24 * 3600 * 1000;
  const clock = { now: () => new Date(server.clock.nowMs), monotonicMs: () => 0 };
  const { catalog } = server;
  const signIn = createSignInSettings();
  await maintain({ catalog, clock, logger: silentLogger, version: '', signIn });
  const after = await server.call(operator, 'GET', `/api/v1/requests/${request.id}`);
  assert.equal(after.json<Request>().state, 'expired');
});

test('what cannot be captured is refused with every reason, and recorded', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('administrator');
  await server.catalog.write((tx) =>
    reportVm(tx, {
      hostId: HOST_ID,
      description: { ...WEB, jobActive: true, memoryObstacles: ['A VFIO device.'] },
      at: new Date().toISOString(),
    }),
  );
  const response = await create(server, token, {});
  const problem = response.json<Problem>();
  assert.equal(response.statusCode, 409);
  assert.equal(problem.code, 'in_use');
  assert.equal(Array.isArray(problem.details['problems']) && problem.details['problems'].length, 2);
  assert.match(problem.whatToDo, /domjobinfo/);
  assert.deepEqual(
    (await auditOf(server, 'snapshot.create')).map((row) => row.outcome),
    ['failed'],
  );
  const preflight = await server.call(token, 'POST', `/api/v1/vms/${VM_ID}/preflight`, {
    body: {},
  });
  assert.equal(preflight.statusCode, 200);
  assert.equal(preflight.json<{ possible: boolean }>().possible, false);
});

test('unknown and ambiguous VMs, taken names and wrong input each have their own answer', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('administrator');
  await create(server, token, { name: 'taken' });
  const other = '33333333-3333-4333-8333-333333333333';
  const cases: [object, number, string][] = [
    [{ vm: 'nobody' }, 404, 'not_found'],
    [{ vm: UNKNOWN_ID }, 404, 'not_found'],
    [{ name: 'taken' }, 409, 'name_taken'],
    [{ name: 'a/b' }, 400, 'invalid_input'],
    [{ surprise: 1 }, 400, 'invalid_input'],
    [{ skipDisks: ['vdz'] }, 400, 'invalid_input'],
  ];
  for (const [body, status, code] of cases) {
    const response = await create(server, token, body);
    assert.equal(response.statusCode, status, JSON.stringify(body));
    assert.equal(response.json<Problem>().code, code);
  }
  await server.catalog.write((tx) =>
    reportVm(tx, {
      hostId: HOST_ID,
      description: { ...WEB, id: other },
      at: new Date().toISOString(),
    }),
  );
  assert.equal((await create(server, token, {})).json<Problem>().code, 'invalid_input');
  assert.equal((await create(server, token, { vm: other })).statusCode, 202);
});

test('an idempotency key makes a call once', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('administrator');
  const key = { 'idempotency-key': 'deploy-42' };
  const first = await create(server, token, {}, key);
  server.clock.nowMs += 5000;
  const [again, alsoAgain] = await Promise.all([
    create(server, token, {}, key),
    create(server, token, {}, key),
  ]);
  assert.equal(first.statusCode, 202);
  assert.deepEqual(again.json(), first.json());
  assert.deepEqual(alsoAgain.json(), first.json());
  const conflict = await create(server, token, { name: 'other' }, key);
  assert.equal(conflict.json<Problem>().code, 'idempotency_conflict');
  const stranger = await server.token('administrator', { name: 'stranger' });
  assert.equal((await create(server, stranger, { name: 'theirs' }, key)).statusCode, 202);
  assert.equal(
    (await create(server, token, {}, { 'idempotency-key': 'two words' })).statusCode,
    400,
  );
  const list = await server.call(token, 'GET', '/api/v1/requests');
  assert.equal(list.json<{ items: unknown[] }>().items.length, 2);
});

test('restore and delete need the name of the VM, and the snapshot in a state for it', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('administrator');
  const snapshot = await activeSnapshot(server, token, 'one');
  const url = `/api/v1/snapshots/${snapshot.id}`;
  const restore = (body: object) => server.call(token, 'POST', `${url}/restore`, { body });
  const remove = (body: object, headers = {}) =>
    server.call(token, 'DELETE', url, { body, headers });
  assert.equal(
    (await remove({ confirmVmName: 'Web' })).json<Problem>().code,
    'confirmation_mismatch',
  );
  assert.equal((await remove({})).json<Problem>().code, 'invalid_input');
  assert.equal(
    (await restore({ mode: 'rollback', confirmVmName: 'x' })).json<Problem>().code,
    'confirmation_mismatch',
  );
  assert.equal((await restore({ mode: 'new-vm', name: 'web' })).json<Problem>().code, 'name_taken');
  const restoring = await restore({ mode: 'rollback', confirmVmName: 'web' });
  assert.equal(restoring.statusCode, 202);
  const busy = await remove({ confirmVmName: 'web' });
  assert.equal(busy.json<Problem>().code, 'in_use');
  assert.equal(busy.json<Problem>().details['busyWith'], 'restore');
  assert.equal(await server.runNextJob(), 'succeeded');
  await server.call(token, 'PATCH', url, { body: { pinned: true } });
  assert.equal((await remove({ confirmVmName: 'web' })).json<Problem>().code, 'wrong_state');
  await server.call(token, 'PATCH', url, { body: { pinned: false } });
  assert.equal(
    (await remove({ confirmVmName: 'web' }, { 'if-match': '"v1"' })).json<Problem>().code,
    'precondition_failed',
  );
  assert.equal((await remove({ confirmVmName: 'web' })).statusCode, 202);
  assert.equal((await restore({ mode: 'new-vm', name: 'copy' })).json<Problem>().code, 'in_use');
});

test('an operator deletes only what they made', async (t) => {
  const server = await startTestServer(t);
  const [administrator, operator] = [
    await server.token('administrator'),
    await server.token('operator'),
  ];
  const snapshot = await activeSnapshot(server, administrator, 'one');
  const response = await server.call(operator, 'DELETE', `/api/v1/snapshots/${snapshot.id}`, {
    body: { confirmVmName: 'web' },
  });
  assert.equal(response.json<Problem>().code, 'forbidden');
});

test('starting after a restore needs the power right', async (t) => {
  const server = await startTestServer(t);
  const administrator = await server.token('administrator');
  const snapshot = await activeSnapshot(server, administrator, 'one');
  const token = await server.token('administrator', { rights: ['view', 'restore'] });
  const restore = (start: boolean) =>
    server.call(token, 'POST', `/api/v1/snapshots/${snapshot.id}/restore`, {
      body: { mode: 'new-vm', name: 'copy', start },
    });
  assert.equal((await restore(true)).json<Problem>().code, 'forbidden');
  assert.equal((await restore(false)).statusCode, 202);
});

test('cancel stops what waits for a worker', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('administrator');
  const request = (await create(server, token, {})).json<Request>();
  const cancelled = await server.call(token, 'POST', `/api/v1/jobs/${request.jobId}/cancel`);
  assert.equal(cancelled.statusCode, 202);
  assert.equal(cancelled.json<Job>().cancelRequested, true);
  const again = await server.call(token, 'POST', `/api/v1/jobs/${request.jobId}/cancel`);
  assert.equal(again.json<Problem>().code, 'wrong_state');
  assert.equal(await server.runNextJob(), 'cancelled');
  const after = await server.call(token, 'GET', `/api/v1/requests/${request.id}`);
  assert.equal(after.json<Request>().state, 'cancelled');
});

test('the audit trail is listed, filtered and verified over HTTP', async (t) => {
  const server = await startTestServer(t);
  const token = await server.token('administrator');
  for (const name of ['a', 'b', 'c']) await create(server, token, { name });
  const first = await server.call(
    token,
    'GET',
    '/api/v1/audit-events?limit=2&action=snapshot.create',
  );
  const page = first.json<{ items: { sequence: number }[]; nextCursor: string }>();
  assert.deepEqual(
    page.items.map((event) => event.sequence),
    [3, 2],
  );
  const rest = await server.call(
    token,
    'GET',
    `/api/v1/audit-events?limit=2&cursor=${page.nextCursor}`,
  );
  assert.deepEqual(
    rest.json<typeof page>().items.map((event) => event.sequence),
    [1],
  );
  const verified = await server.call(token, 'GET', '/api/v1/audit-events/verify');
  assert.equal(verified.json<{ intact: boolean }>().intact, true);
  assert.equal((await verifyAuditChain(server.catalog.read)).eventsChecked, 3);
});
