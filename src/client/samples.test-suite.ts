import type { Confirmation, MayDecide } from '../contract/confirmation.ts';
import type { Host } from '../contract/hosts.ts';
import type { Job } from '../contract/jobs.ts';
import type { CapturePlan } from '../contract/preflight.ts';
import type { Repository } from '../contract/repositories.ts';
import type { Request } from '../contract/requests.ts';
import type { Snapshot } from '../contract/snapshots.ts';
import type { Vm } from '../contract/vms.ts';

export const VM_ID = '5f0c0b1e-6e0a-4f43-9d0e-2f1a6c3b7d10';
export const HOST_ID = '0193b0f0-0000-7000-8000-000000000001';
export const SNAPSHOT_ID = '0193b0f0-0000-7000-8000-0000000000a1';
export const REQUEST_ID = '0193b0f0-0000-7000-8000-0000000000b1';
export const JOB_ID = '0193b0f0-0000-7000-8000-0000000000c1';
const AT = '2026-03-01T09:30:00.000Z';
const GIB = 1024 ** 3;

export const sampleVm = (changes: Partial<Vm> = {}): Vm => ({
  id: VM_ID,
  name: 'web-01',
  host: { id: HOST_ID, name: 'hv1' },
  state: 'running',
  description: {
    id: VM_ID,
    name: 'web-01',
    state: 'running',
    persistent: true,
    memoryBytes: 2 * GIB,
    vcpus: 2,
    machineType: 'pc-q35-9.2',
    domainType: 'kvm',
    disks: [
      {
        target: 'vda',
        sourceType: 'file',
        path: '/var/lib/libvirt/images/web-01.qcow2',
        format: 'qcow2',
        sizeBytes: 20 * GIB,
        allocatedBytes: 3 * GIB,
        backingPaths: [],
        readOnly: false,
        obstacle: null,
      },
    ],
    agent: 'connected',
    firmware: 'uefi',
    nvramPath: '/var/lib/libvirt/qemu/nvram/web-01_VARS.fd',
    tpm: null,
    memoryObstacles: [],
    backgroundObstacles: [],
    hypervisorSnapshots: { internal: 0, external: 0 },
    jobActive: false,
    hasDisplay: true,
  },
  labels: { tier: 'web' },
  present: true,
  snapshotCount: 1,
  lastSnapshotAt: AT,
  currentSnapshotId: SNAPSHOT_ID,
  updatedAt: AT,
  ...changes,
});

export const sampleSnapshot = (changes: Partial<Snapshot> = {}): Snapshot => ({
  id: SNAPSHOT_ID,
  vmId: VM_ID,
  vmName: 'web-01',
  name: 'before-upgrade',
  description: '',
  state: 'active',
  kind: 'full',
  level: 'memory',
  levelReason: 'Memory and disks are of one instant.',
  capturedAt: AT,
  createdAt: AT,
  createdBy: { id: 'u1', name: 'aya', kind: 'user' },
  pauseMs: 23.4,
  pausePhases: [{ name: 'backup', durationMs: 12.1 }],
  sizes: { logicalBytes: 22 * GIB, readBytes: 4 * GIB, newBytes: GIB, storedBytes: GIB / 2 },
  disks: [{ target: 'vda', format: 'qcow2', sizeBytes: 20 * GIB }],
  skippedDisks: [],
  memoryMode: 'background',
  parentSnapshotId: null,
  labels: {},
  pinned: false,
  expiresAt: null,
  failure: null,
  damage: [],
  lastVerifiedAt: null,
  requestId: REQUEST_ID,
  manifestDigest: 'ab'.repeat(32),
  busyWith: null,
  ...changes,
});

export const sampleConfirmation = (approvalsNeeded: number): Confirmation => ({
  approvalsNeeded,
  rule: { id: '00000000-0000-4000-8000-000000000001', name: 'everything' },
  explanation: `The rule "everything" asks for ${approvalsNeeded}.`,
});

export const sampleMayDecide = (changes: Partial<MayDecide> = {}): MayDecide => {
  const yes = { allowed: true, reason: null, missingRight: null };
  const all = { approve: yes, reject: yes, comment: yes, renew: yes, override: yes, cancel: yes };
  return { ...all, ...changes };
};

