import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import {
  REQUEST_ID,
  sampleMayDecide,
  sampleRequest,
  sampleVm,
  VM_ID,
} from '../client/samples.test-suite.ts';
import { startTableServer } from '../client/table-server.test-suite.ts';
import type { TableHandler, TableServer } from '../client/table-server.test-suite.ts';
import type { ConfirmationRule } from '../contract/confirmation.ts';
import { runInProcess } from './run-in-process.test-suite.ts';

let server: TableServer;
before(async () => {
  server = await startTableServer({});
});
after(() => server.close());
afterEach(() => {
  server.calls.length = 0;
});

const run = (...argv: string[]) => runInProcess(argv, { url: server.url });

const lastCall = (operationId: string) =>
  server.calls.findLast((call) => call.operationId === operationId);

const AT = '2026-03-01T09:30:00.000Z';
const BEN = { id: 'u2', name: 'ben', kind: 'user' } as const;
const pending = sampleRequest({
  state: 'pending',
  jobId: null,
  approvalsNeeded: 2,
  approvalsGiven: 1,
  decisions: [
    { position: 1, kind: 'approve', by: BEN, at: AT, comment: 'fine', counts: true },
    { position: 2, kind: 'approve', by: BEN, at: AT, comment: '', counts: false },
  ],
  mayDecide: sampleMayDecide({
    override: { allowed: false, reason: 'You lack the right.', missingRight: 'emergency' },
  }),
});

const RULE: ConfirmationRule = {
  id: '0193b0f0-0000-7000-8000-0000000000d1',
  name: 'Production',
  description: '',
  operations: ['restore', 'delete'],
  scope: { kind: 'label', key: 'env', value: 'prod' },
  roles: null,
  exceptRoles: ['administrator'],
  approvals: 2,
  builtIn: false,
  createdAt: AT,
  updatedAt: AT,
};
const events: TableHandler = ({ response }) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': hello\n\n');
};
const changed = sampleRequest({
  operation: 'change-rules',
  state: 'succeeded',
  vm: null,
  snapshot: null,
  jobId: null,
  plan: null,
  parameters: {
    operation: 'change-rules',
    change: { kind: 'delete', ruleId: RULE.id, version: 1 },
  },
  result: { ruleId: RULE.id },
});

test('a request shows its rule, its decisions, and what one may do', async () => {
  server.handlers = {
    requestGet: () => pending,
    requestList: () => ({ items: [pending], nextCursor: null }),
  };
  const shown = await run('request', 'show', REQUEST_ID);
  assert.match(shown.output, /APPROVALS +1\/2/);
  assert.match(shown.output, /The rule "everything" asks for 2/);
  assert.match(shown.output, /approve: ben, .*, fine\n/);
  assert.match(shown.output, /approve: ben, .*, counts no more\n/);
  assert.match(shown.output, /override: no: You lack the right\./);
  assert.match((await run('request', 'list')).output, / 1\/2 /);
});

test('an approval that does not suffice says how many there are', async () => {
  server.handlers = { requestApprove: () => pending };
  const first = await run('request', 'approve', REQUEST_ID, '--comment', 'fine');
  assert.match(first.output, /is recorded: 1 of 2/);
  server.handlers = { requestApprove: () => sampleRequest({ state: 'approved' }) };
  assert.match((await run('request', 'approve', REQUEST_ID)).output, /is approved/);
});

test('comment, renew and override reach their routes', async () => {
  server.handlers = {
    requestComment: () => pending,
    requestRenew: () => pending,
    requestOverride: () => sampleRequest({ state: 'approved', emergency: true }),
  };
  assert.equal((await run('request', 'comment', REQUEST_ID, 'please hurry')).code, 0);
  assert.deepEqual(lastCall('requestComment')?.body, { comment: 'please hurry' });
  assert.equal((await run('request', 'renew', REQUEST_ID)).code, 0);
  const withoutReason = await run('request', 'override', REQUEST_ID);
  assert.equal(withoutReason.code, 2);
  assert.equal(lastCall('requestOverride'), undefined);
  const done = await run('request', 'override', REQUEST_ID, '--reason', 'fire', '--no-wait');
  assert.equal(done.code, 0);
  assert.match(done.errors, /as an emergency/);
  assert.deepEqual(lastCall('requestOverride')?.body, { reason: 'fire' });
});

test('rules are listed, shown by name, and their changes are requests', async () => {
  server.handlers = {
    confirmationRuleList: () => ({ items: [RULE], nextCursor: null }),
    confirmationRuleGet: () => RULE,
    confirmationRuleCreate: () => changed,
    confirmationRuleUpdate: () => changed,
    confirmationRuleDelete: () => ({ ...changed, state: 'pending' }),
    requestGet: () => changed,
    eventStream: events,
    vmGet: () => sampleVm(),
  };
  const list = await run('confirmation-rule', 'list');
  assert.match(list.output, /Production +restore, delete +env=prod +anybody, not administrator +2/);
  assert.match((await run('confirmation-rule', 'show', 'Production')).output, new RegExp(RULE.id));
  assert.equal((await run('confirmation-rule', 'show', 'Nothing')).code, 5);
  const words = ['--operation', 'restore', '--operation', 'delete', '--approvals', '2'];
  const made = await run('confirmation-rule', 'create', 'Web', ...words, '--vm', VM_ID);
  assert.equal(made.code, 0, made.errors);
  assert.deepEqual(lastCall('confirmationRuleCreate')?.body, {
    name: 'Web',
    operations: ['restore', 'delete'],
    approvals: 2,
    scope: { kind: 'vms', vmIds: [VM_ID] },
    description: '',
    roles: null,
    exceptRoles: [],
  });
  const edit = ['confirmation-rule', 'edit', 'Production'];
  assert.equal((await run(...edit)).code, 2);
  assert.equal((await run(...edit, '--label', 'env=prod', '--everything')).code, 2);
  assert.equal((await run(...edit, '--anybody', '--approvals', '1')).code, 0);
  assert.deepEqual(lastCall('confirmationRuleUpdate')?.body, { approvals: 1, roles: null });
  const removed = await run('confirmation-rule', 'delete', RULE.id, '--reason', 'old');
  assert.match(removed.output, /waits for approval/);
  assert.deepEqual(lastCall('confirmationRuleDelete')?.body, { reason: 'old' });
});
