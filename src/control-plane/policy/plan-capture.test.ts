import assert from 'node:assert/strict';
import { test } from 'node:test';
import { capturePlanSchema } from '../../contract/preflight.ts';
import { GIB, MIB } from '../../shared/byte-size.ts';
import type { DiskDescription, HostDescription, VmDescription } from '../../shared/inventory.ts';
import type { CaptureWish } from './capture-wish.ts';
import { NO_CONFIRMATION } from './confirmation.ts';
import { planCapture, type CaptureRoom } from './plan-capture.ts';

const disk = (target: string, more: Partial<DiskDescription> = {}): DiskDescription => ({
  target,
  sourceType: 'file',
  path: `/images/${target}.qcow2`,
  format: 'qcow2',
  sizeBytes: 20 * GIB,
  allocatedBytes: 10 * GIB,
  backingPaths: [],
  readOnly: false,
  obstacle: null,
  ...more,
});
const cdrom = disk('sda', { readOnly: true, obstacle: { code: 'not_a_disk', reason: 'CD-ROM.' } });
const shared = disk('vdb', { obstacle: { code: 'shareable', reason: 'It is shared.' } });

const VM: VmDescription = {
  id: '22222222-2222-4222-8222-222222222222',
  name: 'web',
  state: 'running',
  persistent: true,
  memoryBytes: 4 * GIB,
  vcpus: 2,
  machineType: 'q35',
  domainType: 'kvm',
  disks: [disk('vda')],
  agent: 'connected',
  firmware: 'bios',
  nvramPath: null,
  tpm: null,
  memoryObstacles: [],
  backgroundObstacles: [],
  hypervisorSnapshots: { internal: 0, external: 0 },
  jobActive: false,
  hasDisplay: false,
};
const HOST: HostDescription = {
  hostname: 'host-1',
  hypervisorVersion: '9.0.0',
  emulatorVersion: '7.2.0',
  cpus: 8,
  memoryBytes: 64 * GIB,
  memoryModes: ['background', 'pre-copy', 'stop-and-copy'],
  memoryModeHints: [],
};

interface Change {
  vm?: Partial<VmDescription>;
  host?: Partial<HostDescription> | null;
  wish?: Partial<CaptureWish>;
  room?: Partial<CaptureRoom>;
  present?: boolean;
}

const plan = (change: Change = {}) =>
  planCapture({
    vm: { ...VM, ...change.vm },
    present: change.present ?? true,
    host: change.host === null ? null : { ...HOST, ...change.host },
    wish: { kind: 'full', skipDisks: [], quiesce: 'prefer', ...change.wish },
    room: {
      scratchFreeBytes: 100 * GIB,
      scratchFloorBytes: 10 * GIB,
      repositoryFreeBytes: 500 * GIB,
      ...change.room,
    },
    inventoryAt: '2026-01-02T03:04:05.678Z',
    confirmation: NO_CONFIRMATION,
  });

const LEVELS: readonly [string, Change, string, string | null, number][] = [
  ['a running VM with memory', {}, 'memory', 'background', 280],
  ['a paused VM with memory', { vm: { state: 'paused' } }, 'memory', 'background', 0],
  ['a running VM, disk only, with agent', { wish: { kind: 'disk' } }, 'application', null, 0],
  [
    '... that must be frozen',
    { wish: { kind: 'disk', quiesce: 'require' } },
    'application',
    null,
    0,
  ],
  ['... that must not be frozen', { wish: { kind: 'disk', quiesce: 'never' } }, 'crash', null, 0],
  [
    '... whose agent is silent',
    { vm: { agent: 'disconnected' }, wish: { kind: 'disk' } },
    'crash',
    null,
    0,
  ],
  ['... that is paused', { vm: { state: 'paused' }, wish: { kind: 'disk' } }, 'crash', null, 0],
  ['a VM that is off', { vm: { state: 'off' } }, 'offline', null, 0],
  [
    'a VM that is off, disk only',
    { vm: { state: 'off', agent: 'absent' }, wish: { kind: 'disk', quiesce: 'require' } },
    'offline',
    null,
    0,
  ],
  [
    'memory obstacles of a VM that is off',
    { vm: { state: 'off', memoryObstacles: ['VFIO.'] } },
    'offline',
    null,
    0,
  ],
  [
    'a host without background snapshots',
    { host: { memoryModes: ['pre-copy'] } },
    'memory',
    'pre-copy',
    300,
  ],
  [
    'a host that must stop',
    { host: { memoryModes: ['stop-and-copy'] } },
    'memory',
    'stop-and-copy',
    8790,
  ],
  [
    'a VM that cannot do background',
    { vm: { backgroundObstacles: ['Huge pages.'] } },
    'memory',
    'pre-copy',
    300,
  ],
];
for (const [what, change, level, mode, pauseMs] of LEVELS) {
  test(`level of ${what} is ${level}`, () => {
    const result = plan(change);
    assert.deepEqual(result.problems, []);
    assert.equal(result.possible, true);
    assert.equal(result.level, level);
    assert.equal(result.memoryMode, mode);
    assert.equal(result.estimatedPauseMs, pauseMs);
    assert.ok(result.levelReason.length > 10);
    capturePlanSchema.parse(result);
  });
}

