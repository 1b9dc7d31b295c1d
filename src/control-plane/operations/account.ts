import type { PasswordChangeInput } from '../../contract/users.ts';
import { OperationError } from '../../shared/errors.ts';
import { authorize, FLEET } from '../access/principal.ts';
import { endAccessOf, openSession, type OpenedSession } from '../access/sessions.ts';
import { appendAuditEvent } from '../audit/audit-trail.ts';
import type { Writer } from '../database/catalog.ts';
import { deleteSessionsOf, findSession } from '../database/sessions.ts';
import { findUser, saveUser, type UserRow } from '../database/users.ts';
import type { Caller, Environment } from './environment.ts';
import { auditEntry, recordedAct } from './recorded.ts';
import { requireNewPassword, requireOwnProof } from './sign-in.ts';

export async function requireOwnUser(environment: Environment, caller: Caller): Promise<UserRow> {
  const user = await findUser(environment.catalog.read, caller.principal.ref.id);
  if (!user)
    throw new OperationError('wrong_state', 'You are not a user, so you have no password.');
  return user;
}

/**
 * Sessions and tokens end with the old password. The session of this call gets a new secret, the
 * token of this call stays: whoever holds it has just shown that they know the password.
 */
export async function passwordChange(
  environment: Environment,
  caller: Caller,
  input: PasswordChangeInput,
): Promise<{ session: OpenedSession | null }> {
  const { id, name } = caller.principal.ref;
  const act = {
    action: 'user.change-password',
    resourceType: 'user',
    resourceId: id,
    resourceName: name,
  };
  let newHash = '';
  let user: UserRow | undefined;
  const prepare = async (): Promise<void> => {
    user = await requireOwnUser(environment, caller);
    await requireCurrentPassword(environment, caller, { user, given: input.currentPassword });
    requireNewPassword(input.newPassword, { old: input.currentPassword, userName: user.name });
    newHash = await environment.signIn.passwords.hash(input.newPassword);
  };
  const prepared = await prepare().catch((error: unknown) => ({ error }));
  return await recordedAct(environment, caller, act, async (tx) => {
    if (prepared) throw prepared.error;
    await requireUnchanged(tx, user);
    const at = environment.clock.now().toISOString();
    const session = await renewSession(environment, caller, tx, { at, keepTokens: false });
    await saveUser(tx, id, { password: { hash: newHash, changedAt: at, mustChange: false } });
    await appendAuditEvent(tx, auditEntry(environment, caller, { ...act, outcome: 'succeeded' }));
    return { session };
  });
}

/** Without a password a token alone would do, so it has to be one that may give passwords to anybody. */
async function requireCurrentPassword(
  environment: Environment,
  caller: Caller,
  { user, given }: { user: UserRow; given: string | undefined },
): Promise<void> {
  if (user.passwordHash === null) return authorize(caller.principal, 'manage-access', FLEET);
  if (given === undefined)
    throw new OperationError('invalid_input', 'The current password is missing.', {
      details: { field: 'currentPassword' },
    });
  await requireOwnProof(environment, {
    user,
    password: given,
    code: null,
    sourceAddress: caller.sourceAddress,
  });
}

/** What was checked outside of the transaction still has to hold in it. */
async function requireUnchanged(tx: Writer, checked: UserRow | undefined): Promise<void> {
  const current = checked && (await findUser(tx, checked.id));
  if (!current || current.disabledAt !== null || current.passwordHash !== checked.passwordHash)
    throw new OperationError('wrong_state', 'The password was changed meanwhile. Sign in again.');
}

/** Ends all sessions, and tokens, of the caller but this call's own, whose session goes on under a new secret. */
export async function renewSession(
  environment: Environment,
  caller: Caller,
  tx: Writer,
  options: { at: string; keepTokens: boolean },
): Promise<OpenedSession | null> {
  const { principal, session } = caller;
  const before = session && (await findSession(tx, session.id));
  if (options.keepTokens) await deleteSessionsOf(tx, principal.ref.id);
  else
    await endAccessOf(tx, principal.ref.id, { at: options.at, exceptTokenId: principal.tokenId });
  if (!before) return null;
  const { principalId, method, sourceAddress, userAgent } = before;
  return await openSession(
    tx,
    { principalId, method, sourceAddress, userAgent },
    { now: environment.clock.now(), lifetimes: environment.signIn.sessionLifetimes },
  );
}
