import type { z } from 'zod';
import type {
  Snapshot,
  snapshotListQuerySchema,
  snapshotPageSchema,
  SnapshotUpdateInput,
} from '../../contract/snapshots.ts';
import { snapshotCan, type Verdict } from '../../contract/state-predicates.ts';
import { OperationError } from '../../shared/errors.ts';
import {
  authorize,
  authorizeSomewhere,
  mayDo,
  reachOf,
  type Principal,
  type Target,
} from '../access/principal.ts';
import { appendAuditEvent } from '../audit/audit-trail.ts';
import type { Reader } from '../database/catalog.ts';
import { listSnapshots } from '../database/snapshot-list.ts';
import { editSnapshot, findSnapshot, type SnapshotRow } from '../database/snapshots.ts';
import {
  decodeCursor,
  namedCursorSchema,
  pageFrom,
  pageLimit,
  parseLabelFilter,
} from './cursor.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';
import { auditEntry, recordedAct } from './recorded.ts';
import { targetOfVmId } from './targets.ts';
import { etagOf, requireMatch, type Versioned } from './versioned.ts';

export function toSnapshotView(row: SnapshotRow): Snapshot {
  const { hostId: _h, memoryBytes: _m, checkpoint: _c, updatedAt: _u, version: _v, ...view } = row;
  return view;
}

const noSuchSnapshot = (id: string): OperationError =>
  new OperationError(
    'not_found',
    `There is no snapshot ${id}. "GET /api/v1/snapshots" lists those that are known.`,
  );

export async function requireSnapshot(db: Reader, id: string): Promise<SnapshotRow> {
  const row = await findSnapshot(db, id);
  if (!row) throw noSuchSnapshot(id);
  return row;
}

/** With its VM, which says who may do what with it. For whoever may not see it, it does not exist. */
export async function requireVisibleSnapshot(
  db: Reader,
  principal: Principal,
  id: string,
): Promise<{ snapshot: SnapshotRow; target: Target }> {
  const snapshot = await requireSnapshot(db, id);
  const { vm } = await targetOfVmId(db, snapshot.vmId);
  if (!mayDo(principal, 'view', { vm })) throw noSuchSnapshot(id);
  return { snapshot, target: { vm, createdById: snapshot.createdBy.id } };
}

/** Turns a predicate's no into the error for it. */
export function requireState(snapshot: SnapshotRow, verdict: Verdict): void {
  if (verdict.allowed) return;
  const { busyWith, state } = snapshot;
  const code = state === 'damaged' ? 'snapshot_damaged' : busyWith ? 'in_use' : 'wrong_state';
  throw new OperationError(code, `Snapshot ${snapshot.name}: ${verdict.reason}`, {
    details: {
      state,
      ...(busyWith && { busyWith: busyWith.operation, requestId: busyWith.requestId }),
    },
  });
}

export async function snapshotList(
  environment: Environment,
  caller: Caller,
  query: z.output<typeof snapshotListQuerySchema>,
): Promise<z.output<typeof snapshotPageSchema>> {
  authorizeSomewhere(caller.principal, 'view');
  const limit = pageLimit(query);
  const { state, level, label, order = 'newest', limit: _limit, cursor, ...filter } = query;
  const rows = await listSnapshots(
    environment.catalog.read,
    {
      ...filter,
      reach: reachOf(caller.principal, 'view'),
      states: state,
      levels: level,
      labels: parseLabelFilter(label),
    },
    { limit: limit + 1, order, after: decodeCursor(namedCursorSchema, cursor) },
  );
  return pageFrom(rows, { limit, toItem: toSnapshotView, keyOf: ({ name, id }) => ({ name, id }) });
}

export async function snapshotGet(
  environment: Environment,
  caller: Caller,
  id: string,
): Promise<Versioned<Snapshot>> {
  authorizeSomewhere(caller.principal, 'view');
  const { snapshot } = await requireVisibleSnapshot(environment.catalog.read, caller.principal, id);
  return { body: toSnapshotView(snapshot), etag: etagOf(snapshot.version) };
}

export async function snapshotUpdate(
  environment: Environment,
  caller: Caller,
  change: { id: string; input: SnapshotUpdateInput; ifMatch: string | undefined },
): Promise<Versioned<Snapshot>> {
  const act = { action: 'snapshot.update', resourceType: 'snapshot', resourceId: change.id };
  return await recordedAct(environment, caller, act, async (tx) => {
    authorizeSomewhere(caller.principal, 'create');
    const { snapshot: before, target } = await requireVisibleSnapshot(
      tx,
      caller.principal,
      change.id,
    );
    authorize(caller.principal, 'create', target);
    requireState(before, snapshotCan.edit(before));
    requireMatch(before.version, change.ifMatch);
    await editSnapshot(tx, { ...change.input, id: before.id, at: timestamp(environment) });
    const after = await requireSnapshot(tx, before.id);
    await appendAuditEvent(
      tx,
      auditEntry(environment, caller, {
        ...act,
        resourceName: before.name,
        outcome: 'succeeded',
        details: { before: editableParts(before), after: editableParts(after) },
      }),
    );
    return { body: toSnapshotView(after), etag: etagOf(after.version) };
  });
}

const editableParts = ({ description, labels, pinned, expiresAt }: SnapshotRow) => ({
  description,
  labels,
  pinned,
  expiresAt,
});
