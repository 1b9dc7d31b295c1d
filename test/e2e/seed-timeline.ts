import type { Catalog } from '../../src/control-plane/database/catalog.ts';
import {
  activateSnapshot,
  editSnapshot,
  insertSnapshot,
  recordVerification,
} from '../../src/control-plane/database/snapshots.ts';
import { setCurrentSnapshot } from '../../src/control-plane/database/vms.ts';
import { GIB, MIB } from '../../src/shared/byte-size.ts';
import { newId } from '../../src/shared/ids.ts';
import type { ConsistencyLevel } from '../../src/shared/inventory.ts';
import { HOST_ID, SEEDED_VMS, vmId } from './seed-vms.ts';

const HOUR_MS = 3_600_000;

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
  { name: 'before-rollback', hoursAgo: 30, level: 'memory', parent: 'after-upgrade' },
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
export async function seedTimeline(catalog: Catalog): Promise<string> {
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
        vmName: SEEDED_VMS[number - 1]?.[0] ?? '',
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
