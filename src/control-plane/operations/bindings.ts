import type { z } from 'zod';
import {
  bindingSchema,
  type Binding,
  type BindingCreateInput,
  type bindingListQuerySchema,
  type bindingPageSchema,
  type BindingUpdateInput,
} from '../../contract/bindings.ts';
import { OperationError } from '../../shared/errors.ts';
import { newId } from '../../shared/ids.ts';
import { keepingGivers, requireMayGive, type Extent } from '../access/giving.ts';
import { authorizeSomewhere, FLEET, mayDo, type Principal } from '../access/principal.ts';
import { appendAuditEvent } from '../audit/audit-trail.ts';
import {
  countBindings,
  deleteBinding,
  findBinding,
  insertBinding,
  listBindings,
  updateBinding,
  type BindingRow,
} from '../database/bindings.ts';
import type { Reader, Writer } from '../database/catalog.ts';
import { findPrincipal } from '../database/principals.ts';
import type { StoredScope } from '../database/stored-shapes.ts';
import { findVmLabels } from '../database/vms.ts';
import { decodeCursor, idCursorSchema, pageFrom, pageLimit } from './cursor.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';
import { actOnce, type OnceOptions } from './idempotency.ts';
import { auditEntry, recordedAct } from './recorded.ts';
import { requireRole } from './roles.ts';
import { targetOf } from './targets.ts';
import { etagOf, requireMatch, type Versioned } from './versioned.ts';
import { noSuchVm } from './vms.ts';

/** All of them are read at each call of their principal. */
const BINDINGS_PER_PRINCIPAL_MAX = 200;

const toBindingView = (row: BindingRow): Binding => {
  const { roleId, role, version: _version, ...view } = row;
  return { ...view, role: { id: roleId, name: role?.name ?? roleId } };
};

/** Whoever manages access to all that it is about. */
async function maySeeBinding(
  db: Reader,
  principal: Principal,
  { scope }: Pick<Binding, 'scope'>,
): Promise<boolean> {
  if (scope.kind === 'everything') return mayDo(principal, 'manage-access', FLEET);
  if (scope.kind === 'label') {
    const anyVm = { id: '', labels: { [scope.key]: scope.value } };
    return mayDo(principal, 'manage-access', { vm: anyVm });
  }
  for (const id of scope.vmIds) {
    const vm = (await findVmLabels(db, id)) ?? { id, labels: {} };
    if (!mayDo(principal, 'manage-access', targetOf(vm))) return false;
  }
  return true;
}

async function requireVisibleBinding(
  db: Reader,
  principal: Principal,
  id: string,
): Promise<BindingRow> {
  const row = await findBinding(db, id);
  if (!row || !(await maySeeBinding(db, principal, row)))
    throw new OperationError('not_found', `There is no binding ${id}.`);
  return row;
}

export async function bindingList(
  environment: Environment,
  caller: Caller,
  query: z.output<typeof bindingListQuerySchema>,
): Promise<z.output<typeof bindingPageSchema>> {
  authorizeSomewhere(caller.principal, 'manage-access');
  const db = environment.catalog.read;
  const limit = pageLimit(query);
  let after = decodeCursor(idCursorSchema, query.cursor);
  const shown: BindingRow[] = [];
  for (;;) {
    const rows = await listBindings(db, query, { limit: limit + 1, after });
    for (const row of rows) if (await maySeeBinding(db, caller.principal, row)) shown.push(row);
    after = rows.at(-1);
    if (rows.length <= limit || shown.length > limit) break;
  }
  return pageFrom(shown, { limit, toItem: toBindingView, keyOf: ({ id }) => ({ id }) });
}

export async function bindingGet(
  environment: Environment,
  caller: Caller,
  id: string,
): Promise<Versioned<Binding>> {
  authorizeSomewhere(caller.principal, 'manage-access');
  const row = await requireVisibleBinding(environment.catalog.read, caller.principal, id);
  return { body: toBindingView(row), etag: etagOf(row.version) };
}

