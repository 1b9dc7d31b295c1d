import { z } from 'zod';
import type {
  User,
  UserCreateInput,
  userListQuerySchema,
  userPageSchema,
  UserUpdateInput,
} from '../../contract/users.ts';
import { OperationError } from '../../shared/errors.ts';
import { newId } from '../../shared/ids.ts';
import { requireGoodPassword } from '../access/password-policy.ts';
import { authorize, FLEET } from '../access/principal.ts';
import { keepingGivers } from '../access/giving.ts';
import { requireNoMoreThan } from '../access/no-more-than.ts';
import { endAccessOf } from '../access/sessions.ts';
import { appendAuditEvent } from '../audit/audit-trail.ts';
import type { Reader, Writer } from '../database/catalog.ts';
import { insertBinding, listBindingsOf } from '../database/bindings.ts';
import { deleteOneTimeCodes } from '../database/one-time-codes.ts';
import { insertPrincipal } from '../database/principals.ts';
import {
  findUser,
  findUserByName,
  listRoleIds,
  listUsers,
  saveUser,
  setUserDisabled,
  type UserRow,
} from '../database/users.ts';
import { decodeCursor, pageFrom, pageLimit } from './cursor.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';
import { auditEntry, recordedAct, type Act } from './recorded.ts';
import { etagOf, requireMatch, type Versioned } from './versioned.ts';

const nameCursorSchema = z.object({ name: z.string() });

const toView = (row: UserRow, roles: readonly string[]): User => ({
  id: row.id,
  name: row.name,
  displayName: row.displayName,
  roles: [...roles],
  createdAt: row.createdAt,
  disabledAt: row.disabledAt,
  hasPassword: row.passwordHash !== null,
  passwordChangedAt: row.passwordChangedAt,
  mustChangePassword: row.mustChangePassword,
  oneTimeCodes: row.oneTimeCodes,
  lastSignInAt: row.lastSignInAt,
});

export async function userList(
  environment: Environment,
  caller: Caller,
  query: z.output<typeof userListQuerySchema>,
): Promise<z.output<typeof userPageSchema>> {
  authorize(caller.principal, 'manage-access', FLEET);
  const limit = pageLimit(query);
  const after = decodeCursor(nameCursorSchema, query.cursor);
  const rows = await listUsers(environment.catalog.read, { limit: limit + 1, after });
  const ids = rows.map((row) => row.id);
  const roles = await listRoleIds(environment.catalog.read, ids);
  return pageFrom(rows, {
    limit,
    toItem: (row) => toView(row, roles.get(row.id) ?? []),
    keyOf: ({ name }) => ({ name }),
  });
}

export async function userGet(
  environment: Environment,
  caller: Caller,
  id: string,
): Promise<Versioned<User>> {
  authorize(caller.principal, 'manage-access', FLEET);
  return await versioned(environment.catalog.read, id);
}

async function versioned(db: Reader, id: string): Promise<Versioned<User>> {
  const user = await requireUser(db, id);
  const roles = (await listRoleIds(db, [id])).get(id) ?? [];
  return { body: toView(user, roles), etag: etagOf(user.version) };
}

export const viewOfUser = async (db: Reader, id: string): Promise<User> =>
  (await versioned(db, id)).body;

async function requireUser(db: Reader, id: string): Promise<UserRow> {
  const user = await findUser(db, id);
  if (!user) throw new OperationError('not_found', `There is no user ${id}.`);
  return user;
}

export async function userCreate(
  environment: Environment,
  caller: Caller,
  input: UserCreateInput,
): Promise<User> {
  const { name, bindings, displayName, temporaryPassword } = input;
  const act = { action: 'user.create', resourceType: 'user', resourceName: name };
  const hash = await hashTemporary(environment, caller, { password: temporaryPassword, name });
  return await recordedAct(environment, caller, act, async (tx) => {
    authorize(caller.principal, 'manage-access', FLEET);
    await requireNoMoreThan(
      tx,
      caller.principal,
      bindings.map(({ role }) => role),
    );
    requireHash(hash);
    if (await findUserByName(tx, name))
      throw new OperationError('name_taken', `There is a user ${name} already.`);
    const now = environment.clock.now();
    const at = now.toISOString();
    const id = newId(now.getTime());
    await insertPrincipal(tx, { id, name, kind: 'user', at });
    for (const { role, scope } of bindings)
      await insertBinding(tx, {
        id: newId(now.getTime()),
        principalId: id,
        roleId: role,
        effect: 'allow',
        scope,
        createdBy: caller.principal.ref,
        at,
      });
    await saveUser(tx, id, {
      displayName,
      ...(hash.value !== null && {
        password: { hash: hash.value, changedAt: at, mustChange: true },
      }),
    });
    await appendAuditEvent(
      tx,
      auditEntry(environment, caller, {
        ...act,
        resourceId: id,
        outcome: 'succeeded',
        details: { bindings, withPassword: hash.value !== null },
      }),
    );
    return await viewOfUser(tx, id);
  });
}

interface HashOrError {
  readonly value: string | null;
  readonly error?: unknown;
}

