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
import { operationSchema } from './scalars.ts';
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
  for (const operation of operationSchema.options) {
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
    const request = { state, requestedBy, operation: 'create' } as const;
    assert.deepEqual(
      [
        mark(requestCan.approve(request, 'u2')),
        mark(requestCan.reject(request)),
        mark(requestCan.cancel(request)),
        requestIsOver(state),
      ],
      table[state],
      state,
    );
    assert.equal(mark(requestCan.approve(request, 'u1')), '-');
  }
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
