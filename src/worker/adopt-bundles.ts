import { hostname } from 'node:os';
import { appendAuditEvent } from '../control-plane/audit/audit-trail.ts';
import type { Catalog, Writer } from '../control-plane/database/catalog.ts';
import { reportHost } from '../control-plane/database/hosts.ts';
import {
  activateSnapshot,
  findSnapshot,
  insertSnapshot,
  isSnapshotNameTaken,
  listSnapshotIds,
  recordVerification,
} from '../control-plane/database/snapshots.ts';
import { insertGoneVm } from '../control-plane/database/vms.ts';
import { digestOfManifest } from '../data-plane/chunk-repository/manifest-file.ts';
import type { Manifest } from '../data-plane/chunk-repository/manifest.ts';
import type { Repository } from '../data-plane/chunk-repository/repository.ts';
import type { Clock } from '../shared/clock.ts';
import { OperationError } from '../shared/errors.ts';
import type { VmDescription } from '../shared/inventory.ts';
import { throwIfAborted } from '../shared/waiting.ts';

const SYSTEM = { id: 'system', name: 'Komadori', kind: 'system' } as const;

export interface Adoption {
  /** Bundles that had no row and have one now. */
  readonly adopted: readonly { readonly id: string; readonly name: string; readonly vm: string }[];
  /** Rows whose bundle is not in the repository: they are `damaged` now. */
  readonly lost: readonly { readonly id: string; readonly name: string; readonly vm: string }[];
  /** Bundles whose manifest cannot be read; they stay as they are. */
  readonly unreadable: readonly { readonly id: string; readonly reason: string }[];
}

/**
 * Makes catalog and repository agree again after either was put back from a copy, or was lost: each
 * bundle without a row gets one from its signed manifest, each row without a bundle is told to be
 * damaged. Nothing in the repository is changed. May be repeated, and may run beside a service.
 */
export async function adoptBundles(
  parts: {
    readonly catalog: Catalog;
    readonly repository: Repository;
    readonly hostId: string;
    readonly clock: Clock;
  },
  signal?: AbortSignal,
): Promise<Adoption> {
  const { catalog, repository, hostId, clock } = parts;
  const at = clock.now().toISOString();
  const adopted: { id: string; name: string; vm: string }[] = [];
  const unreadable: { id: string; reason: string }[] = [];
  // Rows first: a capture that commits meanwhile has its row before its bundle.
  const rowIds = await listSnapshotIds(catalog.read, ['active', 'damaged']);
  const bundleIds = await repository.listManifestIds();
  for (const id of bundleIds) {
    throwIfAborted(signal);
    if (await findSnapshot(catalog.read, id)) continue;
    const manifest = await readOrExplain(repository, id, unreadable);
    if (manifest === null) continue;
    const name = await catalog.write((tx) => adopt(tx, { manifest, hostId, at }));
    if (name !== null) adopted.push({ id, name, vm: manifest.vm.name });
  }
  const bundles = new Set(bundleIds);
  const lost: { id: string; name: string; vm: string }[] = [];
  for (const id of rowIds.filter((each) => !bundles.has(each))) {
    throwIfAborted(signal);
    const row = await catalog.write((tx) => markLost(tx, { id, at }));
    if (row) lost.push(row);
  }
  return { adopted, lost, unreadable };
}

async function readOrExplain(
  repository: Repository,
  id: string,
  unreadable: { id: string; reason: string }[],
): Promise<Manifest | null> {
  try {
    return await repository.readManifest(id);
  } catch (error) {
    if (!(error instanceof OperationError)) throw error;
    // Deleted since it was listed.
    if (error.code === 'not_found') return null;
    if (error.code !== 'snapshot_damaged') throw error;
    unreadable.push({ id, reason: error.message });
    return null;
  }
}

