import { sql, type UpdateObject } from 'kysely';
import { z } from 'zod';
import {
  consistencyLevelSchema,
  memoryModeSchema,
  snapshotKindSchema,
  type ConsistencyLevel,
  type MemoryMode,
  type SnapshotKind,
} from '../../shared/inventory.ts';
import type { Reader, Writer } from './catalog.ts';
import { readJson, readOptionalJson, readWord } from './json-column.ts';
import { appendNotification } from './notifications.ts';
import type { CatalogSchema } from './schema.ts';
import {
  storedDamageSchema,
  storedDiskSchema,
  storedFailureSchema,
  storedLabelsSchema,
  storedPausePhaseSchema,
  storedPrincipalSchema,
  storedSizesSchema,
  storedSkippedDiskSchema,
  type StoredFailure,
  type StoredLabels,
  type StoredPrincipal,
} from './stored-shapes.ts';

export const snapshotStateSchema = z.enum([
  'creating',
  'active',
  'deleting',
  'deleted',
  'failed',
  'damaged',
]);
export type SnapshotState = z.infer<typeof snapshotStateSchema>;

const operationSchema = z.enum(['create', 'restore', 'delete', 'export', 'verify', 'collect']);

export interface SnapshotRow {
  readonly id: string;
  readonly vmId: string;
  readonly vmName: string;
  readonly hostId: string;
  readonly name: string;
  readonly description: string;
  readonly state: SnapshotState;
  readonly kind: SnapshotKind;
  readonly level: ConsistencyLevel | null;
  readonly levelReason: string | null;
  readonly capturedAt: string | null;
  readonly createdAt: string;
  readonly createdBy: StoredPrincipal;
  readonly pauseMs: number | null;
  readonly pausePhases: z.infer<typeof storedPausePhaseSchema>[];
  readonly sizes: z.infer<typeof storedSizesSchema> | null;
  readonly disks: z.infer<typeof storedDiskSchema>[];
  readonly skippedDisks: z.infer<typeof storedSkippedDiskSchema>[];
  readonly memoryMode: MemoryMode | null;
  readonly memoryBytes: number;
  readonly parentSnapshotId: string | null;
  /** libvirt checkpoint on the host that says what changed since. */
  readonly checkpoint: string | null;
  readonly labels: StoredLabels;
  readonly pinned: boolean;
  readonly expiresAt: string | null;
  readonly failure: StoredFailure | null;
  readonly damage: z.infer<typeof storedDamageSchema>[];
  readonly lastVerifiedAt: string | null;
  readonly requestId: string | null;
  readonly manifestDigest: string | null;
  readonly busyWith: {
    readonly operation: z.infer<typeof operationSchema>;
    readonly requestId: string;
  } | null;
  readonly updatedAt: string;
  readonly version: number;
}

export interface NewSnapshot {
  readonly id: string;
  readonly vmId: string;
  readonly vmName: string;
  readonly hostId: string;
  readonly name: string;
  readonly description: string;
  readonly kind: SnapshotKind;
  readonly labels: StoredLabels;
  readonly expiresAt: string | null;
  readonly createdBy: StoredPrincipal;
  readonly requestId: string | null;
  readonly at: string;
}

/** In state `creating`. The unique index answers a name that is taken: see isUniqueViolation. */
export async function insertSnapshot(tx: Writer, snapshot: NewSnapshot): Promise<void> {
  await tx
    .insertInto('snapshots')
    .values({
      id: snapshot.id,
      vm_id: snapshot.vmId,
      vm_name: snapshot.vmName,
      host_id: snapshot.hostId,
      name: snapshot.name,
      description: snapshot.description,
      state: 'creating',
      kind: snapshot.kind,
      labels: JSON.stringify(snapshot.labels),
      expires_at: snapshot.expiresAt,
      created_by: JSON.stringify(snapshot.createdBy),
      created_by_id: snapshot.createdBy.id,
      request_id: snapshot.requestId,
      created_at: snapshot.at,
      updated_at: snapshot.at,
      pause_phases: '[]',
      disks: '[]',
      skipped_disks: '[]',
      damage: '[]',
      memory_bytes: 0,
      pinned: 0,
      version: 1,
    })
    .execute();
  await notifySnapshot(tx, snapshot, 'created');
}