export const samplePlan = (changes: Partial<CapturePlan> = {}): CapturePlan => ({
  operation: 'create',
  possible: true,
  kind: 'full',
  level: 'memory',
  levelReason: 'Memory and disks are of one instant.',
  memoryMode: 'background',
  memoryBytes: 2 * GIB,
  estimatedPauseMs: 40,
  disks: [
    {
      target: 'vda',
      format: 'qcow2',
      sizeBytes: 20 * GIB,
      allocatedBytes: 3 * GIB,
      obstacle: null,
    },
  ],
  skipped: [],
  scratchBytesNeeded: 2 * GIB,
  scratchFreeBytes: 50 * GIB,
  repositoryBytesEstimated: GIB,
  freeBytes: 100 * GIB,
  confirmationNeeded: false,
  confirmation: sampleConfirmation(0),
  problems: [],
  warnings: [],
  inventoryAt: AT,
  ...changes,
});

export const sampleRequest = (changes: Partial<Request> = {}): Request => ({
  id: REQUEST_ID,
  operation: 'create',
  state: 'executing',
  vm: { id: VM_ID, name: 'web-01' },
  snapshot: { id: SNAPSHOT_ID, name: 'before-upgrade' },
  parameters: {
    operation: 'create',
    vm: VM_ID,
    description: '',
    kind: 'full',
    quiesce: 'prefer',
    skipDisks: [],
    labels: {},
  },
  plan: samplePlan(),
  requestedBy: { id: 'u1', name: 'aya', kind: 'user' },
  reason: null,
  reference: null,
  createdAt: AT,
  expiresAt: null,
  approvalExpiresAt: null,
  confirmation: sampleConfirmation(changes.approvalsNeeded ?? 0),
  approvalsNeeded: 0,
  approvalsGiven: 0,
  emergency: false,
  decisions: [],
  mayDecide: sampleMayDecide(),
  decidedBy: null,
  decidedAt: null,
  decisionComment: null,
  jobId: JOB_ID,
  finishedAt: null,
  failure: null,
  result: null,
  ...changes,
});

export const sampleJob = (changes: Partial<Job> = {}): Job => ({
  id: JOB_ID,
  requestId: REQUEST_ID,
  kind: 'create',
  hostId: HOST_ID,
  vm: { id: VM_ID, name: 'web-01' },
  snapshot: { id: SNAPSHOT_ID, name: 'before-upgrade' },
  state: 'running',
  attempts: 1,
  steps: [
    { name: 'prepare', state: 'done', startedAt: AT, finishedAt: AT, error: null },
    { name: 'capture', state: 'running', startedAt: AT, finishedAt: null, error: null },
  ],
  progress: {
    phase: 'capture',
    doneBytes: GIB,
    totalBytes: 4 * GIB,
    ratePerSecond: 200 * 1024 ** 2,
    secondsLeft: 15,
  },
  cancelRequested: false,
  createdAt: AT,
  startedAt: AT,
  finishedAt: null,
  failure: null,
  ...changes,
});

export const sampleHost = (): Host => ({
  id: HOST_ID,
  name: 'hv1',
  state: 'ready',
  description: {
    hostname: 'hv1',
    hypervisorVersion: '11.3.0',
    emulatorVersion: '10.0.2',
    cpus: 16,
    memoryBytes: 64 * GIB,
    memoryModes: ['background', 'pre-copy', 'stop-and-copy'],
    memoryModeHints: [],
  },
  vmCount: 1,
  runningJobs: 0,
  stateReason: null,
  lastSeenAt: AT,
});

export const sampleRepository = (): Repository => ({
  id: 'main-repository',
  name: 'main',
  location: '/var/lib/komadori/repository',
  state: 'ready',
  stateReason: null,
  formatVersion: 1,
  encrypted: true,
  snapshots: 1,
  packs: 12,
  chunks: 45_000,
  storedBytes: 4 * GIB,
  uniqueBytes: 9 * GIB,
  freeBytes: 100 * GIB,
  measuredAt: AT,
  lastCollectedAt: null,
});
