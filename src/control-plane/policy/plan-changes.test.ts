import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CapturePlan, OtherPlan, RestorePlan } from '../../contract/preflight.ts';
import { NO_CONFIRMATION } from './confirmation.ts';
import { describePlanChange } from './plan-changes.ts';

const capture: CapturePlan = {
  operation: 'create',
  possible: true,
  kind: 'full',
  level: 'memory',
  levelReason: 'Because.',
  memoryMode: 'background',
  memoryBytes: 1,
  estimatedPauseMs: 1,
  disks: [{ target: 'vda', format: 'qcow2', sizeBytes: 10, allocatedBytes: 5, obstacle: null }],
  skipped: [],
  scratchBytesNeeded: 1,
  scratchFreeBytes: 1,
  repositoryBytesEstimated: 1,
  freeBytes: 1,
  confirmationNeeded: false,
  confirmation: NO_CONFIRMATION,
  problems: [],
  warnings: [],
  inventoryAt: '2026-03-01T00:00:00.000Z',
};
const base = {
  possible: true,
  confirmationNeeded: false,
  confirmation: NO_CONFIRMATION,
  problems: [],
  warnings: [],
};
const restore: RestorePlan = {
  ...base,
  operation: 'restore',
  snapshotState: 'active',
  mode: 'rollback',
  vmName: 'web',
  stopsVm: false,
  startsVm: false,
  resumesMemory: false,
  safetySnapshot: true,
  bytesToWrite: 1,
  freeBytes: 1,
};
const removal: OtherPlan = { ...base, operation: 'delete', snapshotState: 'active' };
const [disk] = capture.disks;
assert.ok(disk);

test('what changes by itself is no change of a plan', () => {
  const later = {
    ...capture,
    scratchFreeBytes: 2,
    freeBytes: null,
    repositoryBytesEstimated: 9,
    estimatedPauseMs: 7,
    inventoryAt: '2026-03-02T00:00:00.000Z',
    disks: [{ ...disk, allocatedBytes: 9 }],
    warnings: [{ code: 'repository_tight', message: 'Tight.' }],
  };
  assert.equal(describePlanChange(capture, later), null);
  assert.equal(describePlanChange(restore, { ...restore, freeBytes: 0 }), null);
  assert.equal(describePlanChange(removal, removal), null);
});

test('every other thing of a capture is', () => {
  const changes: Partial<CapturePlan>[] = [
    { kind: 'disk' },
    { level: 'crash' },
    { memoryMode: 'stop-and-copy' },
    { disks: [] },
    { disks: [{ ...disk, sizeBytes: 11 }] },
    { disks: [{ ...disk, format: 'raw' }] },
    { skipped: [{ target: 'vdb', reason: 'x' }] },
  ];
  for (const change of changes)
    assert.notEqual(describePlanChange(capture, { ...capture, ...change }), null);
  assert.equal(
    describePlanChange(capture, { ...capture, level: 'crash' }),
    'level: it was memory, and is crash.',
  );
});

test('every other thing of a restore or a delete is', () => {
  const changes: Partial<RestorePlan>[] = [
    { stopsVm: true },
    { startsVm: true },
    { resumesMemory: true },
    { safetySnapshot: false },
    { vmName: 'db' },
    { snapshotState: 'damaged' },
  ];
  for (const change of changes)
    assert.notEqual(describePlanChange(restore, { ...restore, ...change }), null);
  assert.notEqual(describePlanChange(removal, { ...removal, snapshotState: 'damaged' }), null);
});

test('problems come first, then stricter rules', () => {
  const problem = { code: 'in_use' as const, reason: 'It is busy.', whatToDo: 'Wait.' };
  assert.equal(
    describePlanChange(removal, { ...removal, problems: [problem, problem] }),
    'It is busy. It is busy.',
  );
  const stricter = { approvalsNeeded: 2, rule: null, explanation: 'Two.' };
  assert.match(describePlanChange(removal, { ...removal, confirmation: stricter }) ?? '', /Two\./);
  assert.equal(describePlanChange({ ...removal, confirmation: stricter }, removal), null);
});
