import { appendAuditEvent } from '../control-plane/audit/audit-trail.ts';
import type { Writer } from '../control-plane/database/catalog.ts';
import { findRequest, finishRequest } from '../control-plane/database/requests.ts';
import type { StoredFailure } from '../control-plane/database/stored-shapes.ts';
import type { JobFacts } from '../control-plane/jobs/job-definition.ts';
import type { RequestResult } from '../contract/requests.ts';

/** Ends the request that a job executes, and records the outcome, in the transaction that ends the job. */
export async function recordSuccess(
  tx: Writer,
  facts: JobFacts<object>,
  result: RequestResult,
): Promise<void> {
  const { job, at } = facts;
  await finishRequest(tx, { id: job.requestId, state: 'succeeded', failure: null, result, at });
  await appendOutcome(tx, facts, { outcome: 'succeeded', reason: null });
}

export async function recordFailure(
  tx: Writer,
  facts: JobFacts<object> & { state: 'failed' | 'cancelled'; failure: StoredFailure },
): Promise<void> {
  const { job, at, state, failure } = facts;
  await finishRequest(tx, { id: job.requestId, state, failure, result: null, at });
  await appendOutcome(tx, facts, {
    outcome: 'failed',
    reason: `${failure.code}: ${failure.message}`,
  });
}

async function appendOutcome(
  tx: Writer,
  facts: JobFacts<object>,
  end: { outcome: 'succeeded' | 'failed'; reason: string | null },
): Promise<void> {
  const request = await findRequest(tx, facts.job.requestId);
  if (!request) return;
  const resource = request.snapshot ?? request.vm;
  await appendAuditEvent(tx, {
    at: facts.at,
    actor: request.requestedBy,
    sourceAddress: request.sourceAddress,
    action: `snapshot.${request.operation}`,
    resourceType: request.snapshot ? 'snapshot' : 'vm',
    resourceId: resource?.id ?? null,
    resourceName: resource?.name ?? null,
    requestId: request.id,
    details: request.emergency ? { emergency: true } : {},
    ...end,
  });
}
