import { sql } from 'kysely';
import {
  vmDescriptionSchema,
  vmStateSchema,
  type VmDescription,
  type VmState,
} from '../../shared/inventory.ts';
import type { Reader, Writer } from './catalog.ts';
import { readJson, readWord } from './json-column.ts';
import { appendNotification } from './notifications.ts';
import { containsPattern, type PageRequest } from './page.ts';
import { jsonTextAt } from './sqlite-dialect.ts';
import { whereVmReached, type VmReach } from './vm-reach.ts';
import { storedLabelsSchema, type StoredLabels } from './stored-shapes.ts';

export interface VmRow {
  readonly id: string;
  readonly host: { readonly id: string; readonly name: string };
  readonly name: string;
  readonly state: VmState;
  readonly description: VmDescription;
  readonly labels: StoredLabels;
  readonly present: boolean;
  readonly snapshotCount: number;
  readonly lastSnapshotAt: string | null;
  readonly currentSnapshotId: string | null;
  readonly updatedAt: string;
  readonly seenAt: string;
  readonly version: number;
}

/** Takes what a worker sees; a row that does not differ keeps its version and tells nobody. */
export async function reportVm(
  tx: Writer,
  report: { hostId: string; description: VmDescription; at: string },
): Promise<{ changed: boolean }> {
  const { hostId, description, at } = report;
  const columns = {
    host_id: hostId,
    name: description.name,
    state: description.state,
    description: JSON.stringify(description),
    present: 1,
    seen_at: at,
  };
  const before = await tx
    .selectFrom('vms')
    .select(['host_id', 'description', 'present'])
    .where('id', '=', description.id)
    .executeTakeFirst();
  if (!before) {
    await tx
      .insertInto('vms')
      .values({
        id: description.id,
        ...columns,
        labels: '{}',
        current_snapshot_id: null,
        created_at: at,
        updated_at: at,
        version: 1,
      })
      .execute();
    await notifyVm(tx, { id: description.id, type: 'created', at });
    return { changed: true };
  }
  const changed =
    before.host_id !== hostId || before.present !== 1 || before.description !== columns.description;
  await tx
    .updateTable('vms')
    .set(changed ? { ...columns, updated_at: at } : { seen_at: at })
    .$if(changed, (query) => query.set((eb) => ({ version: eb('version', '+', 1) })))
    .where('id', '=', description.id)
    .execute();
  if (changed) await notifyVm(tx, { id: description.id, type: 'changed', at });
  return { changed };
}

/** A VM that is known from its snapshots only; one that a worker has seen stays as it is. */
export async function insertGoneVm(
  tx: Writer,
  vm: { hostId: string; description: VmDescription; at: string },
): Promise<void> {
  const { description, at } = vm;
  const result = await tx
    .insertInto('vms')
    .values({
      id: description.id,
      host_id: vm.hostId,
      name: description.name,
      state: description.state,
      description: JSON.stringify(description),
      labels: '{}',
      present: 0,
      current_snapshot_id: null,
      created_at: at,
      updated_at: at,
      seen_at: at,
      version: 1,
    })
    .onConflict((conflict) => conflict.column('id').doNothing())
    .executeTakeFirst();
  if ((result.numInsertedOrUpdatedRows ?? 0n) > 0n)
    await notifyVm(tx, { id: description.id, type: 'created', at });
}

/** Rows of VMs that a full listing of their host no longer shows; their snapshots keep the rows. */
export async function markAbsentVms(
  tx: Writer,
  report: { hostId: string; presentIds: readonly string[]; at: string },
): Promise<string[]> {
  const present = new Set(report.presentIds);
  const known = await tx
    .selectFrom('vms')
    .select('id')
    .where('host_id', '=', report.hostId)
    .where('present', '=', 1)
    .execute();
  const gone = known.map((row) => row.id).filter((id) => !present.has(id));
  for (const id of gone) await markVmAbsent(tx, { id, hostId: report.hostId, at: report.at });
  return gone;
}

/** Only while the row still says this host, since the VM may have moved to another meanwhile. */
export async function markVmAbsent(
  tx: Writer,
  vm: { id: string; hostId: string; at: string },
): Promise<void> {
  const result = await tx
    .updateTable('vms')
    .set((eb) => ({ present: 0, state: 'off', updated_at: vm.at, version: eb('version', '+', 1) }))
    .where('id', '=', vm.id)
    .where('host_id', '=', vm.hostId)
    .where('present', '=', 1)
    .executeTakeFirst();
  if (result.numUpdatedRows > 0n) await notifyVm(tx, { id: vm.id, type: 'removed', at: vm.at });
}

export async function setCurrentSnapshot(
  tx: Writer,
  change: { vmId: string; snapshotId: string | null; at: string },
): Promise<void> {
  await tx
    .updateTable('vms')
    .set((eb) => ({
      current_snapshot_id: change.snapshotId,
      updated_at: change.at,
      version: eb('version', '+', 1),
    }))
    .where('id', '=', change.vmId)
    .execute();
  await notifyVm(tx, { id: change.vmId, type: 'changed', at: change.at });
}

