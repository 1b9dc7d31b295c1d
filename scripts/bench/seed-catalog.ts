import { randomUUID } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import type { BuiltInRole } from '../../src/control-plane/access/roles.ts';
import { openCatalog, type Writer } from '../../src/control-plane/database/catalog.ts';
import { insertBinding } from '../../src/control-plane/database/bindings.ts';
import type { StoredScope } from '../../src/control-plane/database/stored-shapes.ts';
import { insertPrincipal } from '../../src/control-plane/database/principals.ts';
import { issueToken } from '../../src/control-plane/access/tokens.ts';
import { GIB } from '../../src/shared/byte-size.ts';
import { newId } from '../../src/shared/ids.ts';
import type { VmDescription } from '../../src/shared/inventory.ts';

export interface CatalogSize {
  readonly vms: number;
  readonly snapshotsPerVm: number;
  readonly auditEvents: number;
}

const HOSTS = 10;
const TOKENS = 16;
const START_MS = Date.parse('2025-01-01T00:00:00.000Z');
const SYSTEM = { id: 'system', name: 'Komadori', kind: 'system' } as const;

const describeVm = (id: string, name: string): VmDescription => ({
  id,
  name,
  state: 'running',
  persistent: true,
  memoryBytes: 4 * GIB,
  vcpus: 4,
  machineType: 'pc-q35-7.2',
  domainType: 'kvm',
  disks: ['vda', 'vdb'].map((target) => ({
    target,
    sourceType: 'file',
    path: `/var/lib/libvirt/images/${name}-${target}.qcow2`,
    format: 'qcow2',
    sizeBytes: 100 * GIB,
    allocatedBytes: 30 * GIB,
    backingPaths: [],
    readOnly: false,
    obstacle: null,
  })),
  agent: 'connected',
  firmware: 'uefi',
  nvramPath: `/var/lib/libvirt/qemu/nvram/${name}.fd`,
  tpm: null,
  memoryObstacles: [],
  backgroundObstacles: [],
  hypervisorSnapshots: { internal: 0, external: 0 },
  jobActive: false,
  hasDisplay: true,
});

export interface SeededCatalog {
  /** One for each kind of call: a token may make only so many calls in a minute. */
  readonly tokens: {
    readonly administrator: readonly string[];
    readonly viewer: readonly string[];
  };
  readonly vmId: string;
}

/**
 * Fills a new catalog with a fleet and its history. Rows are written without the operations that
 * make them, and the audit events without a chain: what is measured is reading.
 */
export async function seedCatalog(databasePath: string, size: CatalogSize): Promise<SeededCatalog> {
  const catalog = await openCatalog({ path: databasePath });
  const database = new DatabaseSync(databasePath);
  database.exec('PRAGMA synchronous = OFF; BEGIN IMMEDIATE;');
  const vms = seedVms(database, size);
  seedSnapshots(database, vms, size);
  seedAuditEvents(database, vms, size);
  database.exec('COMMIT; ANALYZE;');
  database.close();
  const tokens = await catalog.write(async (tx) => ({
    administrator: await seedPrincipal(tx, 'administrator', { kind: 'everything' }),
    viewer: await seedPrincipal(tx, 'viewer', { kind: 'label', key: 'team', value: 'team-3' }),
  }));
  await catalog.close();
  const [first] = vms;
  if (!first) throw new Error('a fleet has at least one VM');
  return { tokens, vmId: first.id };
}

async function seedPrincipal(
  tx: Writer,
  roleId: BuiltInRole,
  scope: StoredScope,
): Promise<string[]> {
  const now = new Date();
  const at = now.toISOString();
  const principalId = newId(now.getTime());
  await insertPrincipal(tx, { id: principalId, name: roleId, kind: 'user', at });
  const id = newId(now.getTime());
  const createdBy = { id: 'system', name: 'Komadori', kind: 'system' } as const;
  await insertBinding(tx, { id, principalId, roleId, effect: 'allow', scope, createdBy, at });
  const tokens: string[] = [];
  for (let count = 0; count < TOKENS; count += 1) {
    const token = { principalId, name: `bench ${count}`, rights: null, expiresAt: null };
    tokens.push((await issueToken(tx, token, now)).secret);
  }
  return tokens;
}

