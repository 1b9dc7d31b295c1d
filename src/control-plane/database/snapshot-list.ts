import { sql } from 'kysely';
import type { Reader } from './catalog.ts';
import { containsPattern, type PageRequest } from './page.ts';
import { selectSnapshots, toSnapshot, type SnapshotRow } from './snapshots.ts';
import { jsonTextAt } from './sqlite-dialect.ts';
import { whereOfReachedVm, type VmReach } from './vm-reach.ts';

export interface SnapshotFilter {
  /** Undefined: for the service itself. */
  readonly reach?: VmReach | undefined;
  readonly vmId?: string | undefined;
  readonly vmName?: string | undefined;
  readonly name?: string | undefined;
  readonly search?: string | undefined;
  readonly states?: readonly string[] | undefined;
  readonly kind?: string | undefined;
  readonly levels?: readonly string[] | undefined;
  readonly pinned?: boolean | undefined;
  readonly createdAfter?: string | undefined;
  readonly createdBefore?: string | undefined;
  readonly labels?: readonly { readonly key: string; readonly value: string }[] | undefined;
}

/** Ids are UUIDv7, so the order of ids is the order of creation. */
export type SnapshotOrder = 'newest' | 'oldest' | 'name';

/** Without states, all but `deleted`. */
export async function listSnapshots(
  db: Reader,
  filter: SnapshotFilter,
  page: PageRequest<{ name: string; id: string }> & { readonly order: SnapshotOrder },
): Promise<SnapshotRow[]> {
  let query = filtered(db, filter);
  const { after, order } = page;
  if (order === 'name') {
    if (after)
      query = query.where((eb) =>
        eb(eb.refTuple('snapshots.name', 'snapshots.id'), '>', eb.tuple(after.name, after.id)),
      );
    query = query.orderBy('snapshots.name').orderBy('snapshots.id');
  } else {
    if (after) query = query.where('snapshots.id', order === 'newest' ? '<' : '>', after.id);
    query = query.orderBy('snapshots.id', order === 'newest' ? 'desc' : 'asc');
  }
  const rows = await query.limit(page.limit).execute();
  return rows.map(toSnapshot);
}

function filtered(db: Reader, filter: SnapshotFilter): ReturnType<typeof selectSnapshots> {
  let query = selectSnapshots(db);
  query = filter.states
    ? query.where('snapshots.state', 'in', filter.states)
    : query.where('snapshots.state', '<>', 'deleted');
  query = query.where(whereOfReachedVm(filter.reach, sql.ref('snapshots.vm_id')));
  if (filter.vmId) query = query.where('snapshots.vm_id', '=', filter.vmId);
  if (filter.vmName !== undefined) query = query.where('snapshots.vm_name', '=', filter.vmName);
  if (filter.name !== undefined) query = query.where('snapshots.name', '=', filter.name);
  if (filter.search) {
    const pattern = containsPattern(filter.search);
    query = query.where(
      sql<boolean>`lower(snapshots.name || char(10) || snapshots.vm_name || char(10) || snapshots.description) like ${pattern} escape '\\'`,
    );
  }
  if (filter.kind) query = query.where('snapshots.kind', '=', filter.kind);
  if (filter.levels) query = query.where('snapshots.level', 'in', filter.levels);
  if (filter.pinned !== undefined)
    query = query.where('snapshots.pinned', '=', filter.pinned ? 1 : 0);
  if (filter.createdAfter) query = query.where('snapshots.created_at', '>', filter.createdAfter);
  if (filter.createdBefore) query = query.where('snapshots.created_at', '<', filter.createdBefore);
  for (const label of filter.labels ?? [])
    query = query.where((eb) =>
      eb(jsonTextAt(eb.ref('snapshots.labels'), label.key), '=', label.value),
    );
  return query;
}

export async function countSnapshotsByState(
  db: Reader,
  reach: VmReach,
): Promise<Map<string, number>> {
  const rows = await db
    .selectFrom('snapshots')
    .where(whereOfReachedVm(reach, sql.ref('snapshots.vm_id')))
    .select((eb) => ['state', eb.fn.countAll<number>().as('count')])
    .groupBy('state')
    .execute();
  return new Map(rows.map((row) => [row.state, row.count]));
}
