import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ConfirmationRule } from '../../contract/confirmation.ts';
import type { Problem } from '../../contract/problem.ts';
import type { Request } from '../../contract/requests.ts';
import { act, addRule, ask, startCast } from './confirmation-cast.test-suite.ts';
import { HOST_ID, VM_ID } from './server.test-suite.ts';

test('the defaults are rules like others, and can be changed', async (t) => {
  const cast = await startCast(t);
  const { server, administrator, operator } = cast;
  const url = '/api/v1/confirmation-rules';
  const list = (await server.call(administrator, 'GET', url)).json<{ items: ConfirmationRule[] }>();
  assert.deepEqual(
    list.items.map(({ approvals, builtIn, operations }) => [approvals, builtIn, operations.length]),
    [
      [0, true, 5],
      [0, true, 1],
      [1, true, 5],
      [0, true, 1],
    ],
  );
  const [, , strict] = list.items;
  const shown = await server.call(administrator, 'GET', `${url}/${strict?.id}`);
  assert.equal(shown.headers.etag, '"v1"');
  const patch = (body: object, etag: string) =>
    server.call(administrator, 'PATCH', `${url}/${strict?.id}`, {
      body,
      headers: { 'if-match': etag },
    });
  assert.equal((await patch({ approvals: 3 }, '"v1"')).json<Request>().state, 'succeeded');
  assert.equal((await patch({ approvals: 0 }, '"v1"')).json<Problem>().code, 'precondition_failed');
  assert.equal((await ask(cast)).approvalsNeeded, 3);
  const removed = await server.call(administrator, 'DELETE', `${url}/${strict?.id}`, { body: {} });
  assert.equal(removed.json<Request>().state, 'succeeded');
  const free = await ask(cast);
  assert.deepEqual([free.state, free.confirmation.rule], ['approved', null]);
  for (const token of [operator, cast.ann])
    assert.equal((await server.call(token, 'GET', url)).statusCode, 403);
});

test('rules that make no sense are refused', async (t) => {
  const cast = await startCast(t);
  const scope = { kind: 'label', key: 'env', value: 'prod' };
  const cases: [object, number, string][] = [
    [{ approvals: 6 }, 400, 'invalid_input'],
    [{ approvals: -1 }, 400, 'invalid_input'],
    [{ operations: [] }, 400, 'invalid_input'],
    [{ operations: ['collect'], scope }, 400, 'invalid_input'],
    [{ scope: { kind: 'vms', vmIds: [HOST_ID] } }, 400, 'invalid_input'],
    [{ roles: ['operatr'] }, 400, 'invalid_input'],
    [{ exceptRoles: [HOST_ID] }, 400, 'invalid_input'],
    [{ id: VM_ID }, 400, 'invalid_input'],
    [{ builtIn: true }, 400, 'invalid_input'],
    [{ name: 'Default: administrators' }, 409, 'name_taken'],
  ];
  for (const [rule, status, code] of cases) {
    const response = await addRule(cast, rule);
    assert.deepEqual([response.statusCode, response.json<Problem>().code], [status, code]);
  }
});

test('a change of the rules can need confirmation itself, and is applied by the approval', async (t) => {
  const cast = await startCast(t);
  const { server, administrator, ann } = cast;
  await addRule(cast, { name: 'Rules', operations: ['change-rules'], approvals: 1 });
  const body = { name: 'Production', operations: ['delete'], approvals: 5 };
  const key = { 'idempotency-key': 'rule-1' };
  const post = () =>
    server.call(administrator, 'POST', '/api/v1/confirmation-rules', { body, headers: key });
  const asked = (await post()).json<Request>();
  assert.equal((await post()).json<Request>().id, asked.id);
  assert.equal(asked.state, 'pending');
  assert.equal(asked.plan?.operation === 'change-rules' && asked.plan.after?.approvals, 5);
  const count = async () =>
    (await server.catalog.read.selectFrom('confirmation_rules').select('id').execute()).length;
  assert.equal(await count(), 5);
  const own = await act(server, administrator, asked.id, 'approve');
  assert.equal(own.json<Problem>().code, 'forbidden');
  const done = (await act(server, ann, asked.id, 'approve')).json<Request>();
  assert.deepEqual([done.state, done.jobId], ['succeeded', null]);
  assert.equal(await count(), 6);
  const events = await server.call(
    administrator,
    'GET',
    `/api/v1/audit-events?requestId=${asked.id}`,
  );
  assert.deepEqual(
    events
      .json<{ items: { action: string; outcome: string; resourceName: string | null }[] }>()
      .items.map((event) => [event.action, event.outcome, event.resourceName]),
    [
      ['request.approve', 'succeeded', 'Production'],
      ['confirmation-rule.create', 'succeeded', 'Production'],
      ['request.approve', 'denied', null],
      ['confirmation-rule.create', 'intent', 'Production'],
    ],
  );
});