/** Null when somebody else was quicker. */
async function adopt(
  tx: Writer,
  { manifest, hostId, at }: { manifest: Manifest; hostId: string; at: string },
): Promise<string | null> {
  const { snapshotId: id, vm } = manifest;
  if (await findSnapshot(tx, id)) return null;
  await ensureHost(tx, hostId, at);
  await insertGoneVm(tx, { hostId, description: describeGoneVm(manifest), at });
  const isTaken = await isSnapshotNameTaken(tx, { vmId: vm.id, name: manifest.name });
  const name = isTaken ? `${manifest.name}_${id.slice(-8)}` : manifest.name;
  await insertSnapshot(tx, {
    id,
    vmId: vm.id,
    vmName: vm.name,
    hostId,
    name,
    description: '',
    kind: manifest.kind,
    labels: {},
    expiresAt: null,
    createdBy: SYSTEM,
    requestId: null,
    at: manifest.createdAt,
  });
  await activateSnapshot(tx, { id, facts: factsOf(manifest), at });
  await appendAuditEvent(tx, {
    at,
    actor: SYSTEM,
    action: 'snapshot.adopt',
    resourceType: 'snapshot',
    resourceId: id,
    resourceName: name,
    outcome: 'succeeded',
    reason: 'Its bundle was in the repository, and the catalog did not know of it.',
    details: { vmName: vm.name, capturedAt: manifest.capturedAt },
  });
  return name;
}

const factsOf = (manifest: Manifest): Parameters<typeof activateSnapshot>[1]['facts'] => ({
  kind: manifest.kind,
  level: manifest.level,
  levelReason: manifest.levelReason,
  capturedAt: manifest.capturedAt,
  pauseMs: manifest.pauseMs,
  pausePhases: [],
  sizes: null,
  disks: manifest.disks.map(({ target, format, sizeBytes }) => ({ target, format, sizeBytes })),
  skippedDisks: manifest.skippedDisks,
  memoryMode: manifest.memory?.mode ?? null,
  memoryBytes: manifest.memory ? manifest.vm.memoryBytes : 0,
  parentSnapshotId: null,
  // Its bitmap may be gone or broken: the next capture reads everything once.
  checkpoint: null,
  manifestDigest: digestOfManifest(manifest),
});

async function ensureHost(tx: Writer, id: string, at: string): Promise<void> {
  const known = await tx.selectFrom('hosts').select('id').where('id', '=', id).executeTakeFirst();
  if (known) return;
  await reportHost(tx, {
    id,
    name: hostname(),
    state: 'unreachable',
    stateReason: 'No worker has reported yet.',
    description: null,
    room: null,
    at,
  });
}

/** What a manifest tells of its VM; a worker that sees the VM knows better. */
const describeGoneVm = (manifest: Manifest): VmDescription => ({
  id: manifest.vm.id,
  name: manifest.vm.name,
  state: 'off',
  persistent: true,
  memoryBytes: manifest.vm.memoryBytes,
  vcpus: 0,
  machineType: manifest.vm.machineType,
  domainType: manifest.vm.domainType,
  disks: manifest.disks.map(({ target, format, path, sizeBytes }) => ({
    target,
    sourceType: 'file',
    path,
    format,
    sizeBytes,
    allocatedBytes: 0,
    backingPaths: [],
    readOnly: false,
    obstacle: null,
  })),
  agent: 'absent',
  firmware: manifest.configuration.nvram === null ? 'bios' : 'uefi',
  nvramPath: null,
  tpm: null,
  memoryObstacles: [],
  backgroundObstacles: [],
  hypervisorSnapshots: { internal: 0, external: 0 },
  jobActive: false,
  hasDisplay: false,
});

const LOST = 'The repository has no bundle of this snapshot.';

async function markLost(
  tx: Writer,
  { id, at }: { id: string; at: string },
): Promise<{ id: string; name: string; vm: string } | null> {
  const row = await findSnapshot(tx, id);
  const isKnown = row?.damage.some(({ part }) => part === 'manifest') ?? false;
  if (!row || isKnown || (row.state !== 'active' && row.state !== 'damaged')) return null;
  const damage = [{ part: 'manifest', offset: 0, lengthBytes: 0, reason: LOST }];
  await recordVerification(tx, { id, damage, at });
  await appendAuditEvent(tx, {
    at,
    actor: SYSTEM,
    action: 'snapshot.lose',
    resourceType: 'snapshot',
    resourceId: id,
    resourceName: row.name,
    outcome: 'succeeded',
    reason: LOST,
    details: { vmName: row.vmName },
  });
  return { id, name: row.name, vm: row.vmName };
}
