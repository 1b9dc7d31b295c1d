import { z } from 'zod';
import {
  roleSchema,
  type Role,
  type RoleCreateInput,
  type roleListQuerySchema,
  type rolePageSchema,
  type RoleUpdateInput,
} from '../../contract/roles.ts';
import { OperationError } from '../../shared/errors.ts';
import { newId } from '../../shared/ids.ts';
import { EVERYWHERE, keepingGivers, requireMayGive } from '../access/giving.ts';
import { authorize, authorizeSomewhere, FLEET, mayDo } from '../access/principal.ts';
import { BUILT_IN_ROLES, isBuiltInRole, knownRights, ROLE_RIGHTS } from '../access/roles.ts';
import { appendAuditEvent } from '../audit/audit-trail.ts';
import { countBindings } from '../database/bindings.ts';
import type { Reader } from '../database/catalog.ts';
import { listConfirmationRules } from '../database/confirmation-rules.ts';
import {
  deleteRole,
  findRole,
  insertRole,
  listRoles,
  updateRole,
  type RoleRow,
} from '../database/roles.ts';
import { RULES_MAX } from './confirmation.ts';
import { decodeCursor, pageFrom, pageLimit } from './cursor.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';
import { actOnce, type OnceOptions } from './idempotency.ts';
import { auditEntry, recordedAct } from './recorded.ts';
import { etagOf, requireMatch, type Versioned } from './versioned.ts';

const ROLES_MAX = 200;
const roleCursorSchema = z.object({ id: z.string() });

const BUILT_IN: readonly Role[] = BUILT_IN_ROLES.map((id) => ({
  id,
  name: id,
  description: '',
  rights: [...ROLE_RIGHTS[id]],
  builtIn: true,
  createdAt: null,
  updatedAt: null,
}));

const toRoleView = ({ version: _version, rights, ...view }: RoleRow): Role => ({
  ...view,
  rights: knownRights(rights),
  builtIn: false,
});

/** Built-in ones first. There are never more than fit in memory. */
async function readRoles(db: Reader): Promise<Role[]> {
  const made = await listRoles(db, { limit: ROLES_MAX });
  return [...BUILT_IN, ...made.map(toRoleView)];
}

export async function requireRole(
  db: Reader,
  id: string,
): Promise<{ role: Role; version: number }> {
  const builtIn = BUILT_IN.find((role) => role.id === id);
  if (builtIn) return { role: builtIn, version: 0 };
  const row = await findRole(db, id);
  if (!row)
    throw new OperationError(
      'not_found',
      `There is no role ${id}. "GET /api/v1/roles" lists those that there are.`,
    );
  return { role: toRoleView(row), version: row.version };
}

export async function roleList(
  environment: Environment,
  caller: Caller,
  query: z.output<typeof roleListQuerySchema>,
): Promise<z.output<typeof rolePageSchema>> {
  authorizeSomewhere(caller.principal, 'manage-access');
  const limit = pageLimit(query);
  const after = decodeCursor(roleCursorSchema, query.cursor);
  const roles = await readRoles(environment.catalog.read);
  const start = after ? roles.findIndex(({ id }) => id === after.id) + 1 : 0;
  return pageFrom(roles.slice(start, start + limit + 1), {
    limit,
    toItem: (role) => role,
    keyOf: ({ id }) => ({ id }),
  });
}

export async function roleGet(
  environment: Environment,
  caller: Caller,
  id: string,
): Promise<Versioned<Role>> {
  authorizeSomewhere(caller.principal, 'manage-access');
  const { role, version } = await requireRole(environment.catalog.read, id);
  return { body: role, etag: etagOf(version) };
}