interface SeededVm {
  readonly id: string;
  readonly name: string;
  readonly hostId: string;
}

function seedVms(database: DatabaseSync, { vms }: CatalogSize): SeededVm[] {
  const at = new Date(START_MS).toISOString();
  const hostIds = Array.from({ length: HOSTS }, () => randomUUID());
  const insertHost = database.prepare(
    "INSERT INTO hosts (id, name, state, created_at, last_seen_at) VALUES (?, ?, 'ready', ?, ?)",
  );
  for (const [index, id] of hostIds.entries()) insertHost.run(id, `host-${index}`, at, at);
  const insertVm = database.prepare(
    "INSERT INTO vms (id, host_id, name, state, description, labels, present, created_at, updated_at, seen_at) VALUES (?, ?, ?, 'running', ?, ?, 1, ?, ?, ?)",
  );
  return Array.from({ length: vms }, (_, index) => {
    const id = randomUUID();
    const name = `app-${String(index).padStart(5, '0')}`;
    const hostId = hostIds[index % HOSTS] ?? '';
    const labels = JSON.stringify({ team: `team-${index % 20}`, stage: 'production' });
    insertVm.run(id, hostId, name, JSON.stringify(describeVm(id, name)), labels, at, at, at);
    return { id, name, hostId };
  });
}

function seedSnapshots(
  database: DatabaseSync,
  vms: readonly SeededVm[],
  { snapshotsPerVm }: CatalogSize,
): void {
  const insert = database.prepare(
    `INSERT INTO snapshots (id, vm_id, vm_name, host_id, name, state, kind, level, level_reason,
       captured_at, created_at, created_by, created_by_id, pause_ms, sizes, disks, manifest_digest,
       updated_at)
     VALUES (?, ?, ?, ?, ?, 'active', 'disk', 'application', 'The guest agent froze the file systems.',
       ?, ?, ?, 'system', 12, ?, ?, ?, ?)`,
  );
  const sizes = JSON.stringify({
    logicalBytes: 200 * GIB,
    readBytes: GIB,
    newBytes: GIB,
    storedBytes: GIB / 2,
  });
  const disks = JSON.stringify(
    ['vda', 'vdb'].map((target) => ({ target, format: 'qcow2', sizeBytes: 100 * GIB })),
  );
  for (let round = 0; round < snapshotsPerVm; round += 1) {
    for (const [index, vm] of vms.entries()) {
      const ms = START_MS + round * 86_400_000 + index * 1000;
      const at = new Date(ms).toISOString();
      const name = `${vm.name}_${at}`;
      const by = JSON.stringify(SYSTEM);
      insert.run(
        newId(ms),
        vm.id,
        vm.name,
        vm.hostId,
        name,
        at,
        at,
        by,
        sizes,
        disks,
        '0'.repeat(64),
        at,
      );
    }
  }
}

function seedAuditEvents(
  database: DatabaseSync,
  vms: readonly SeededVm[],
  { auditEvents }: CatalogSize,
): void {
  const insert = database.prepare(
    `INSERT INTO audit_events (sequence, at, actor, actor_id, source_address, action, resource_type,
       resource_id, resource_name, outcome, details, previous_hash, hash)
     VALUES (?, ?, ?, ?, '192.0.2.7', 'snapshot.create', 'vm', ?, ?, ?, '{"kind":"disk"}', ?, ?)`,
  );
  for (let sequence = 1; sequence <= auditEvents; sequence += 1) {
    const vm = vms[sequence % vms.length];
    const actor = { id: `user-${sequence % 50}`, name: `user ${sequence % 50}`, kind: 'user' };
    const at = new Date(START_MS + sequence * 30_000).toISOString();
    const outcome = sequence % 2 === 0 ? 'succeeded' : 'intent';
    const hash = sequence.toString(16).padStart(64, '0');
    insert.run(
      sequence,
      at,
      JSON.stringify(actor),
      actor.id,
      vm?.id ?? '',
      vm?.name ?? '',
      outcome,
      hash,
      hash,
    );
  }
}