/** Outside of the transaction, and only for who may do it at all; an error is thrown where it is recorded. */
async function hashTemporary(
  environment: Environment,
  caller: Caller,
  { password, name }: { password: string | undefined; name: string },
): Promise<HashOrError> {
  try {
    authorize(caller.principal, 'manage-access', FLEET);
    if (password === undefined) return { value: null };
    requireGoodPassword(password, name);
    return { value: await environment.signIn.passwords.hash(password) };
  } catch (error) {
    return { value: null, error };
  }
}

function requireHash(hash: HashOrError): void {
  if (hash.error !== undefined) throw hash.error;
}

/** An act on a user by somebody else: whoever has the right can never lock the last of them out. */
async function actOnUser<Result>(
  environment: Environment,
  caller: Caller,
  options: { action: string; id: string; notOneself: boolean },
  work: (tx: Writer, context: { user: UserRow; act: Act }) => Promise<Result>,
): Promise<Result> {
  const { action, id, notOneself } = options;
  const known = await findUser(environment.catalog.read, id);
  const act = { action, resourceType: 'user', resourceId: id, resourceName: known?.name ?? null };
  return await recordedAct(environment, caller, act, async (tx) => {
    authorize(caller.principal, 'manage-access', FLEET);
    const user = await requireUser(tx, id);
    const bindings = await listBindingsOf(tx, id);
    await requireNoMoreThan(
      tx,
      caller.principal,
      bindings.filter(({ effect }) => effect === 'allow').map(({ roleId }) => roleId),
    );
    if (notOneself && id === caller.principal.ref.id)
      throw new OperationError(
        'wrong_state',
        'Nobody can do this to themselves. Ask another administrator.',
      );
    return await work(tx, { user, act });
  });
}

export async function userUpdate(
  environment: Environment,
  caller: Caller,
  change: { id: string; input: UserUpdateInput; ifMatch: string | undefined },
): Promise<Versioned<User>> {
  const { id, input, ifMatch } = change;
  const options = { action: 'user.update', id, notOneself: false };
  return await actOnUser(environment, caller, options, async (tx, { user, act }) => {
    requireMatch(user.version, ifMatch);
    const { displayName = user.displayName } = input;
    await saveUser(tx, id, { displayName });
    await appendAuditEvent(
      tx,
      auditEntry(environment, caller, { ...act, outcome: 'succeeded', details: { displayName } }),
    );
    return await versioned(tx, id);
  });
}

export async function userDisable(
  environment: Environment,
  caller: Caller,
  id: string,
): Promise<User> {
  const options = { action: 'user.disable', id, notOneself: true };
  return await actOnUser(environment, caller, options, async (tx, { user, act }) => {
    if (user.disabledAt !== null)
      throw new OperationError('wrong_state', `The user ${user.name} is disabled already.`);
    const at = timestamp(environment);
    await keepingGivers(tx, () => setUserDisabled(tx, id, at));
    const details = await endAccessOf(tx, id, { at });
    await appendAuditEvent(
      tx,
      auditEntry(environment, caller, { ...act, outcome: 'succeeded', details }),
    );
    return await viewOfUser(tx, id);
  });
}

export async function userEnable(
  environment: Environment,
  caller: Caller,
  id: string,
): Promise<User> {
  const options = { action: 'user.enable', id, notOneself: false };
  return await actOnUser(environment, caller, options, async (tx, { user, act }) => {
    if (user.disabledAt === null)
      throw new OperationError('wrong_state', `The user ${user.name} is not disabled.`);
    await setUserDisabled(tx, id, null);
    await appendAuditEvent(tx, auditEntry(environment, caller, { ...act, outcome: 'succeeded' }));
    return await viewOfUser(tx, id);
  });
}

/** For a new or forgetful user; they choose their own at the next sign-in. */
export async function userSetPassword(
  environment: Environment,
  caller: Caller,
  change: { id: string; temporaryPassword: string },
): Promise<void> {
  const { id, temporaryPassword: password } = change;
  const name = (await findUser(environment.catalog.read, id))?.name ?? '';
  const hash = await hashTemporary(environment, caller, { password, name });
  const options = { action: 'user.set-password', id, notOneself: true };
  await actOnUser(environment, caller, options, async (tx, { act }) => {
    requireHash(hash);
    const at = timestamp(environment);
    await saveUser(tx, id, {
      password: { hash: hash.value ?? '', changedAt: at, mustChange: true },
    });
    const details = await endAccessOf(tx, id, { at });
    await appendAuditEvent(
      tx,
      auditEntry(environment, caller, { ...act, outcome: 'succeeded', details }),
    );
  });
}

/** For who has lost the app and the recovery codes; it ends all other ways in, as something may be wrong. */
export async function userResetOneTimeCodes(
  environment: Environment,
  caller: Caller,
  id: string,
): Promise<void> {
  const options = { action: 'user.reset-one-time-codes', id, notOneself: true };
  await actOnUser(environment, caller, options, async (tx, { user, act }) => {
    if (!user.oneTimeCodes)
      throw new OperationError('wrong_state', `The user ${user.name} has no one-time codes.`);
    await deleteOneTimeCodes(tx, id);
    const details = await endAccessOf(tx, id, { at: timestamp(environment) });
    await appendAuditEvent(
      tx,
      auditEntry(environment, caller, { ...act, outcome: 'succeeded', details }),
    );
  });
}