export async function setVmLabels(
  tx: Writer,
  change: { vmId: string; labels: StoredLabels; at: string },
): Promise<void> {
  await tx
    .updateTable('vms')
    .set((eb) => ({
      labels: JSON.stringify(change.labels),
      updated_at: change.at,
      version: eb('version', '+', 1),
    }))
    .where('id', '=', change.vmId)
    .execute();
  await notifyVm(tx, { id: change.vmId, type: 'changed', at: change.at });
}

export async function findVm(db: Reader, id: string): Promise<VmRow | undefined> {
  const row = await selectVms(db).where('vms.id', '=', id).executeTakeFirst();
  return row && toVm(row);
}

/** What decides about rights over it, without the rest. */
export async function findVmLabels(
  db: Reader,
  id: string,
): Promise<{ id: string; labels: StoredLabels } | undefined> {
  const row = await db
    .selectFrom('vms')
    .select(['id', 'labels'])
    .where('id', '=', id)
    .executeTakeFirst();
  return row && { id: row.id, labels: readJson(storedLabelsSchema, row.labels, `VM ${row.id}`) };
}

/** At most two, since two are enough to know that a name is ambiguous. */
export async function findVmsByName(db: Reader, name: string, reach?: VmReach): Promise<VmRow[]> {
  const rows = await reached(selectVms(db), reach)
    .where('vms.name', '=', name)
    .orderBy('vms.present', 'desc')
    .limit(2)
    .execute();
  return rows.map(toVm);
}

export interface VmFilter {
  /** Undefined: for the service itself. */
  readonly reach?: VmReach | undefined;
  readonly name?: string | undefined;
  readonly search?: string | undefined;
  readonly states?: readonly string[] | undefined;
  readonly present?: boolean | undefined;
  readonly hostId?: string | undefined;
  readonly labels?: readonly { readonly key: string; readonly value: string }[] | undefined;
}

export async function listVms(
  db: Reader,
  filter: VmFilter,
  page: PageRequest<{ name: string; id: string }>,
): Promise<VmRow[]> {
  let query = reached(selectVms(db), filter.reach);
  if (filter.name !== undefined) query = query.where('vms.name', '=', filter.name);
  if (filter.search) {
    const pattern = containsPattern(filter.search);
    query = query.where(sql<boolean>`lower(vms.name) like ${pattern} escape '\\'`);
  }
  if (filter.states) query = query.where('vms.state', 'in', filter.states);
  if (filter.present !== undefined) query = query.where('vms.present', '=', filter.present ? 1 : 0);
  if (filter.hostId) query = query.where('vms.host_id', '=', filter.hostId);
  for (const label of filter.labels ?? [])
    query = query.where((eb) => eb(jsonTextAt(eb.ref('vms.labels'), label.key), '=', label.value));
  const { after } = page;
  if (after)
    query = query.where((eb) =>
      eb(eb.refTuple('vms.name', 'vms.id'), '>', eb.tuple(after.name, after.id)),
    );
  const rows = await query.orderBy('vms.name').orderBy('vms.id').limit(page.limit).execute();
  return rows.map(toVm);
}

const notifyVm = (
  tx: Writer,
  change: { id: string; type: 'created' | 'changed' | 'removed'; at: string },
): Promise<void> =>
  appendNotification(tx, {
    at: change.at,
    type: change.type,
    resource: 'vm',
    resourceId: change.id,
    vmId: change.id,
  });

const COUNTED_STATES = ['active', 'damaged', 'creating', 'deleting'];

const selectVms = (db: Reader) =>
  db
    .selectFrom('vms')
    .innerJoin('hosts', 'hosts.id', 'vms.host_id')
    .selectAll('vms')
    .select('hosts.name as host_name')
    .select((eb) => [
      eb
        .selectFrom('snapshots')
        .whereRef('snapshots.vm_id', '=', 'vms.id')
        .where('snapshots.state', 'in', COUNTED_STATES)
        .select((inner) => inner.fn.countAll<number>().as('count'))
        .as('snapshot_count'),
      eb
        .selectFrom('snapshots')
        .whereRef('snapshots.vm_id', '=', 'vms.id')
        .where('snapshots.state', 'in', COUNTED_STATES)
        .select((inner) => inner.fn.max('snapshots.captured_at').as('newest'))
        .as('last_snapshot_at'),
    ]);

const reached = (
  query: ReturnType<typeof selectVms>,
  reach: VmReach | undefined,
): ReturnType<typeof selectVms> =>
  query.where(whereVmReached(reach, { id: sql.ref('vms.id'), labels: sql.ref('vms.labels') }));

type SelectedVm = Awaited<ReturnType<ReturnType<typeof selectVms>['executeTakeFirstOrThrow']>>;

function toVm(row: SelectedVm): VmRow {
  const where = `VM ${row.id}`;
  return {
    id: row.id,
    host: { id: row.host_id, name: row.host_name },
    name: row.name,
    state: readWord(vmStateSchema, row.state, where),
    description: readJson(vmDescriptionSchema, row.description, where),
    labels: readJson(storedLabelsSchema, row.labels, where),
    present: row.present === 1,
    snapshotCount: row.snapshot_count ?? 0,
    lastSnapshotAt: row.last_snapshot_at ?? null,
    currentSnapshotId: row.current_snapshot_id,
    updatedAt: row.updated_at,
    seenAt: row.seen_at,
    version: row.version,
  };
}
