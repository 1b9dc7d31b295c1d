import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  jobIsOver,
  jobCan,
  requestCan,
  requestIsOver,
  snapshotCan,
  vmCan,
} from './state-predicates.ts';
import { jobStateSchema } from './jobs.ts';
import { requestStateSchema } from './requests.ts';
import { jobKindSchema } from './scalars.ts';
import { snapshotStateSchema } from './snapshots.ts';

/** One column per act; `x` is allowed. */
const SNAPSHOT_TABLE = {
  //           restore export verify delete edit
  creating: ['-', '-', '-', '-', 'x'],
  active: ['x', 'x', 'x', 'x', 'x'],
  deleting: ['-', '-', '-', '-', '-'],
  deleted: ['-', '-', '-', '-', '-'],
  failed: ['-', '-', '-', 'x', 'x'],
  damaged: ['-', '-', 'x', 'x', 'x'],
} as const;
const ACTS = ['restore', 'export', 'verify', 'delete', 'edit'] as const;

const mark = (verdict: { allowed: boolean; reason?: string }): string => {
  if (!verdict.allowed)
    assert.match(verdict.reason ?? '', /^([A-Z]|libvirt ).+\.$/, 'a refusal has a reason');
  return verdict.allowed ? 'x' : '-';
};

test('what each snapshot state allows', () => {
  for (const state of snapshotStateSchema.options)
    assert.deepEqual(
      ACTS.map((act) => mark(snapshotCan[act]({ state, pinned: false, busyWith: null }))),
      SNAPSHOT_TABLE[state],
      state,
    );
});

test('a pinned snapshot is only kept from deletion', () => {
  const pinned = { state: 'active', pinned: true, busyWith: null } as const;
  assert.deepEqual(
    ACTS.map((act) => mark(snapshotCan[act](pinned))),
    ['x', 'x', 'x', '-', 'x'],
  );
});

test('what a snapshot allows while an operation holds it', () => {
  const table = {
    //          restore export verify delete
    create: ['x', 'x', 'x', '-'],
    restore: ['x', 'x', 'x', '-'],
    delete: ['-', '-', '-', '-'],
    export: ['x', 'x', 'x', '-'],
    verify: ['x', 'x', '-', '-'],
    collect: ['x', 'x', 'x', '-'],
  } as const;
  for (const operation of jobKindSchema.options) {
    const busyWith = { operation, requestId: '0193b0f0-0000-7000-8000-0000000000b1' };
    assert.deepEqual(
      ACTS.slice(0, 4).map((act) =>
        mark(snapshotCan[act]({ state: 'active', pinned: false, busyWith })),
      ),
      table[operation],
      operation,
    );
  }
});

const description = { jobActive: false } as Parameters<typeof vmCan.capture>[0]['description'];
const busy = { ...description, jobActive: true };

test('rolling back needs the VM, and libvirt at rest', () => {
  const active = { state: 'active', pinned: false, busyWith: null } as const;
  assert.equal(mark(snapshotCan.rollBack(active, { present: true, description })), 'x');
  assert.equal(mark(snapshotCan.rollBack(active, { present: true, description: busy })), '-');
  assert.equal(mark(snapshotCan.rollBack(active, { present: false, description })), '-');
  assert.equal(mark(snapshotCan.rollBack(active, null)), '-');
  const damaged = { ...active, state: 'damaged' } as const;
  assert.equal(mark(snapshotCan.rollBack(damaged, { present: true, description })), '-');
});

test('which VMs can be captured', () => {
  const table = { running: 'x', paused: 'x', off: 'x', crashed: '-', other: '-' } as const;
  for (const state of ['running', 'paused', 'off', 'crashed', 'other'] as const) {
    assert.equal(mark(vmCan.capture({ present: true, state, description })), table[state], state);
    assert.equal(mark(vmCan.capture({ present: false, state, description })), '-');
    assert.equal(mark(vmCan.capture({ present: true, state, description: busy })), '-');
  }
});

const NOW = '2026-03-01T00:00:00.000Z';
const LATER = '2026-03-08T00:00:00.000Z';

test('what each request state allows, and that the requester never approves', () => {
  const table = {
    //          approve reject cancel over
    pending: ['x', 'x', 'x', false],
    approved: ['-', '-', 'x', false],
    executing: ['-', '-', 'x', false],
    succeeded: ['-', '-', '-', true],
    failed: ['-', '-', '-', true],
    rejected: ['-', '-', '-', true],
    expired: ['-', '-', '-', true],
    cancelled: ['-', '-', '-', true],
  } as const;
  const requestedBy = { id: 'u1', name: 'aya', kind: 'user' } as const;
  for (const state of requestStateSchema.options) {
    const request = { state, requestedBy, expiresAt: LATER, decisions: [] } as const;
    assert.deepEqual(
      [
        mark(requestCan.approve(request, { id: 'u2', now: NOW })),
        mark(requestCan.reject(request, NOW)),
        mark(requestCan.cancel(request, { id: 'u1', now: NOW, isAdministrator: false })),
        requestIsOver(state),
      ],
      table[state],
      state,
    );
    for (const act of ['renew', 'override'] as const)
      assert.equal(mark(requestCan[act](request, NOW)), table[state][1], `${act} ${state}`);
    assert.equal(mark(requestCan.approve(request, { id: 'u1', now: NOW })), '-');
  }
});

test('nobody approves twice, and nothing is decided when its time is over', () => {
  const by = { id: 'u2', name: 'ben', kind: 'user' } as const;
  const pending = {
    state: 'pending',
    requestedBy: { id: 'u1', name: 'aya', kind: 'user' },
    expiresAt: LATER,
  } as const;
  const approvedBefore = (counts: boolean) =>
    mark(
      requestCan.approve(
        { ...pending, decisions: [{ kind: 'approve', by, counts }] },
        { id: 'u2', now: NOW },
      ),
    );
  assert.equal(approvedBefore(true), '-');
  assert.equal(approvedBefore(false), 'x');
  const over = { ...pending, decisions: [] };
  assert.equal(mark(requestCan.approve(over, { id: 'u2', now: LATER })), '-');
  for (const act of ['reject', 'renew', 'override'] as const)
    assert.equal(mark(requestCan[act](over, LATER)), '-', act);
  const cancel = (now: string, id: string, isAdministrator: boolean) =>
    mark(requestCan.cancel(over, { id, now, isAdministrator }));
  assert.equal(cancel(LATER, 'u1', true), '-');
  assert.equal(cancel(NOW, 'u2', false), '-');
  assert.equal(cancel(NOW, 'u2', true), 'x');
});

test('which jobs can be cancelled', () => {
  const table = {
    queued: ['x', false],
    running: ['x', false],
    undoing: ['-', false],
    succeeded: ['-', true],
    failed: ['-', true],
    cancelled: ['-', true],
  } as const;
  for (const state of jobStateSchema.options) {
    assert.deepEqual(
      [mark(jobCan.cancel({ state, cancelRequested: false })), jobIsOver(state)],
      table[state],
    );
    assert.equal(mark(jobCan.cancel({ state, cancelRequested: true })), '-');
  }
});
