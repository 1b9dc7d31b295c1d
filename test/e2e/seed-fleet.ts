import { createClient } from '../../src/client/client.ts';
import { issueToken } from '../../src/control-plane/access/tokens.ts';
import { openCatalog } from '../../src/control-plane/database/catalog.ts';
import type { Catalog, Writer } from '../../src/control-plane/database/catalog.ts';
import { reportHost } from '../../src/control-plane/database/hosts.ts';
import { updateLeasedJob } from '../../src/control-plane/database/job-leases.ts';
import { insertMissingSteps, updateStep } from '../../src/control-plane/database/job-steps.ts';
import { notifyJob } from '../../src/control-plane/database/jobs.ts';
import { insertPrincipal } from '../../src/control-plane/database/principals.ts';
import { reportRepository } from '../../src/control-plane/database/repositories.ts';
import { finishRequest } from '../../src/control-plane/database/requests.ts';
import {
  activateSnapshot,
  editSnapshot,
  insertSnapshot,
  recordVerification,
} from '../../src/control-plane/database/snapshots.ts';
import { reportVm, setCurrentSnapshot, setVmLabels } from '../../src/control-plane/database/vms.ts';
import { claimNextJob } from '../../src/control-plane/jobs/queue.ts';
import { GIB, MIB } from '../../src/shared/byte-size.ts';
import { newId } from '../../src/shared/ids.ts';
import type { ConsistencyLevel, VmDescription } from '../../src/shared/inventory.ts';

const HOUR_MS = 3_600_000;
const HOST_ID = '0193b0f0-0000-7000-8000-000000000001';
const OTHER_HOST_ID = '0193b0f0-0000-7000-8000-000000000002';
const DAY_LONG_MS = 24 * HOUR_MS;

const ROLES = { administrator: 'mika', operator: 'ken', approver: 'sora', viewer: 'rei' } as const;
export type Role = keyof typeof ROLES;

export interface Fleet {
  readonly tokens: Readonly<Record<Role, string>>;
  readonly vmId: string;
  readonly snapshotId: string;
  readonly jobId: string;
}

const vmId = (number: number): string =>
  `5f0c0b1e-6e0a-4f43-9d0e-${String(number).padStart(12, '0')}`;

function describeVm(number: number, name: string, changes: Partial<VmDescription>): VmDescription {
  return {
    id: vmId(number),
    name,
    state: 'running',
    persistent: true,
    memoryBytes: 4 * GIB,
    vcpus: 2,
    machineType: 'pc-q35-9.2',
    domainType: 'kvm',
    disks: ['vda', 'vdb'].map((target, index) => ({
      target,
      sourceType: 'file',
      path: `/var/lib/libvirt/images/${name}-${target}.qcow2`,
      format: 'qcow2',
      sizeBytes: (index + 1) * 20 * GIB,
      allocatedBytes: (index + 1) * 3 * GIB,
      backingPaths: [],
      readOnly: false,
      obstacle: null,
    })),
    agent: 'connected',
    firmware: 'uefi',
    nvramPath: `/var/lib/libvirt/qemu/nvram/${name}_VARS.fd`,
    tpm: null,
    memoryObstacles: [],
    backgroundObstacles: [],
    hypervisorSnapshots: { internal: 0, external: 0 },
    jobActive: false,
    hasDisplay: true,
    ...changes,
  };
}

const VMS: readonly (readonly [string, Partial<VmDescription>, Record<string, string>])[] = [
  ['web-01', {}, { tier: 'web', site: 'tokyo' }],
  ['web-02', {}, { tier: 'web', site: 'osaka' }],
  ['db-01', { memoryBytes: 32 * GIB, vcpus: 8 }, { tier: 'database', site: 'tokyo' }],
  ['db-02', { memoryBytes: 32 * GIB, vcpus: 8, state: 'off' }, { tier: 'database' }],
  ['mail-01', { agent: 'absent' }, { site: 'tokyo' }],
  ['build-07', { state: 'paused' }, {}],
  ['会計サーバー', { firmware: 'bios', nvramPath: null }, { tier: 'office' }],
  [
    'gpu-01',
    { memoryObstacles: ['The device 0000:01:00.0 is passed through; its memory cannot be read.'] },
    { tier: 'compute' },
  ],
];