const REFUSALS: readonly [string, Change, string][] = [
  ['a VM that is gone', { present: false }, 'wrong_state'],
  ['a crashed guest', { vm: { state: 'crashed' } }, 'wrong_state'],
  ['a VM between states', { vm: { state: 'other' } }, 'wrong_state'],
  ['a libvirt job', { vm: { jobActive: true } }, 'in_use'],
  [
    'internal libvirt snapshots',
    { vm: { hypervisorSnapshots: { internal: 1, external: 0 } } },
    'mixed_hypervisor_snapshots',
  ],
  [
    'external libvirt snapshots',
    { vm: { hypervisorSnapshots: { internal: 0, external: 2 } } },
    'mixed_hypervisor_snapshots',
  ],
  [
    'a missing agent that is required',
    { vm: { agent: 'absent' }, wish: { kind: 'disk', quiesce: 'require' } },
    'agent_unavailable',
  ],
  [
    '... also with memory',
    { vm: { agent: 'disconnected' }, wish: { quiesce: 'require' } },
    'agent_unavailable',
  ],
  [
    'a paused VM that must be frozen',
    { vm: { state: 'paused' }, wish: { kind: 'disk', quiesce: 'require' } },
    'agent_unavailable',
  ],
  ['memory obstacles', { vm: { memoryObstacles: ['A VFIO device.'] } }, 'unsupported_vm'],
  ['a host that cannot capture memory', { host: { memoryModes: [] } }, 'host_incapable'],
  ['a host that never reported', { host: null }, 'hypervisor_unreachable'],
  ['a disk that cannot be captured', { vm: { disks: [disk('vda'), shared] } }, 'unsupported_disk'],
  ['an unknown disk', { wish: { skipDisks: ['vdz'] } }, 'invalid_input'],
  ['no disk left', { wish: { kind: 'disk', skipDisks: ['vda'] } }, 'unsupported_vm'],
  [
    'scratch room below the floor',
    { room: { scratchFreeBytes: Math.floor(10.9 * GIB) } },
    'insufficient_space',
  ],
  ['a full repository', { room: { repositoryFreeBytes: 100 * MIB } }, 'insufficient_space'],
];
for (const [what, change, code] of REFUSALS) {
  test(`${what}: refused with ${code} and what to do`, () => {
    const result = plan(change);
    assert.equal(result.possible, false);
    assert.deepEqual(
      result.problems.map((problem) => problem.code),
      [code],
    );
    assert.ok(result.problems.every((problem) => problem.whatToDo.length > 10));
    capturePlanSchema.parse(result);
  });
}

test('what is no disk is ignored; what cannot be captured may be left out, with the reason', () => {
  const result = plan({
    vm: { disks: [disk('vda'), cdrom, shared] },
    wish: { skipDisks: ['vdb'] },
  });
  assert.equal(result.possible, true);
  assert.deepEqual(
    result.disks.map((one) => one.target),
    ['vda'],
  );
  assert.deepEqual(
    result.skipped.map((one) => one.target),
    ['vdb'],
  );
  assert.match(result.skipped[0]?.reason ?? '', /It is shared/);
  assert.deepEqual(
    result.warnings.map((warning) => warning.code),
    ['memory_without_disk'],
  );
});

test('only the disks that are asked for', () => {
  const result = plan({
    vm: { disks: [disk('vda'), disk('vdb')] },
    wish: { kind: 'disk', disks: ['vdb'] },
  });
  assert.deepEqual(
    result.disks.map((one) => one.target),
    ['vdb'],
  );
  assert.deepEqual(
    result.skipped.map((one) => one.target),
    ['vda'],
  );
});

test('scratch is a share of what is allocated, with a floor, and never more than the disk', () => {
  const needed = (more: Partial<DiskDescription>) =>
    plan({ vm: { disks: [disk('vda', more)] } }).scratchBytesNeeded;
  assert.equal(needed({}), GIB);
  assert.equal(needed({ allocatedBytes: 0 }), 256 * MIB);
  assert.equal(needed({ allocatedBytes: 0, sizeBytes: 64 * MIB }), 64 * MIB);
  assert.equal(plan({ vm: { state: 'off' } }).scratchBytesNeeded, 0);
});

test('unknown room is no obstacle, tight room is a warning', () => {
  assert.equal(
    plan({ room: { scratchFreeBytes: null, repositoryFreeBytes: null } }).possible,
    true,
  );
  const tight = plan({ room: { repositoryFreeBytes: 2 * GIB } });
  assert.equal(tight.possible, true);
  assert.deepEqual(
    tight.warnings.map((warning) => warning.code),
    ['repository_tight'],
  );
});

test('all problems are told at once', () => {
  const result = plan({
    vm: { jobActive: true, memoryObstacles: ['VFIO.'], disks: [shared] },
    wish: { quiesce: 'require' },
    room: { scratchFreeBytes: 0 },
  });
  assert.deepEqual(
    result.problems.map((problem) => problem.code),
    ['in_use', 'unsupported_disk', 'unsupported_vm', 'insufficient_space'],
  );
});
