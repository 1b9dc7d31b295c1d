import type { z } from 'zod';
import type { CapturePlan, PreflightInput } from '../../contract/preflight.ts';
import type { Vm, vmListQuerySchema, vmPageSchema, VmUpdateInput } from '../../contract/vms.ts';
import { OperationError } from '../../shared/errors.ts';
import { requireMayRelabel } from '../access/giving.ts';
import {
  authorize,
  authorizeSomewhere,
  mayDo,
  reachOf,
  type Principal,
} from '../access/principal.ts';
import { appendAuditEvent } from '../audit/audit-trail.ts';
import type { Reader } from '../database/catalog.ts';
import { listLabelBindings } from '../database/bindings.ts';
import { findHost } from '../database/hosts.ts';
import { listHeldScratch } from '../database/scratch-reservations.ts';
import { findVm, findVmsByName, listVms, setVmLabels, type VmRow } from '../database/vms.ts';
import type { CaptureWish } from '../policy/capture-wish.ts';
import { planCapture, type CaptureRoom } from '../policy/plan-capture.ts';
import {
  decodeCursor,
  namedCursorSchema,
  pageFrom,
  pageLimit,
  parseLabelFilter,
} from './cursor.ts';
import { confirmationFor } from './confirmation.ts';
import { targetOf } from './targets.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';
import { auditEntry, recordedAct } from './recorded.ts';
import { etagOf, requireMatch, type Versioned } from './versioned.ts';
import { isUuid } from '../../shared/ids.ts';

export function toVmView(row: VmRow): Vm {
  const { seenAt: _seenAt, version: _version, ...view } = row;
  return view;
}

export const noSuchVm = (id: string): OperationError =>
  new OperationError(
    'not_found',
    `There is no VM ${id}. "GET /api/v1/vms" lists those that are known.`,
  );

export async function requireVm(db: Reader, id: string): Promise<VmRow> {
  const row = await findVm(db, id.toLowerCase());
  if (!row) throw noSuchVm(id);
  return row;
}

/** For whoever may not see it, it does not exist. */
export async function requireVisibleVm(
  db: Reader,
  principal: Principal,
  id: string,
): Promise<VmRow> {
  const row = await requireVm(db, id);
  if (!mayDo(principal, 'view', targetOf(row))) throw noSuchVm(id);
  return row;
}

/** Of those that may be seen: by id, or by name where only one VM has it; one that is present wins over those that are gone. */
export async function resolveVm(
  db: Reader,
  principal: Principal,
  idOrName: string,
): Promise<VmRow> {
  const byId = isUuid(idOrName.toLowerCase())
    ? await findVm(db, idOrName.toLowerCase())
    : undefined;
  if (byId && mayDo(principal, 'view', targetOf(byId))) return byId;
  const [first, second] = await findVmsByName(db, idOrName, reachOf(principal, 'view'));
  if (!first) throw noSuchVm(idOrName);
  if (second && first.present === second.present)
    throw new OperationError(
      'invalid_input',
      `Several VMs are named ${idOrName}. Give the id of the one you mean.`,
      { details: { vmIds: [first.id, second.id] } },
    );
  return first;
}

export async function vmList(
  environment: Environment,
  caller: Caller,
  query: z.output<typeof vmListQuerySchema>,
): Promise<z.output<typeof vmPageSchema>> {
  authorizeSomewhere(caller.principal, 'view');
  const limit = pageLimit(query);
  const rows = await listVms(
    environment.catalog.read,
    {
      reach: reachOf(caller.principal, 'view'),
      name: query.name,
      search: query.search,
      states: query.state,
      present: query.present,
      hostId: query.hostId,
      labels: parseLabelFilter(query.label),
    },
    { limit: limit + 1, after: decodeCursor(namedCursorSchema, query.cursor) },
  );
  return pageFrom(rows, { limit, toItem: toVmView, keyOf: ({ name, id }) => ({ name, id }) });
}

export async function vmGet(
  environment: Environment,
  caller: Caller,
  id: string,
): Promise<Versioned<Vm>> {
  authorizeSomewhere(caller.principal, 'view');
  const row = await requireVisibleVm(environment.catalog.read, caller.principal, id);
  return { body: toVmView(row), etag: etagOf(row.version) };
}

export async function vmUpdate(
  environment: Environment,
  caller: Caller,
  change: { id: string; input: VmUpdateInput; ifMatch: string | undefined },
): Promise<Versioned<Vm>> {
  const act = { action: 'vm.update', resourceType: 'vm', resourceId: change.id };
  return await recordedAct(environment, caller, act, async (tx) => {
    authorizeSomewhere(caller.principal, 'manage-access');
    const before = await requireVisibleVm(tx, caller.principal, change.id);
    authorize(caller.principal, 'manage-access', targetOf(before));
    requireMatch(before.version, change.ifMatch);
    const { labels } = change.input;
    const bindings = await listLabelBindings(tx);
    requireMayRelabel(caller.principal, { vm: before, labels, bindings });
    await setVmLabels(tx, { vmId: before.id, labels, at: timestamp(environment) });
    const details = { before: before.labels, after: labels };
    await appendAuditEvent(
      tx,
      auditEntry(environment, caller, {
        ...act,
        resourceName: before.name,
        outcome: 'succeeded',
        details,
      }),
    );
    const after = await requireVm(tx, before.id);
    return { body: toVmView(after), etag: etagOf(after.version) };
  });
}

export async function vmPreflight(
  environment: Environment,
  caller: Caller,
  question: { id: string; input: PreflightInput },
): Promise<CapturePlan> {
  authorizeSomewhere(caller.principal, 'create');
  const db = environment.catalog.read;
  const vm = await requireVisibleVm(db, caller.principal, question.id);
  authorize(caller.principal, 'create', targetOf(vm));
  return await planForVm(db, caller.principal, { vm, wish: question.input });
}

/** The plan from what the worker reported last. */
export async function planForVm(
  db: Reader,
  requester: Principal,
  question: { vm: VmRow; wish: CaptureWish },
): Promise<CapturePlan> {
  const { vm, wish } = question;
  const host = await findHost(db, vm.host.id);
  return planCapture({
    vm: vm.description,
    present: vm.present,
    host: host?.description ?? null,
    wish,
    room: await roomOf(db, vm.host.id),
    inventoryAt: vm.seenAt,
    confirmation: await confirmationFor(db, requester, { operation: 'create', vm }),
  });
}

/** Scratch that running captures reserved counts as used, though it is not written yet. */
export async function roomOf(db: Reader, hostId: string): Promise<CaptureRoom> {
  const room = (await findHost(db, hostId))?.room;
  const held = await listHeldScratch(db, hostId);
  const reserved = held.reduce((sum, reservation) => sum + reservation.reservedBytes, 0);
  const scratchFree = room?.scratchFreeBytes ?? null;
  return {
    scratchFreeBytes: scratchFree === null ? null : Math.max(0, scratchFree - reserved),
    scratchFloorBytes: room?.scratchFloorBytes ?? 0,
    repositoryFreeBytes: room?.repositoryFreeBytes ?? null,
  };
}
