import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Confirmation } from '../../contract/confirmation.ts';
import type { Problem } from '../../contract/problem.ts';
import type { Request } from '../../contract/requests.ts';
import type { Snapshot } from '../../contract/snapshots.ts';
import {
  act,
  addRule,
  ask,
  changeVm,
  expire,
  jobCount,
  read,
  startCast,
} from './confirmation-cast.test-suite.ts';
import { VM_ID, WEB } from './server.test-suite.ts';

const HOUR_MS = 3600 * 1000;

test('two approvers are needed where a rule says so, and a second approval of one counts once', async (t) => {
  const cast = await startCast(t);
  const { server, operator, ann, ben } = cast;
  assert.equal((await addRule(cast, {})).json<Request>().state, 'succeeded');
  const asked = await ask(cast);
  assert.equal(asked.approvalsNeeded, 2);
  assert.equal(asked.confirmation.rule?.name, 'Two of us');
  assert.match(asked.confirmation.explanation, /asks for 2 approvals/);
  assert.equal(asked.plan?.confirmation.approvalsNeeded, 2);
  assert.equal(asked.mayDecide.approve.missingRight, 'approve');
  const preflight = await server.call(operator, 'POST', `/api/v1/vms/${VM_ID}/preflight`);
  assert.equal(preflight.json<{ confirmation: Confirmation }>().confirmation.approvalsNeeded, 2);

  const first = (await act(server, ann, asked.id, 'approve', { comment: 'fine' })).json<Request>();
  assert.deepEqual([first.state, first.approvalsGiven, first.jobId], ['pending', 1, null]);
  assert.match(first.mayDecide.approve.reason ?? '', /approved already/);
  assert.equal((await act(server, ann, asked.id, 'approve')).statusCode, 409);
  assert.equal(await jobCount(server), 0);
  const commented = await act(server, operator, asked.id, 'comment', { comment: 'please hurry' });
  assert.equal(commented.statusCode, 200);
  assert.equal(
    (await act(server, operator, asked.id, 'comment', { comment: ' ' })).statusCode,
    400,
  );

  const second = (await act(server, ben, asked.id, 'approve')).json<Request>();
  assert.deepEqual([second.state, second.approvalsGiven], ['approved', 2]);
  assert.deepEqual(
    second.decisions.map(({ kind, by, comment, counts }) => [kind, by.name, comment, counts]),
    [
      ['approve', 'ann', 'fine', true],
      ['comment', 'operator', 'please hurry', false],
      ['approve', 'ben', '', true],
    ],
  );
  assert.equal(await jobCount(server), 1);
  await assert.rejects(
    server.catalog.write((tx) =>
      tx.updateTable('request_decisions').set({ kind: 'comment' }).execute(),
    ),
    /decisions cannot be changed/,
  );
  await assert.rejects(
    server.catalog.write((tx) => tx.deleteFrom('request_decisions').execute()),
    /decisions cannot be deleted/,
  );
});

test('whoever was disabled after approving does not count any more', async (t) => {
  const cast = await startCast(t);
  const { server, operator, ann, ben } = cast;
  await addRule(cast, {});
  const { id } = await ask(cast);
  await act(server, ann, id, 'approve');
  assert.equal((await read(server, operator, id)).approvalsGiven, 1);
  await server.catalog.write((tx) =>
    tx
      .updateTable('principals')
      .set({ disabled_at: new Date(server.clock.nowMs).toISOString() })
      .where('id', '=', 'principal-ann')
      .execute(),
  );
  const after = (await act(server, ben, id, 'approve')).json<Request>();
  assert.deepEqual([after.state, after.approvalsGiven], ['pending', 1]);
  assert.equal((await read(server, operator, id)).decisions[0]?.counts, false);
});