/** What a capture found out; it fixes the snapshot for good. */
export interface CapturedFacts {
  readonly kind: SnapshotKind;
  readonly level: ConsistencyLevel;
  readonly levelReason: string;
  readonly capturedAt: string;
  readonly pauseMs: number;
  readonly pausePhases: readonly { readonly name: string; readonly durationMs: number }[];
  /** Null when the capture is not known any more, only its bundle. */
  readonly sizes: z.infer<typeof storedSizesSchema> | null;
  readonly disks: readonly z.infer<typeof storedDiskSchema>[];
  readonly skippedDisks: readonly z.infer<typeof storedSkippedDiskSchema>[];
  readonly memoryMode: MemoryMode | null;
  readonly memoryBytes: number;
  readonly parentSnapshotId: string | null;
  readonly checkpoint: string | null;
  readonly manifestDigest: string;
}

export async function activateSnapshot(
  tx: Writer,
  change: { id: string; facts: CapturedFacts; at: string },
): Promise<void> {
  const { facts } = change;
  await updateSnapshot(tx, change, {
    state: 'active',
    kind: facts.kind,
    level: facts.level,
    level_reason: facts.levelReason,
    captured_at: facts.capturedAt,
    pause_ms: facts.pauseMs,
    pause_phases: JSON.stringify(facts.pausePhases),
    sizes: facts.sizes && JSON.stringify(facts.sizes),
    disks: JSON.stringify(facts.disks),
    skipped_disks: JSON.stringify(facts.skippedDisks),
    memory_mode: facts.memoryMode,
    memory_bytes: facts.memoryBytes,
    parent_snapshot_id: facts.parentSnapshotId,
    checkpoint: facts.checkpoint,
    manifest_digest: facts.manifestDigest,
  });
}

export async function failSnapshot(
  tx: Writer,
  change: { id: string; failure: StoredFailure; at: string },
): Promise<void> {
  await updateSnapshot(tx, change, { state: 'failed', failure: JSON.stringify(change.failure) });
}

/** The triggers refuse transitions that the state machine does not have. */
export async function setSnapshotState(
  tx: Writer,
  change: { id: string; state: SnapshotState; at: string },
): Promise<void> {
  await updateSnapshot(tx, change, {
    state: change.state,
    ...(change.state === 'deleted' && { checkpoint: null }),
  });
}

export async function recordVerification(
  tx: Writer,
  change: { id: string; damage: readonly z.infer<typeof storedDamageSchema>[]; at: string },
): Promise<void> {
  await updateSnapshot(tx, change, {
    state: change.damage.length > 0 ? 'damaged' : 'active',
    damage: JSON.stringify(change.damage),
    last_verified_at: change.at,
  });
}

export async function setSnapshotCheckpoint(
  tx: Writer,
  change: { id: string; checkpoint: string | null; at: string },
): Promise<void> {
  await updateSnapshot(tx, change, { checkpoint: change.checkpoint });
}

export async function editSnapshot(
  tx: Writer,
  change: {
    id: string;
    at: string;
    description?: string | undefined;
    labels?: StoredLabels | undefined;
    pinned?: boolean | undefined;
    expiresAt?: string | null | undefined;
  },
): Promise<void> {
  await updateSnapshot(tx, change, {
    ...(change.description !== undefined && { description: change.description }),
    ...(change.labels && { labels: JSON.stringify(change.labels) }),
    ...(change.pinned !== undefined && { pinned: change.pinned ? 1 : 0 }),
    ...(change.expiresAt !== undefined && { expires_at: change.expiresAt }),
  });
}

async function updateSnapshot(
  tx: Writer,
  change: { id: string; at: string },
  columns: UpdateObject<CatalogSchema, 'snapshots'>,
): Promise<void> {
  const row = await tx
    .updateTable('snapshots')
    .set(columns)
    .set((eb) => ({ updated_at: change.at, version: eb('version', '+', 1) }))
    .where('id', '=', change.id)
    .returning('vm_id')
    .executeTakeFirst();
  if (row) await notifySnapshot(tx, { ...change, vmId: row.vm_id }, 'changed');
}