/** A small fleet with a history: what a person would find at nine in the morning. */
export async function seedFleet(options: { databasePath: string; url: string }): Promise<Fleet> {
  const catalog = await openCatalog({ path: options.databasePath });
  try {
    await catalog.write(async (tx) => {
      await seedInventory(tx);
    });
    const tokens = await seedPrincipals(catalog);
    const snapshotId = await seedTimeline(catalog);
    const jobId = await seedRequests(catalog, options.url, tokens);
    return { tokens, vmId: vmId(1), snapshotId, jobId };
  } finally {
    await catalog.close();
  }
}

async function reportHosts(tx: Writer): Promise<void> {
  const at = new Date().toISOString();
  const host = {
    state: 'ready',
    stateReason: null,
    room: {
      scratchFreeBytes: 180 * GIB,
      repositoryFreeBytes: 900 * GIB,
      scratchFloorBytes: 5 * GIB,
    },
    at,
  } as const;
  const description = {
    hostname: 'hv1',
    hypervisorVersion: '11.3.0',
    emulatorVersion: '10.0.2',
    cpus: 32,
    memoryBytes: 256 * GIB,
    memoryModes: ['background', 'pre-copy', 'stop-and-copy'] as VmDescriptionModes,
    memoryModeHints: [],
  };
  await reportHost(tx, { ...host, id: HOST_ID, name: 'hv1', description });
  await reportHost(tx, {
    ...host,
    id: OTHER_HOST_ID,
    name: 'hv2',
    description: {
      ...description,
      hostname: 'hv2',
      memoryModes: ['pre-copy', 'stop-and-copy'],
      memoryModeHints: ['Write vm.unprivileged_userfaultfd = 1 to /etc/sysctl.d/komadori.conf.'],
    },
  });
}

/** Workers that live report; without them a host is silent. */
export async function reportHostsAlive(databasePath: string): Promise<void> {
  const catalog = await openCatalog({ path: databasePath });
  try {
    await catalog.write(reportHosts);
  } finally {
    await catalog.close();
  }
}

async function seedInventory(tx: Writer): Promise<void> {
  await reportHosts(tx);
  const at = new Date().toISOString();
  for (const [index, [name, changes, labels]] of VMS.entries()) {
    const seen = describeVm(index + 1, name, changes);
    await reportVm(tx, { hostId: HOST_ID, description: seen, at });
    await setVmLabels(tx, { vmId: seen.id, labels, at });
  }
  await reportRepository(tx, {
    id: 'main-repository',
    name: 'main',
    hostId: HOST_ID,
    location: '/var/lib/komadori/repository',
    state: 'ready',
    stateReason: null,
    statistics: {
      formatVersion: 1,
      encrypted: true,
      snapshots: 6,
      packs: 412,
      chunks: 1_250_000,
      storedBytes: 310 * GIB,
      uniqueBytes: 740 * GIB,
      freeBytes: 900 * GIB,
    },
    at,
  });
}

type VmDescriptionModes = ('background' | 'pre-copy' | 'stop-and-copy')[];

async function seedPrincipals(catalog: Catalog): Promise<Record<Role, string>> {
  const now = new Date();
  const token = async (role: Role): Promise<string> =>
    await catalog.write(async (tx) => {
      const id = newId(now.getTime());
      await insertPrincipal(tx, {
        id,
        name: ROLES[role],
        kind: 'user',
        role,
        at: now.toISOString(),
      });
      const wish = { principalId: id, name: 'laptop', rights: null, expiresAt: null };
      return (await issueToken(tx, wish, now)).secret;
    });
  return {
    administrator: await token('administrator'),
    operator: await token('operator'),
    approver: await token('approver'),
    viewer: await token('viewer'),
  };
}

interface Taken {
  readonly name: string;
  readonly hoursAgo: number;
  readonly level: ConsistencyLevel;
  readonly parent: string | null;
  readonly vm?: number;
  readonly description?: string;
  readonly pinned?: boolean;
}