test('any approver may veto, also after others have approved', async (t) => {
  const cast = await startCast(t);
  const { server, ann, ben } = cast;
  await addRule(cast, {});
  const { id } = await ask(cast);
  await act(server, ann, id, 'approve');
  const vetoed = (await act(server, ben, id, 'reject', { comment: 'not today' })).json<Request>();
  assert.deepEqual([vetoed.state, vetoed.decisionComment], ['rejected', 'not today']);
  assert.equal((await act(server, ann, id, 'approve')).json<Problem>().code, 'wrong_state');
  assert.equal(await jobCount(server), 0);
});

const CHANGES: readonly (readonly [string, object, RegExp])[] = [
  ['it was shut down', { state: 'off' }, /level: it was memory, and is offline/],
  ['it has another disk', { disks: [...WEB.disks, { ...WEB.disks[0], target: 'vdb' }] }, /disks:/],
  ['it is busy', { jobActive: true }, /busy with another job/],
];

for (const [what, changes, reason] of CHANGES)
  test(`a capture is not approved when the VM changed since: ${what}`, async (t) => {
    const cast = await startCast(t);
    const { server, ann, operator } = cast;
    const { id } = await ask(cast);
    await changeVm(server, changes);
    const refused = await act(server, ann, id, 'approve');
    assert.equal(refused.json<Problem>().code, 'plan_changed', refused.body);
    assert.match(refused.json<Problem>().detail, reason);
    assert.match(refused.json<Problem>().whatToDo, /renewed/);
    const after = await read(server, operator, id);
    assert.deepEqual([after.state, after.decisions], ['pending', []]);
    assert.equal(await jobCount(server), 0);
    const refusals = await server.catalog.read
      .selectFrom('audit_events')
      .select(['outcome', 'reason'])
      .where('action', '=', 'request.approve')
      .execute();
    assert.equal(refusals.length, 1);
    assert.equal(refusals[0]?.outcome, 'failed');
    assert.match(refusals[0]?.reason ?? '', /^plan_changed: /);
  });

test('room that changed is no reason to ask again', async (t) => {
  const cast = await startCast(t);
  const { server, ann } = cast;
  const { id } = await ask(cast);
  await changeVm(server, { disks: [{ ...WEB.disks[0], allocatedBytes: 1 }] });
  assert.equal((await act(server, ann, id, 'approve')).json<Request>().state, 'approved');
});

test('a renewed plan clears approvals of another one, and keeps those of the same', async (t) => {
  const cast = await startCast(t);
  const { server, operator, ann, ben } = cast;
  await addRule(cast, {});
  const { id } = await ask(cast);
  await act(server, ann, id, 'approve');
  const same = (await act(server, operator, id, 'renew')).json<Request>();
  assert.equal(same.approvalsGiven, 1);
  await changeVm(server, { state: 'off' });
  assert.equal((await act(server, ben, id, 'approve')).json<Problem>().code, 'plan_changed');
  const renewed = (await act(server, operator, id, 'renew')).json<Request>();
  assert.deepEqual([renewed.state, renewed.approvalsGiven], ['pending', 0]);
  assert.equal(renewed.plan?.operation === 'create' && renewed.plan.level, 'offline');
  assert.equal((await act(server, ann, id, 'approve')).json<Request>().approvalsGiven, 1);
  assert.equal((await act(server, ben, id, 'approve')).json<Request>().state, 'approved');
  const viewer = await server.token('viewer');
  assert.equal((await act(server, viewer, (await ask(cast)).id, 'renew')).statusCode, 403);
});