test('of two changes of one rule that wait, only one can be applied', async (t) => {
  const cast = await startCast(t);
  const { server, administrator, ann } = cast;
  await addRule(cast, { name: 'Rules', operations: ['change-rules'], approvals: 1 });
  const url = '/api/v1/confirmation-rules/00000000-0000-4000-8000-000000000001';
  const patch = async (approvals: number) =>
    (await server.call(administrator, 'PATCH', url, { body: { approvals } })).json<Request>();
  const [one, other] = [await patch(2), await patch(3)];
  assert.equal((await act(server, ann, one.id, 'approve')).json<Request>().state, 'succeeded');
  const refused = (await act(server, ann, other.id, 'approve')).json<Problem>();
  assert.match(refused.detail, /was changed since/);
  assert.equal(
    (await server.call(administrator, 'GET', url)).json<ConfirmationRule>().approvals,
    2,
  );
});

test('rules that became stricter hold for what waits already', async (t) => {
  const cast = await startCast(t);
  const { server, ann, ben } = cast;
  const { id } = await ask(cast);
  await addRule(cast, {});
  const refused = (await act(server, ann, id, 'approve')).json<Problem>();
  assert.match(refused.detail, /ask for more approvals now/);
  assert.equal((await act(server, ann, id, 'renew')).json<Request>().approvalsNeeded, 2);
  await act(server, ann, id, 'approve');
  assert.equal((await act(server, ben, id, 'approve')).json<Request>().state, 'approved');
});

test('a role that a rule names cannot go away under it', async (t) => {
  const cast = await startCast(t);
  const { catalog } = cast.server;
  const at = '2026-01-01T00:00:00.000Z';
  const role = { id: HOST_ID, name: 'night shift', description: '', rights: '[]' };
  await catalog.write((tx) =>
    tx
      .insertInto('roles')
      .values({ ...role, created_at: at, updated_at: at, version: 1 })
      .execute(),
  );
  const remove = () =>
    catalog.write((tx) => tx.deleteFrom('roles').where('id', '=', role.id).execute());
  const rule = (await addRule(cast, { roles: [role.id] })).json<Request>();
  assert.equal(rule.state, 'succeeded');
  await assert.rejects(remove(), /a confirmation rule names this role/);
  await cast.server.call(
    cast.administrator,
    'DELETE',
    `/api/v1/confirmation-rules/${rule.result?.ruleId}`,
    { body: {} },
  );
  await remove();
});

test('an administrator of some VMs is none elsewhere, and changes no rules', async (t) => {
  const cast = await startCast(t);
  const { server } = cast;
  const scope = { kind: 'vms' as const, vmIds: [HOST_ID] };
  const local = await server.token('administrator', { name: 'local', scope });
  const url = '/api/v1/confirmation-rules';
  assert.equal((await server.call(local, 'GET', url)).statusCode, 403);
  const body = { name: 'x', operations: ['delete'], approvals: 0 };
  assert.equal((await server.call(local, 'POST', url, { body })).statusCode, 403);
  const here = await server.token('administrator', {
    name: 'here',
    scope: { kind: 'vms', vmIds: [VM_ID] },
  });
  assert.equal((await ask(cast, {}, here)).state, 'approved');
});