export async function roleCreate(
  environment: Environment,
  caller: Caller,
  input: RoleCreateInput,
  options: OnceOptions,
): Promise<Role> {
  const act = { action: 'role.create', resourceType: 'role', resourceName: input.name };
  const once = {
    ...options,
    act,
    body: input,
    answerSchema: roleSchema,
    maySee: async () => mayDo(caller.principal, 'manage-access', FLEET),
  };
  return await actOnce(environment, caller, once, async (tx) => {
    authorize(caller.principal, 'manage-access', FLEET);
    requireMayGive(caller.principal, input.rights, EVERYWHERE);
    await requireFreeRoleName(tx, input.name, null);
    if ((await listRoles(tx, { limit: ROLES_MAX })).length >= ROLES_MAX)
      throw new OperationError(
        'limit_reached',
        `There can be no more than ${ROLES_MAX} roles. Delete one that nobody has.`,
      );
    const id = newId(environment.clock.now().getTime());
    await insertRole(tx, { ...input, id, at: timestamp(environment) });
    const { role } = await requireRole(tx, id);
    const details = { after: partsOf(role) };
    await appendAuditEvent(
      tx,
      auditEntry(environment, caller, { ...act, resourceId: id, outcome: 'succeeded', details }),
    );
    return role;
  });
}

/** Whoever has the role gets what is added, and whom it denies gets back what is removed. */
export async function roleUpdate(
  environment: Environment,
  caller: Caller,
  change: { id: string; input: RoleUpdateInput; ifMatch: string | undefined },
): Promise<Versioned<Role>> {
  const act = { action: 'role.update', resourceType: 'role', resourceId: change.id };
  return await recordedAct(environment, caller, act, async (tx) => {
    authorize(caller.principal, 'manage-access', FLEET);
    const { role: before, version } = await requireRole(tx, change.id);
    refuseBuiltIn(before);
    requireMatch(version, change.ifMatch);
    const { name = before.name, description = before.description } = change.input;
    const rights = change.input.rights ?? before.rights;
    const different = new Set(rights).symmetricDifference(new Set(before.rights));
    requireMayGive(caller.principal, [...different], EVERYWHERE);
    await requireFreeRoleName(tx, name, before.id);
    const at = timestamp(environment);
    await keepingGivers(tx, () => updateRole(tx, { id: before.id, name, description, rights, at }));
    const after = await requireRole(tx, before.id);
    const details = { before: partsOf(before), after: partsOf(after.role) };
    await appendAuditEvent(
      tx,
      auditEntry(environment, caller, {
        ...act,
        resourceName: name,
        outcome: 'succeeded',
        details,
      }),
    );
    return { body: after.role, etag: etagOf(after.version) };
  });
}

export async function roleDelete(
  environment: Environment,
  caller: Caller,
  wish: { id: string; ifMatch: string | undefined },
): Promise<void> {
  const act = { action: 'role.delete', resourceType: 'role', resourceId: wish.id };
  await recordedAct(environment, caller, act, async (tx) => {
    authorize(caller.principal, 'manage-access', FLEET);
    const { role, version } = await requireRole(tx, wish.id);
    refuseBuiltIn(role);
    requireMatch(version, wish.ifMatch);
    const bindings = await countBindings(tx, { roleId: role.id });
    if (bindings > 0)
      throw new OperationError(
        'in_use',
        `The role ${role.name} is given or denied by ${bindings} bindings. Remove those first.`,
        { details: { bindings } },
      );
    const rules = await listConfirmationRules(tx, { limit: RULES_MAX });
    const naming = rules.find(({ roles, exceptRoles }) =>
      [...(roles ?? []), ...exceptRoles].includes(role.id),
    );
    if (naming)
      throw new OperationError(
        'in_use',
        `The confirmation rule "${naming.name}" names the role ${role.name}. Change that rule first.`,
        { details: { ruleId: naming.id } },
      );
    await deleteRole(tx, role.id);
    const details = { before: partsOf(role) };
    await appendAuditEvent(
      tx,
      auditEntry(environment, caller, {
        ...act,
        resourceName: role.name,
        outcome: 'succeeded',
        details,
      }),
    );
  });
}

const partsOf = ({ name, description, rights }: Role) => ({ name, description, rights });

function refuseBuiltIn(role: Role): void {
  if (role.builtIn)
    throw new OperationError(
      'wrong_state',
      `The role ${role.name} came with Komadori and stays as it is. Make a role of your own.`,
    );
}

async function requireFreeRoleName(
  db: Reader,
  name: string,
  exceptId: string | null,
): Promise<void> {
  const wished = name.toLowerCase();
  const taken =
    isBuiltInRole(wished) ||
    (await readRoles(db)).some(
      (role) => role.id !== exceptId && role.name.toLowerCase() === wished,
    );
  if (taken)
    throw new OperationError('name_taken', `There is a role named "${name}". Choose another name.`);
}