test('nothing is approved for a requester who may not ask any more', async (t) => {
  const cast = await startCast(t);
  const { server, ann } = cast;
  const change = ({ role, disabledAt }: { role: string; disabledAt: string | null }) =>
    server.catalog.write(async (tx) => {
      await tx
        .updateTable('bindings')
        .set({ role_id: role })
        .where('principal_id', '=', 'principal-operator')
        .execute();
      await tx
        .updateTable('principals')
        .set({ disabled_at: disabledAt })
        .where('id', '=', 'principal-operator')
        .execute();
    });
  const { id } = await ask(cast);
  await change({ role: 'viewer', disabledAt: null });
  const lacking = (await act(server, ann, id, 'approve')).json<Problem>();
  assert.deepEqual(
    [lacking.code, /no right "create"/.test(lacking.detail)],
    ['plan_changed', true],
  );
  await change({ role: 'operator', disabledAt: '2026-01-01T00:00:00.000Z' });
  assert.match((await act(server, ann, id, 'approve')).json<Problem>().detail, /is disabled/);
  await change({ role: 'operator', disabledAt: null });
  assert.equal((await act(server, ann, id, 'approve')).statusCode, 200);
});

test('a snapshot that was deleted or damaged meanwhile is neither restored nor exported', async (t) => {
  const cast = await startCast(t);
  const { server, operator, administrator, ann } = cast;
  const made = await ask(cast, { name: 'one' }, administrator);
  await server.runNextJob();
  const url = `/api/v1/snapshots/${made.snapshot?.id}`;
  const post = (verb: string, body: object) =>
    server.call(operator, 'POST', `${url}/${verb}`, { body });
  const restore = await post('restore', { mode: 'rollback', confirmVmName: 'web' });
  const exporting = await post('export', { folder: '/srv/export' });
  const ids = [restore.json<Request>().id, exporting.json<Request>().id];
  const setState = (state: string) =>
    server.catalog.write((tx) => tx.updateTable('snapshots').set({ state }).execute());
  await setState('damaged');
  for (const id of ids)
    assert.equal((await act(server, ann, id, 'approve')).json<Problem>().code, 'snapshot_damaged');
  await setState('deleting');
  await setState('deleted');
  for (const id of ids)
    assert.equal((await act(server, ann, id, 'approve')).json<Problem>().code, 'wrong_state');
  assert.equal((await server.call(ann, 'GET', url)).json<Snapshot>().state, 'deleted');
  assert.equal(await jobCount(server), 1);
});

test('a rollback that would stop the VM now, or meets it renamed or gone, is not approved', async (t) => {
  const cast = await startCast(t);
  const { server, operator, administrator, ann } = cast;
  const made = await ask(cast, { name: 'one' }, administrator);
  await server.runNextJob();
  await changeVm(server, { state: 'off' });
  const asked = await server.call(
    operator,
    'POST',
    `/api/v1/snapshots/${made.snapshot?.id}/restore`,
    {
      body: { mode: 'rollback', confirmVmName: 'web' },
    },
  );
  const { id } = asked.json<Request>();
  const refusal = async () => (await act(server, ann, id, 'approve')).json<Problem>();
  await changeVm(server, {});
  assert.match((await refusal()).detail, /stops the VM: it was no, and is yes/);
  await changeVm(server, { state: 'off', name: 'web-old' });
  assert.match((await refusal()).detail, /named web-old now/);
  await server.catalog.write((tx) => tx.updateTable('vms').set({ present: 0 }).execute());
  assert.match((await refusal()).detail, /gone from its host/);
  assert.equal(await jobCount(server), 1);
});

test('an approval that is too old is not executed, whether or not anybody noticed yet', async (t) => {
  const cast = await startCast(t);
  const { server, operator, ann } = cast;
  const { id } = await ask(cast, { name: 'late' });
  const approved = (await act(server, ann, id, 'approve')).json<Request>();
  const expiresAt = Date.parse(approved.approvalExpiresAt ?? '');
  assert.equal(expiresAt - server.clock.nowMs, 24 * HOUR_MS);
  server.clock.nowMs = expiresAt;
  await assert.rejects(server.runNextJob(), /there is no job/);
  await expire(server);
  const after = await read(server, operator, id);
  assert.deepEqual([after.state, after.failure?.code], ['expired', 'cancelled']);
  const snapshot = await server.call(operator, 'GET', `/api/v1/snapshots/${after.snapshot?.id}`);
  assert.equal(snapshot.json<Snapshot>().state, 'failed');
  await assert.rejects(server.runNextJob(), /there is no job/);
});

