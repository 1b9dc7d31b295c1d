import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventResourceSchema } from '../../contract/events.ts';
import {
  snapshotCreateInputSchema,
  snapshotRestoreInputSchema,
} from '../../contract/snapshot-inputs.ts';
import {
  sampleMayDecide,
  sampleRequest,
  sampleSnapshot,
  sampleVm,
  VM_ID,
} from '../../client/samples.test-suite.ts';
import { OperationError } from '../../shared/errors.ts';
import { createBody } from './create-input.ts';
import { formatLabelLines, parseLabelLines } from './label-lines.ts';
import { describeProblem } from './problem.ts';
import { judgeProtection } from './protection.ts';
import { addRate, EMPTY_HISTORY } from './rate-history.ts';
import { judgeSpace } from './repository-space.ts';
import { emptyRestoreForm, restoreBody, startChoice } from './restore-form.ts';
import { compareDisks, countTakenSince } from './restore-loss.ts';
import { touchedQueries } from './touched-queries.ts';
import { offeredDecisions } from './offered-decisions.ts';
import { permissionOf, permit } from './verdicts.ts';
import { filterVms } from './vm-filter.ts';

const NOW = new Date('2026-03-02T00:00:00.000Z');

test('protection counts only VMs that exist, the worst first', () => {
  const vms = [
    sampleVm({ name: 'fresh', lastSnapshotAt: '2026-03-01T23:00:00.000Z' }),
    sampleVm({ name: 'stale', lastSnapshotAt: '2026-02-01T00:00:00.000Z' }),
    sampleVm({ name: 'bare', lastSnapshotAt: null }),
    sampleVm({ name: 'gone', lastSnapshotAt: null, present: false }),
  ];
  const { total, protectedCount, unprotected } = judgeProtection(vms, 24, NOW);
  assert.deepEqual([total, protectedCount], [3, 1]);
  assert.deepEqual(
    unprotected.map(({ name }) => name),
    ['bare', 'stale'],
  );
});

test('VMs are found by all words, and sorted as people count', () => {
  const vms = [
    sampleVm({ name: 'web-10', labels: { site: 'tokyo' } }),
    sampleVm({ name: 'web-9', labels: { site: 'tokyo' } }),
    sampleVm({ name: 'db', labels: {}, present: false }),
  ];
  const find = (search: string, changes: object = {}): string[] =>
    filterVms(vms, { search, state: '', label: '', gone: false, ...changes }).map((vm) => vm.name);
  assert.deepEqual(find('WEB tokyo'), ['web-9', 'web-10']);
  assert.deepEqual(find(''), ['web-9', 'web-10']);
  assert.deepEqual(find('', { gone: true, label: '' }), ['db', 'web-9', 'web-10']);
  assert.deepEqual(find('', { label: 'site=osaka' }), []);
});

test('what a rollback changes in the disks is named', () => {
  const [vda] = sampleVm().description.disks;
  assert.ok(vda);
  const description = {
    ...sampleVm().description,
    disks: [vda, { ...vda, target: 'vdb' }, { ...vda, target: 'sda', readOnly: true }],
  };
  const snapshot = sampleSnapshot({
    disks: [
      { target: 'vda', format: 'qcow2', sizeBytes: 1 },
      { target: 'vdc', format: 'raw', sizeBytes: 2 },
    ],
  });
  assert.deepEqual(compareDisks(snapshot, { description }), [
    { kind: 'missing', target: 'vdb' },
    { kind: 'resized', target: 'vda', nowBytes: vda.sizeBytes, thenBytes: 1 },
    { kind: 'returns', target: 'vdc', sizeBytes: 2 },
  ]);
  const later = sampleSnapshot({ id: 'x', capturedAt: '2026-03-01T10:00:00.000Z' });
  assert.equal(countTakenSince(sampleSnapshot(), [sampleSnapshot(), later]), 1);
  assert.equal(countTakenSince(sampleSnapshot(), [{ ...later, state: 'failed' }]), 0);
});

