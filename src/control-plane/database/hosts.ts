import { sql } from 'kysely';
import { z } from 'zod';
import { hostDescriptionSchema, type HostDescription } from '../../shared/inventory.ts';
import type { Reader, Writer } from './catalog.ts';
import { optionalJson, readOptionalJson, readWord } from './json-column.ts';
import type { PageRequest } from './page.ts';
import { storedRoomSchema, type StoredRoom } from './stored-shapes.ts';
import { whereOfReachedVm, whereVmReached, type VmReach } from './vm-reach.ts';

const hostStateSchema = z.enum(['ready', 'unreachable']);

export interface HostRow {
  readonly id: string;
  readonly name: string;
  /** As the worker reported; whether it still reports is for the reader of lastSeenAt to say. */
  readonly state: 'ready' | 'unreachable';
  readonly stateReason: string | null;
  readonly description: HostDescription | null;
  readonly room: StoredRoom | null;
  readonly lastSeenAt: string | null;
}

export interface HostReport {
  readonly id: string;
  readonly name: string;
  readonly state: 'ready' | 'unreachable';
  readonly stateReason: string | null;
  /** Null keeps what was known. */
  readonly description: HostDescription | null;
  readonly room: StoredRoom | null;
  readonly at: string;
}

/** A worker's sign of life; makes the host known the first time. */
export async function reportHost(tx: Writer, report: HostReport): Promise<void> {
  const columns = {
    name: report.name,
    state: report.state,
    state_reason: report.stateReason,
    last_seen_at: report.at,
    ...(report.description && { description: JSON.stringify(report.description) }),
    ...(report.room && { room: JSON.stringify(report.room) }),
  };
  await tx
    .insertInto('hosts')
    .values({
      id: report.id,
      created_at: report.at,
      ...columns,
      description: optionalJson(report.description),
      room: optionalJson(report.room),
    })
    .onConflict((conflict) => conflict.column('id').doUpdateSet(columns))
    .execute();
}

export async function findHost(db: Reader, id: string): Promise<HostRow | undefined> {
  const row = await db.selectFrom('hosts').selectAll().where('id', '=', id).executeTakeFirst();
  return row && toHost(row);
}

export interface HostListRow extends HostRow {
  readonly vmCount: number;
  readonly runningJobs: number;
}

/** Hosts with a VM in reach, and what they count is in reach too; with the fleet, all hosts. */
export async function listHosts(
  db: Reader,
  reach: VmReach,
  page: PageRequest<{ name: string; id: string }>,
): Promise<HostListRow[]> {
  const columns = { id: sql.ref<string>('vms.id'), labels: sql.ref<string>('vms.labels') };
  let query = db
    .selectFrom('hosts')
    .selectAll()
    .$if(!reach.fleet, (all) =>
      all.where((eb) =>
        eb.exists(
          eb
            .selectFrom('vms')
            .select('vms.id')
            .whereRef('vms.host_id', '=', 'hosts.id')
            .where(whereVmReached(reach, columns)),
        ),
      ),
    )
    .select((eb) => [
      eb
        .selectFrom('vms')
        .whereRef('vms.host_id', '=', 'hosts.id')
        .where('vms.present', '=', 1)
        .where(whereVmReached(reach, columns))
        .select((inner) => inner.fn.countAll<number>().as('count'))
        .as('vm_count'),
      eb
        .selectFrom('jobs')
        .whereRef('jobs.host_id', '=', 'hosts.id')
        .where('jobs.state', 'in', ['running', 'undoing'])
        .where(whereOfReachedVm(reach, sql.ref('jobs.vm_id')))
        .select((inner) => inner.fn.countAll<number>().as('count'))
        .as('running_jobs'),
    ]);
  const { after } = page;
  if (after)
    query = query.where((eb) => eb(eb.refTuple('name', 'id'), '>', eb.tuple(after.name, after.id)));
  const rows = await query.orderBy('name').orderBy('id').limit(page.limit).execute();
  return rows.map((row) => ({
    ...toHost(row),
    vmCount: row.vm_count ?? 0,
    runningJobs: row.running_jobs ?? 0,
  }));
}

function toHost(row: {
  id: string;
  name: string;
  state: string;
  state_reason: string | null;
  description: string | null;
  room: string | null;
  last_seen_at: string | null;
}): HostRow {
  const where = `host ${row.id}`;
  return {
    id: row.id,
    name: row.name,
    state: readWord(hostStateSchema, row.state, where),
    stateReason: row.state_reason,
    description: readOptionalJson(hostDescriptionSchema, row.description, where),
    room: readOptionalJson(storedRoomSchema, row.room, where),
    lastSeenAt: row.last_seen_at,
  };
}