const TIMELINE: readonly Taken[] = [
  { name: 'golden', hoursAgo: 900, level: 'offline', parent: null, pinned: true },
  { name: 'weekly-46', hoursAgo: 170, level: 'application', parent: 'golden' },
  {
    name: 'before-upgrade',
    hoursAgo: 50,
    level: 'memory',
    parent: 'weekly-46',
    description: 'Before nginx 1.30',
  },
  { name: 'after-upgrade', hoursAgo: 47, level: 'memory', parent: 'before-upgrade' },
  { name: 'safety 2026-11-22', hoursAgo: 30, level: 'memory', parent: 'after-upgrade' },
  { name: 'nightly', hoursAgo: 7, level: 'crash', parent: 'before-upgrade' },
  { name: 'nightly', hoursAgo: 6, level: 'application', parent: null, vm: 3 },
  { name: 'old', hoursAgo: 2000, level: 'crash', parent: null, vm: 5 },
];

const REASONS: Readonly<Record<ConsistencyLevel, string>> = {
  memory: 'Memory and disks are of the same instant, so nothing is lost.',
  application: 'The guest agent freezes file systems for the instant.',
  crash: 'File systems were not frozen: the guest agent does not answer.',
  offline: 'The VM is off, so its disks hold everything.',
};

/** Captured, rolled back to `before-upgrade`, and gone on from there. */
async function seedTimeline(catalog: Catalog): Promise<string> {
  const ids = new Map<string, string>();
  for (const taken of TIMELINE) {
    const number = taken.vm ?? 1;
    const at = new Date(Date.now() - taken.hoursAgo * HOUR_MS);
    const id = newId(at.getTime());
    ids.set(`${number}/${taken.name}`, id);
    await catalog.write(async (tx) => {
      await insertSnapshot(tx, {
        id,
        vmId: vmId(number),
        vmName: VMS[number - 1]?.[0] ?? '',
        hostId: HOST_ID,
        name: taken.name,
        description: taken.description ?? '',
        kind: taken.level === 'memory' ? 'full' : 'disk',
        labels: {},
        expiresAt: null,
        createdBy: { id: 'ken', name: 'ken', kind: 'user' },
        requestId: null,
        at: at.toISOString(),
      });
      await activateSnapshot(tx, {
        id,
        at: at.toISOString(),
        facts: factsOf(taken, at, ids.get(`${number}/${taken.parent}`) ?? null),
      });
      if (taken.pinned) await editSnapshot(tx, { id, pinned: true, at: at.toISOString() });
    });
  }
  const current = ids.get('1/nightly') ?? '';
  const before = ids.get('1/before-upgrade') ?? '';
  await catalog.write(async (tx) => {
    const at = new Date().toISOString();
    await setCurrentSnapshot(tx, { vmId: vmId(1), snapshotId: current, at });
    await recordVerification(tx, { id: before, damage: [], at });
    await recordVerification(tx, {
      id: ids.get('5/old') ?? '',
      damage: [
        {
          part: 'disk vda',
          offset: 64 * MIB,
          lengthBytes: 65_536,
          reason: 'The chunk is missing.',
        },
      ],
      at,
    });
  });
  return before;
}

function factsOf(taken: Taken, at: Date, parentSnapshotId: string | null) {
  const hasMemory = taken.level === 'memory';
  return {
    kind: hasMemory ? ('full' as const) : ('disk' as const),
    level: taken.level,
    levelReason: REASONS[taken.level],
    capturedAt: at.toISOString(),
    pauseMs: hasMemory ? 38.4 : taken.level === 'offline' ? 0 : 112,
    pausePhases: hasMemory
      ? [
          { name: 'suspend', durationMs: 4.1 },
          { name: 'backup begin', durationMs: 21.3 },
          { name: 'write-protect memory', durationMs: 13 },
        ]
      : [],
    sizes: {
      logicalBytes: 64 * GIB,
      readBytes: 11 * GIB,
      newBytes: Math.round(2.4 * GIB),
      storedBytes: Math.round(1.1 * GIB),
    },
    disks: [
      { target: 'vda', format: 'qcow2', sizeBytes: 20 * GIB },
      { target: 'vdb', format: 'qcow2', sizeBytes: 40 * GIB },
    ],
    skippedDisks: [],
    memoryMode: hasMemory ? ('background' as const) : null,
    memoryBytes: hasMemory ? 4 * GIB : 0,
    parentSnapshotId,
    checkpoint: null,
    manifestDigest: 'ab'.repeat(32),
  };
}