test('bodies are what the contract takes; empty fields are absent', () => {
  const form = {
    name: ' ',
    description: '',
    kind: 'disk',
    quiesce: 'never',
    skipDisks: ['vdb'],
    expiresInDays: 7,
    reason: '',
    reference: ' CHG-1 ',
  } as const;
  const created = snapshotCreateInputSchema.parse(createBody(VM_ID, form, NOW));
  assert.equal(created.expiresAt, '2026-03-09T00:00:00.000Z');
  assert.deepEqual(
    [created.name, created.reason, created.reference],
    [undefined, undefined, 'CHG-1'],
  );

  const newVm = { ...emptyRestoreForm('new-vm'), newName: 'copy', resumeMemory: true };
  assert.deepEqual(snapshotRestoreInputSchema.parse(restoreBody(newVm)), {
    mode: 'new-vm',
    name: 'copy',
    linksDown: true,
    start: true,
    resumeMemory: true,
  });
  for (const start of ['as-captured', true, false] as const) {
    const rollBack = { ...emptyRestoreForm('rollback'), start: startChoice(start) };
    const body = snapshotRestoreInputSchema.parse(restoreBody(rollBack));
    assert.ok(body.mode === 'rollback' && body.safetySnapshot);
    assert.equal(body.start, start);
  }
});

test('labels are read a line at a time, and the wrong line is named', () => {
  const labels = { site: 'tokyo', note: 'a=b' };
  assert.deepEqual(parseLabelLines(formatLabelLines(labels)), { labels });
  assert.deepEqual(parseLabelLines('\n  \n'), { labels: {} });
  assert.deepEqual(parseLabelLines('site=tokyo\nNo Label'), { badLine: 'No Label' });
});

test('every event says what to read again', () => {
  assert.equal(touchedQueries({ type: 'resync' }), null);
  assert.deepEqual(touchedQueries({ type: 'progress', resource: 'job' }), ['jobList', 'jobGet']);
  for (const resource of eventResourceSchema.options)
    assert.ok(touchedQueries({ type: 'changed', resource }) !== null, resource);
});

test('a missing right is said before a state that would pass', () => {
  const busy = { allowed: false, reason: 'busy' } as const;
  assert.deepEqual(permit(busy, 'delete', ['view']), { allowed: false, missingRight: 'delete' });
  assert.deepEqual(permit(busy, 'delete', ['delete']), busy);
  assert.deepEqual(permit({ allowed: true }, null, []), { allowed: true });
});

test('problems keep what to do; anything else thrown is an internal error', () => {
  const refused = new OperationError('forbidden', 'No.', { details: { whatToDo: 'Ask.' } });
  assert.deepEqual(describeProblem(refused), {
    code: 'forbidden',
    message: 'No.',
    whatToDo: 'Ask.',
    httpRequestId: null,
  });
  assert.equal(describeProblem(new TypeError('x')).code, 'internal');
});

test('space and rates stay finite', () => {
  assert.deepEqual(judgeSpace({ storedBytes: 0, uniqueBytes: 0, freeBytes: null }), {
    usedShare: null,
    ratio: null,
  });
  assert.deepEqual(judgeSpace({ storedBytes: 25, uniqueBytes: 100, freeBytes: 75 }), {
    usedShare: 0.25,
    ratio: 4,
  });
  let history = EMPTY_HISTORY;
  for (let at = 0; at < 2000; at += 1) history = addRate(history, at * 1000, at);
  assert.equal(history.times.length, 600);
  assert.equal(addRate(history, 5, 1), history);
});

test('what is offered for a request depends on its state, its requester, and the right to override', () => {
  const lacking = { allowed: false, reason: 'No.', missingRight: 'emergency' } as const;
  const notMine = { allowed: false, reason: 'Not yours.', missingRight: null } as const;
  const offer = (changes: object, callerId: string, isBrief = false) =>
    offeredDecisions(sampleRequest({ state: 'pending', ...changes }), { callerId, isBrief });
  const others = { mayDecide: sampleMayDecide({ override: lacking, cancel: notMine }) };
  assert.deepEqual(offer({}, 'u2'), [
    'approve',
    'reject',
    'comment',
    'renew',
    'override',
    'cancel',
  ]);
  assert.deepEqual(offer(others, 'u2'), ['approve', 'reject', 'comment', 'renew']);
  assert.deepEqual(offer(others, 'u2', true), ['approve', 'reject']);
  assert.deepEqual(offer(others, 'u1', true), ['approve', 'reject', 'cancel']);
  assert.deepEqual(offer({ state: 'executing', ...others }, 'u2'), ['comment', 'cancel']);
  assert.deepEqual(offer({ state: 'rejected' }, 'u1'), []);
});

test('what the server says one may do becomes a reason: a missing right before anything else', () => {
  const yes = { allowed: true, reason: null, missingRight: null };
  assert.deepEqual(permissionOf(yes), { allowed: true });
  assert.deepEqual(permissionOf({ allowed: false, reason: 'x', missingRight: 'approve' }), {
    allowed: false,
    missingRight: 'approve',
  });
  assert.deepEqual(permissionOf({ allowed: false, reason: 'Twice.', missingRight: null }), {
    allowed: false,
    reason: 'Twice.',
  });
});