export async function bindingCreate(
  environment: Environment,
  caller: Caller,
  input: BindingCreateInput,
  options: OnceOptions,
): Promise<Binding> {
  const act = { action: 'binding.create', resourceType: 'binding' };
  const once = {
    ...options,
    act,
    body: input,
    answerSchema: bindingSchema,
    maySee: (tx: Writer, binding: Binding) => maySeeBinding(tx, caller.principal, binding),
  };
  return await actOnce(environment, caller, once, async (tx) => {
    authorizeSomewhere(caller.principal, 'manage-access');
    await requireMayBind(tx, caller.principal, input);
    const principal = await findPrincipal(tx, input.principalId);
    if (!principal)
      throw new OperationError('not_found', `There is no principal ${input.principalId}.`);
    if ((await countBindings(tx, { principalId: principal.id })) >= BINDINGS_PER_PRINCIPAL_MAX)
      throw new OperationError(
        'limit_reached',
        `Nobody can have more than ${BINDINGS_PER_PRINCIPAL_MAX} bindings. Use labels instead of single VMs.`,
      );
    const id = newId(environment.clock.now().getTime());
    const at = timestamp(environment);
    await keepingGivers(tx, () =>
      insertBinding(tx, { ...input, id, createdBy: caller.principal.ref, at }),
    );
    const binding = toBindingView(await requireVisibleBinding(tx, caller.principal, id));
    await recordBinding(environment, caller, tx, { act, binding, details: { after: input } });
    return binding;
  });
}

export async function bindingUpdate(
  environment: Environment,
  caller: Caller,
  change: { id: string; input: BindingUpdateInput; ifMatch: string | undefined },
): Promise<Versioned<Binding>> {
  const act = { action: 'binding.update', resourceType: 'binding', resourceId: change.id };
  return await recordedAct(environment, caller, act, async (tx) => {
    authorizeSomewhere(caller.principal, 'manage-access');
    const before = await requireVisibleBinding(tx, caller.principal, change.id);
    requireMatch(before.version, change.ifMatch);
    const { roleId = before.roleId, effect = before.effect, scope = before.scope } = change.input;
    await requireMayBind(tx, caller.principal, before);
    await requireMayBind(tx, caller.principal, { roleId, scope });
    const { id } = before;
    const at = timestamp(environment);
    await keepingGivers(tx, () => updateBinding(tx, { id, roleId, effect, scope, at }));
    const after = await requireVisibleBinding(tx, caller.principal, id);
    const binding = toBindingView(after);
    const details = { before: partsOf(before), after: partsOf(after) };
    await recordBinding(environment, caller, tx, { act, binding, details });
    return { body: binding, etag: etagOf(after.version) };
  });
}

export async function bindingDelete(
  environment: Environment,
  caller: Caller,
  wish: { id: string; ifMatch: string | undefined },
): Promise<void> {
  const act = { action: 'binding.delete', resourceType: 'binding', resourceId: wish.id };
  await recordedAct(environment, caller, act, async (tx) => {
    authorizeSomewhere(caller.principal, 'manage-access');
    const before = await requireVisibleBinding(tx, caller.principal, wish.id);
    requireMatch(before.version, wish.ifMatch);
    await requireMayBind(tx, caller.principal, before);
    await keepingGivers(tx, () => deleteBinding(tx, before.id));
    const binding = toBindingView(before);
    const details = { before: partsOf(before) };
    await recordBinding(environment, caller, tx, { act, binding, details });
  });
}

const partsOf = ({ principal, roleId, effect, scope }: BindingRow) => ({
  principalId: principal.id,
  roleId,
  effect,
  scope,
});

/** To allow, to deny, or to stop either: all of it must be the caller's own to give. */
async function requireMayBind(
  tx: Writer,
  principal: Principal,
  binding: Pick<BindingRow, 'roleId' | 'scope'>,
): Promise<void> {
  const extent = await resolveExtent(tx, principal, binding.scope);
  const { role } = await requireRole(tx, binding.roleId);
  requireMayGive(principal, role.rights, extent);
}

async function resolveExtent(
  db: Reader,
  principal: Principal,
  scope: StoredScope,
): Promise<Extent> {
  if (scope.kind !== 'vms') return { scope, vms: [] };
  const vms = [];
  for (const id of scope.vmIds) {
    const vm = await findVmLabels(db, id);
    const isKnown =
      vm &&
      (mayDo(principal, 'view', targetOf(vm)) || mayDo(principal, 'manage-access', targetOf(vm)));
    if (!isKnown) throw noSuchVm(id);
    vms.push(vm);
  }
  return { scope, vms };
}

async function recordBinding(
  environment: Environment,
  caller: Caller,
  tx: Writer,
  made: {
    act: { action: string; resourceType: string };
    binding: Binding;
    details: Parameters<typeof auditEntry>[2]['details'];
  },
): Promise<void> {
  const { id, principal, role } = made.binding;
  await appendAuditEvent(
    tx,
    auditEntry(environment, caller, {
      ...made.act,
      resourceId: id,
      resourceName: `${role.name} for ${principal.name}`,
      outcome: 'succeeded',
      details: made.details ?? {},
    }),
  );
}