/** One request waits, one job runs, one failed: made through the API, moved on as a worker would. */
async function seedRequests(
  catalog: Catalog,
  url: string,
  tokens: Readonly<Record<Role, string>>,
): Promise<string> {
  const administrator = createClient({ baseUrl: url, token: tokens.administrator });
  const operator = createClient({ baseUrl: url, token: tokens.operator });
  const create = { kind: 'disk', quiesce: 'prefer' } as const;
  await administrator.call('snapshotCreate', {
    body: { ...create, vm: 'mail-01', name: 'nightly' },
  });
  const failed = await claim(catalog);
  await catalog.write(async (tx) => {
    const failure = {
      code: 'insufficient_space',
      message: 'The scratch file system of hv1 would fall below its floor of 5 GiB.',
    };
    const at = new Date().toISOString();
    await insertMissingSteps(tx, {
      jobId: failed.id,
      names: ['check', 'reserve scratch', 'freeze'],
    });
    await updateStep(tx, { jobId: failed.id, name: 'check', state: 'running', failure: null, at });
    await updateStep(tx, { jobId: failed.id, name: 'check', state: 'undone', failure: null, at });
    await updateStep(tx, {
      jobId: failed.id,
      name: 'reserve scratch',
      state: 'running',
      failure: null,
      at,
    });
    await updateStep(tx, {
      jobId: failed.id,
      name: 'reserve scratch',
      state: 'failed',
      failure,
      at,
    });
    await updateLeasedJob(tx, leaseOf(failed), {
      state: 'failed',
      finished_at: at,
      failure: JSON.stringify(failure),
      lease_owner: null,
      lease_expires_at: null,
    });
    await finishRequest(tx, { id: failed.requestId, state: 'failed', failure, result: null, at });
  });
  await administrator.call('snapshotCreate', {
    body: { kind: 'full', vm: 'web-02', name: 'before-migration', reason: 'CHG-2041' },
  });
  const running = await claim(catalog);
  await catalog.write(async (tx) => {
    const at = new Date().toISOString();
    const names = ['check', 'reserve scratch', 'freeze', 'stream', 'commit', 'release'];
    await insertMissingSteps(tx, { jobId: running.id, names });
    for (const name of names.slice(0, 4)) {
      await updateStep(tx, { jobId: running.id, name, state: 'running', failure: null, at });
      if (name !== 'stream')
        await updateStep(tx, { jobId: running.id, name, state: 'done', failure: null, at });
    }
  });
  await reportProgress(catalog, running.id, 0.42);
  await operator.call('snapshotCreate', {
    body: {
      ...create,
      vm: 'db-01',
      name: 'before-patch',
      reason: 'Quarterly patch of PostgreSQL, window 22:00 to 23:00.',
      reference: 'CHG-2044',
    },
  });
  return running.id;
}

const leaseOf = (job: { id: string; fencing: number }) => ({
  jobId: job.id,
  ownerId: OWNER_ID,
  fencing: job.fencing,
});
const OWNER_ID = newId(Date.now());

async function claim(catalog: Catalog) {
  const job = await claimNextJob(catalog, {
    hostId: HOST_ID,
    ownerId: OWNER_ID,
    kinds: ['create'],
    leaseMs: DAY_LONG_MS,
  });
  if (!job) throw new Error('there is no job to claim');
  return job;
}

/** As the worker of the running job does. */
async function reportProgress(catalog: Catalog, jobId: string, share: number): Promise<void> {
  const totalBytes = 13 * GIB;
  const doneBytes = Math.round(totalBytes * share);
  const ratePerSecond = 412 * MIB;
  await catalog.write(async (tx) => {
    await tx
      .updateTable('jobs')
      .set({
        progress: JSON.stringify({
          phase: 'stream',
          doneBytes,
          totalBytes,
          ratePerSecond,
          secondsLeft: (totalBytes - doneBytes) / ratePerSecond,
        }),
      })
      .where('id', '=', jobId)
      .execute();

    await notifyJob(tx, { id: jobId, vmId: null, at: new Date().toISOString() }, 'progress');
  });
}

export async function advanceJob(options: {
  databasePath: string;
  jobId: string;
  share: number;
}): Promise<void> {
  const catalog = await openCatalog({ path: options.databasePath });
  try {
    await reportProgress(catalog, options.jobId, options.share);
  } finally {
    await catalog.close();
  }
}
