import { appendAuditEvent } from '../audit/audit-trail.ts';
import type { Writer } from '../database/catalog.ts';
import { cancelQueuedJob } from '../database/jobs.ts';
import {
  decideRequest,
  finishExpired,
  listExpiredRequestIds,
  listStaleApprovals,
  type RequestRow,
} from '../database/requests.ts';
import { failSnapshot } from '../database/snapshots.ts';
import { timestamp, type Environment } from './environment.ts';

const SYSTEM = { id: 'system', name: 'Komadori', kind: 'system' } as const;
const BATCH_SIZE = 100;

/** Ends requests that nobody decided in time, and approved ones that did not begin in time. */
export async function expireRequests(environment: Environment): Promise<number> {
  const at = timestamp(environment);
  const filter = { now: at, limit: BATCH_SIZE };
  const { read } = environment.catalog;
  // Without a write lock first, since the answer is nearly always no.
  const [undecided, stale] = [
    await listExpiredRequestIds(read, filter),
    await listStaleApprovals(read, filter),
  ];
  if (undecided.length === 0 && stale.length === 0) return 0;
  return await environment.catalog.write(async (tx) => {
    let count = 0;
    for (const id of await listExpiredRequestIds(tx, filter)) {
      await decideRequest(tx, { id, state: 'expired', decidedBy: SYSTEM, comment: null, at });
      await recordExpiry(tx, { id, at, reason: 'Nobody decided in time.' });
      count += 1;
    }
    for (const request of await listStaleApprovals(tx, filter))
      if (await endStale(tx, request, at)) count += 1;
    return count;
  });
}

const TOO_OLD = 'It did not begin in time after it was allowed, so it was not executed. Ask again.';

/** False when a worker has just begun with it: then it goes on. */
async function endStale(tx: Writer, request: RequestRow, at: string): Promise<boolean> {
  const failure = { code: 'cancelled', message: TOO_OLD } as const;
  if (request.jobId !== null) {
    if (!(await cancelQueuedJob(tx, { id: request.jobId, failure, at }))) return false;
    if (request.operation === 'create' && request.snapshot)
      await failSnapshot(tx, { id: request.snapshot.id, failure, at });
  }
  await finishExpired(tx, { id: request.id, failure, at });
  await recordExpiry(tx, { id: request.id, at, reason: TOO_OLD });
  return true;
}

const recordExpiry = (tx: Writer, { id, at, reason }: { id: string; at: string; reason: string }) =>
  appendAuditEvent(tx, {
    at,
    actor: SYSTEM,
    action: 'request.expire',
    resourceType: 'request',
    resourceId: id,
    requestId: id,
    outcome: 'succeeded',
    reason,
  });