test('what has begun in time goes on however long it takes', async (t) => {
  const cast = await startCast(t);
  const { server, operator, ann } = cast;
  const { id } = await ask(cast);
  await act(server, ann, id, 'approve');
  assert.equal(await server.runNextJob(), 'succeeded');
  server.clock.nowMs += 48 * HOUR_MS;
  await expire(server);
  assert.equal((await read(server, operator, id)).state, 'succeeded');
});

test('a request whose time is over is not decided, even before it is written down as expired', async (t) => {
  const cast = await startCast(t);
  const { server, ann, administrator } = cast;
  const { id, expiresAt } = await ask(cast);
  server.clock.nowMs = Date.parse(expiresAt ?? '');
  for (const [token, verb, body] of [
    [ann, 'approve', {}],
    [ann, 'reject', {}],
    [ann, 'renew', {}],
    [administrator, 'override', { reason: 'fire' }],
    [administrator, 'cancel', {}],
  ] as const) {
    const problem = (await act(server, token, id, verb, body)).json<Problem>();
    assert.deepEqual([problem.code, /expired/.test(problem.detail)], ['wrong_state', true], verb);
  }
});

test('the emergency override begins one’s own request, needs a reason, and is marked everywhere', async (t) => {
  const cast = await startCast(t);
  const { server, ann, administrator } = cast;
  await addRule(cast, { operations: ['create'] });
  const { id, state } = await ask(cast, {}, administrator);
  assert.equal(state, 'pending');
  assert.equal(
    (await act(server, administrator, id, 'override')).json<Problem>().code,
    'invalid_input',
  );
  assert.equal((await act(server, ann, id, 'override', { reason: 'x' })).statusCode, 403);
  const done = (
    await act(server, administrator, id, 'override', { reason: 'disk on fire' })
  ).json<Request>();
  assert.deepEqual([done.state, done.emergency, done.approvalsGiven], ['approved', true, 0]);
  assert.deepEqual(
    [done.decisions[0]?.kind, done.decisions[0]?.comment],
    ['override', 'disk on fire'],
  );
  const events = await server.call(
    administrator,
    'GET',
    '/api/v1/audit-events?action=request.override',
  );
  const [event] = events.json<{ items: { outcome: string; reason: string; details: object }[] }>()
    .items;
  assert.equal(event?.outcome, 'succeeded');
  assert.equal(event?.reason, 'disk on fire');
  assert.deepEqual(event?.details, {
    operation: 'create',
    emergency: true,
    approvalsGiven: 0,
    approvalsNeeded: 2,
    confirmationRule: 'Two of us',
  });
});

test('whoever may approve for other VMs only does not know of the request, and counts no more when the scope moves', async (t) => {
  const cast = await startCast(t);
  const { server, operator, ann } = cast;
  await addRule(cast, {});
  const scope = { kind: 'label', key: 'env', value: 'prod' } as const;
  const cas = await server.token('approver', { name: 'cas', scope });
  const { id } = await ask(cast);
  assert.equal((await act(server, cas, id, 'approve')).statusCode, 404);
  const label = (env: string) =>
    server.call(cast.administrator, 'PATCH', `/api/v1/vms/${VM_ID}`, { body: { labels: { env } } });
  await label('prod');
  assert.equal((await act(server, cas, id, 'approve')).json<Request>().approvalsGiven, 1);
  await label('test');
  const after = (await act(server, ann, id, 'approve')).json<Request>();
  assert.deepEqual([after.state, after.approvalsGiven], ['pending', 1]);
  assert.deepEqual(
    (await read(server, operator, id)).decisions.map(({ by, counts }) => [by.name, counts]),
    [
      ['cas', false],
      ['ann', true],
    ],
  );
});
