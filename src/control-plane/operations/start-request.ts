import { requestParametersSchema, type RequestParameters } from '../../contract/requests.ts';
import { snapshotCan } from '../../contract/state-predicates.ts';
import { newId } from '../../shared/ids.ts';
import type { Writer } from '../database/catalog.ts';
import { attachJob, type RequestRow } from '../database/requests.ts';
import { insertSnapshot } from '../database/snapshots.ts';
import { findVm } from '../database/vms.ts';
import { enqueueJob } from '../jobs/queue.ts';
import { requireFreeName } from './snapshot-names.ts';
import { applyRuleChange } from './rule-changes.ts';
import { requireSnapshot, requireState } from './snapshots.ts';

/**
 * Makes the job of an approved request, and for a capture the row of its snapshot. What was
 * possible when it was asked may not be any more when it is approved, so states are checked here.
 */
export async function startRequest(tx: Writer, request: RequestRow, at: string): Promise<void> {
  const parameters = requestParametersSchema.parse(request.parameters);
  if (parameters.operation === 'change-rules')
    return await applyRuleChange(tx, request, { change: parameters.change, at });
  await requireStates(tx, request, parameters);
  const jobId = newId(Date.parse(at));
  const { hostId } = request;
  if (hostId === null) throw new Error(`request ${request.id} names no host`);
  const snapshot =
    parameters.operation === 'create'
      ? await makeSnapshotRow(tx, request, { parameters, hostId, at })
      : request.snapshot;
  await enqueueJob(tx, {
    id: jobId,
    requestId: request.id,
    kind: parameters.operation,
    hostId,
    vmId: request.vm?.id ?? null,
    snapshotId: snapshot?.id ?? null,
    lockKey: lockKeyOf(request, parameters),
    parameters,
    at,
  });
  await attachJob(tx, { id: request.id, jobId, snapshot, at });
}

/** At most one job at a time captures or rolls back a VM, deletes a snapshot, collects a repository. */
function lockKeyOf(request: RequestRow, parameters: RequestParameters): string | null {
  const { operation } = parameters;
  if (operation === 'create') return `vm:${request.vm?.id}`;
  if (operation === 'restore')
    return parameters.mode === 'rollback' ? `vm:${request.vm?.id}` : null;
  if (operation === 'delete') return `snapshot:${request.snapshot?.id}`;
  return operation === 'collect' ? `repository:${parameters.repositoryId}` : null;
}

async function makeSnapshotRow(
  tx: Writer,
  request: RequestRow,
  wish: { parameters: RequestParameters & { operation: 'create' }; hostId: string; at: string },
): Promise<{ id: string; name: string }> {
  const { parameters, at } = wish;
  const { vm } = request;
  const name = parameters.name;
  if (!vm || name === undefined) throw new Error(`request ${request.id} has no VM or no name`);
  const id = newId(Date.parse(at));
  await insertSnapshot(tx, {
    id,
    vmId: vm.id,
    vmName: vm.name,
    hostId: wish.hostId,
    name,
    description: parameters.description,
    kind: parameters.kind,
    labels: parameters.labels,
    expiresAt: parameters.expiresAt ?? null,
    createdBy: request.requestedBy,
    requestId: request.id,
    at,
  });
  return { id, name };
}

/** What was possible when it was asked may not be any more: the name taken, the snapshot deleted. */
export async function requireStates(
  tx: Writer,
  request: RequestRow,
  parameters: RequestParameters,
): Promise<void> {
  if (parameters.operation === 'create' && request.vm && parameters.name !== undefined)
    return await requireFreeName(tx, request.vm, parameters.name);
  if (!request.snapshot) return;
  const snapshot = await requireSnapshot(tx, request.snapshot.id);
  switch (parameters.operation) {
    case 'restore':
      return requireState(
        snapshot,
        parameters.mode === 'rollback'
          ? snapshotCan.rollBack(snapshot, (await findVm(tx, snapshot.vmId)) ?? null)
          : snapshotCan.restore(snapshot),
      );
    case 'delete':
      return requireState(snapshot, snapshotCan.delete(snapshot));
    case 'export':
      return requireState(snapshot, snapshotCan.export(snapshot));
    case 'verify':
      return requireState(snapshot, snapshotCan.verify(snapshot));
    case 'create':
    case 'collect':
    case 'change-rules':
      return undefined;
  }
}