const notifySnapshot = (
  tx: Writer,
  snapshot: { id: string; vmId: string; at: string },
  type: 'created' | 'changed',
): Promise<void> =>
  appendNotification(tx, {
    at: snapshot.at,
    type,
    resource: 'snapshot',
    resourceId: snapshot.id,
    vmId: snapshot.vmId,
  });

/** A request whose job is not over holds its snapshot. */
const HOLDING_STATES = ['approved', 'executing'];

export const selectSnapshots = (db: Reader) =>
  db
    .selectFrom('snapshots')
    .selectAll('snapshots')
    .select((eb) => {
      const holder = eb
        .selectFrom('requests')
        .whereRef('requests.snapshot_id', '=', 'snapshots.id')
        .where('requests.state', 'in', HOLDING_STATES)
        .where('requests.job_id', 'is not', null)
        .orderBy('requests.id')
        .limit(1);
      return [
        holder.select('requests.id').as('busy_request_id'),
        holder.select('requests.operation').as('busy_operation'),
      ];
    });

type SelectedSnapshot = Awaited<
  ReturnType<ReturnType<typeof selectSnapshots>['executeTakeFirstOrThrow']>
>;

export async function findSnapshot(db: Reader, id: string): Promise<SnapshotRow | undefined> {
  const row = await selectSnapshots(db).where('snapshots.id', '=', id).executeTakeFirst();
  return row && toSnapshot(row);
}

export async function listSnapshotIds(
  db: Reader,
  states: readonly SnapshotState[],
): Promise<string[]> {
  const rows = await db.selectFrom('snapshots').select('id').where('state', 'in', states).execute();
  return rows.map(({ id }) => id);
}

export async function isSnapshotNameTaken(
  db: Reader,
  name: { vmId: string; name: string },
): Promise<boolean> {
  const row = await db
    .selectFrom('snapshots')
    .select(sql<number>`1`.as('one'))
    .where('vm_id', '=', name.vmId)
    .where('name', '=', name.name)
    .where('state', '<>', 'deleted')
    .executeTakeFirst();
  return row !== undefined;
}

export function toSnapshot(row: SelectedSnapshot): SnapshotRow {
  const where = `snapshot ${row.id}`;
  return {
    id: row.id,
    vmId: row.vm_id,
    vmName: row.vm_name,
    hostId: row.host_id,
    name: row.name,
    description: row.description,
    state: readWord(snapshotStateSchema, row.state, where),
    kind: readWord(snapshotKindSchema, row.kind, where),
    level: row.level === null ? null : readWord(consistencyLevelSchema, row.level, where),
    levelReason: row.level_reason,
    capturedAt: row.captured_at,
    createdAt: row.created_at,
    createdBy: readJson(storedPrincipalSchema, row.created_by, where),
    pauseMs: row.pause_ms,
    pausePhases: readJson(z.array(storedPausePhaseSchema), row.pause_phases, where),
    sizes: readOptionalJson(storedSizesSchema, row.sizes, where),
    disks: readJson(z.array(storedDiskSchema), row.disks, where),
    skippedDisks: readJson(z.array(storedSkippedDiskSchema), row.skipped_disks, where),
    memoryMode:
      row.memory_mode === null ? null : readWord(memoryModeSchema, row.memory_mode, where),
    memoryBytes: row.memory_bytes,
    parentSnapshotId: row.parent_snapshot_id,
    checkpoint: row.checkpoint,
    labels: readJson(storedLabelsSchema, row.labels, where),
    pinned: row.pinned === 1,
    expiresAt: row.expires_at,
    failure: readOptionalJson(storedFailureSchema, row.failure, where),
    damage: readJson(z.array(storedDamageSchema), row.damage, where),
    lastVerifiedAt: row.last_verified_at,
    requestId: row.request_id,
    manifestDigest: row.manifest_digest,
    busyWith:
      row.busy_request_id && row.busy_operation
        ? {
            operation: readWord(operationSchema, row.busy_operation, where),
            requestId: row.busy_request_id,
          }
        : null,
    updatedAt: row.updated_at,
    version: row.version,
  };
}
