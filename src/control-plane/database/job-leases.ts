import type { UpdateObject } from 'kysely';
import type { Reader, Writer } from './catalog.ts';
import { notifyJob, toJob, type JobRow } from './jobs.ts';
import type { CatalogSchema } from './schema.ts';

/** A claim on a job. A worker that lost it is told by the number of rows its updates change. */
export interface Lease {
  readonly jobId: string;
  readonly ownerId: string;
  readonly fencing: number;
}

interface ClaimFilter {
  readonly hostId: string;
  readonly kinds: readonly string[];
  readonly now: string;
  /** What the caller runs already, in case its clock jumped past the end of its own leases. */
  readonly excludeJobIds: readonly string[];
}

/** Queued, or running under a lease that ran out; oldest first; none whose lock key is held. */
const claimable = (db: Reader, filter: ClaimFilter) =>
  db
    .selectFrom('jobs')
    .where('host_id', '=', filter.hostId)
    .where('kind', 'in', filter.kinds)
    .$if(filter.excludeJobIds.length > 0, (query) =>
      query.where('id', 'not in', filter.excludeJobIds),
    )
    .where('state', 'in', ['queued', 'running', 'undoing'])
    .where((eb) =>
      eb.or([eb('lease_expires_at', 'is', null), eb('lease_expires_at', '<=', filter.now)]),
    )
    .where((eb) => eb.or([eb('run_after', 'is', null), eb('run_after', '<=', filter.now)]))
    // An approval that is too old is not executed, even if nobody has ended the request yet.
    .where((eb) =>
      eb.or([
        eb('state', '<>', 'queued'),
        eb.not(
          eb.exists(
            eb
              .selectFrom('requests')
              .whereRef('requests.id', '=', 'jobs.request_id')
              .where('requests.approval_expires_at', '<=', filter.now)
              .select('requests.id'),
          ),
        ),
      ]),
    )
    .where((eb) =>
      eb.or([
        eb('state', '<>', 'queued'),
        eb('lock_key', 'is', null),
        eb.not(
          eb.exists(
            eb
              .selectFrom('jobs as other')
              .whereRef('other.lock_key', '=', 'jobs.lock_key')
              .where('other.state', 'in', ['running', 'undoing'])
              .select('other.id'),
          ),
        ),
      ]),
    );

export async function hasClaimableJob(db: Reader, filter: ClaimFilter): Promise<boolean> {
  const row = await claimable(db, filter).select('id').limit(1).executeTakeFirst();
  return row !== undefined;
}

export async function claimJob(
  tx: Writer,
  filter: ClaimFilter & { ownerId: string; leaseExpiresAt: string },
): Promise<JobRow | undefined> {
  const candidate = await claimable(tx, filter)
    .select(['id', 'state'])
    .orderBy('id')
    .limit(1)
    .executeTakeFirst();
  if (!candidate) return undefined;
  const row = await tx
    .updateTable('jobs')
    .set((eb) => ({
      state: candidate.state === 'queued' ? 'running' : candidate.state,
      lease_owner: filter.ownerId,
      lease_expires_at: filter.leaseExpiresAt,
      fencing: eb('fencing', '+', 1),
      attempts: eb('attempts', '+', 1),
      run_after: null,
      started_at: eb.fn.coalesce('started_at', eb.val(filter.now)),
    }))
    .where('id', '=', candidate.id)
    .returningAll()
    .executeTakeFirstOrThrow();
  await notifyJob(tx, { id: row.id, vmId: row.vm_id, at: filter.now }, 'changed');
  return toJob(row);
}

/** Every write of a running job goes through here; false: the lease is lost, write nothing else. */
export async function updateLeasedJob(
  tx: Writer,
  lease: Lease,
  columns: UpdateObject<CatalogSchema, 'jobs'>,
): Promise<boolean> {
  const result = await tx
    .updateTable('jobs')
    .set(columns)
    .where('id', '=', lease.jobId)
    .where('lease_owner', '=', lease.ownerId)
    .where('fencing', '=', lease.fencing)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

export async function readCancelRequest(
  db: Reader,
  lease: Lease,
): Promise<{ held: boolean; cancelReason: string | null }> {
  const row = await db
    .selectFrom('jobs')
    .select(['cancel_requested', 'cancel_reason', 'lease_owner', 'fencing'])
    .where('id', '=', lease.jobId)
    .executeTakeFirst();
  return {
    held: row?.lease_owner === lease.ownerId && row.fencing === lease.fencing,
    cancelReason: row?.cancel_requested === 1 ? (row.cancel_reason ?? '') : null,
  };
}

/** For a worker that starts and knows that its host has no other: what others held is free now. */
export async function expireLeasesOfOthers(
  tx: Writer,
  change: { hostId: string; ownerId: string; at: string },
): Promise<number> {
  const result = await tx
    .updateTable('jobs')
    .set({ lease_expires_at: change.at, run_after: null })
    .where('host_id', '=', change.hostId)
    .where('state', 'in', ['running', 'undoing'])
    .where('lease_owner', '<>', change.ownerId)
    .executeTakeFirst();
  return Number(result.numUpdatedRows);
}
