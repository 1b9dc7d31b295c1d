import type { SessionCreated, SessionCreateInput } from '../../contract/users.ts';
import { OperationError } from '../../shared/errors.ts';
import { requireGoodPassword } from '../access/password-policy.ts';
import {
  closeSessionOf,
  endAccessOf,
  openSession,
  type OpenedSession,
} from '../access/sessions.ts';
import { beginAttempt, forgiveAttempt, throttleKeys } from '../access/sign-in-throttle.ts';
import { takeCode } from '../access/one-time-codes.ts';
import { issueToken } from '../access/tokens.ts';
import { appendAuditEvent, type AuditEntry } from '../audit/audit-trail.ts';
import type { Writer } from '../database/catalog.ts';
import type { ThrottleKey } from '../database/sign-in-throttles.ts';
import { countTokens } from '../database/tokens.ts';
import { findUser, findUserByName, saveUser, type UserRow } from '../database/users.ts';
import { timestamp, type Environment } from './environment.ts';
import { TOKENS_PER_PRINCIPAL_MAX } from './tokens.ts';

/** Where a sign-in comes from. */
export interface SignInOrigin {
  readonly sourceAddress: string | null;
  readonly userAgent: string | null;
  /** Of a cookie that came with it: that session ends. */
  readonly sessionSecret: string | undefined;
}

export interface SignedIn {
  readonly body: SessionCreated;
  /** For the cookie. */
  readonly session: OpenedSession | null;
}

/** Nobody yet: the audit trail says from where. */
const NOBODY = { id: 'anonymous', name: 'nobody', kind: 'system' } as const;

/** One answer for all of them, so that neither accounts nor passwords can be told apart from it. */
const refused = (): OperationError =>
  new OperationError(
    'unauthenticated',
    'The name, the password or the one-time code is not right.',
    {
      details: {
        whatToDo:
          'Check all three; leave the code out only if you have not set one-time codes up. After several failures there is a wait.',
      },
    },
  );

/**
 * Signs in with name, password and, where it is set up, a one-time code. What is costly or takes
 * long happens for every attempt, whether or not there is such an account.
 */
export async function sessionCreate(
  environment: Environment,
  input: SessionCreateInput,
  origin: SignInOrigin,
): Promise<SignedIn> {
  const { catalog, signIn } = environment;
  const name = input.name.toLowerCase();
  const user = await findUserByName(catalog.read, name);
  const { sourceAddress } = origin;
  const keys = throttleKeys({ name, isKnown: user !== undefined, sourceAddress });
  await countAttempt(environment, { keys, user, sourceAddress });

  const check = await signIn.passwords.verify(input.password, user?.passwordHash ?? null);
  const newHash = await hashForLater(environment, { input, user, check });
  return await catalog
    .write(async (tx) => {
      // Again, since it may have been changed or shut out while the password was checked.
      const current = user && (await findUser(tx, user.id));
      const reason = findObstacle(current, { user, matches: check.matches });
      if (reason !== null || !current) throw new SignInRefusal(reason ?? 'unknown user name');
      const code = await takeCode(tx, {
        principalId: current.id,
        code: input.code,
        now: environment.clock.now(),
      });
      if (code === 'missing' || code === 'wrong') throw new SignInRefusal(`${code} one-time code`);
      return await admit(environment, tx, { input, origin, user: current, newHash, keys });
    })
    .catch(async (error: unknown) => {
      if (!(error instanceof SignInRefusal)) throw error;
      await recordRefusal(environment, { user, sourceAddress, reason: error.message });
      throw refused();
    });
}

/** Its message is for the audit trail only. */
class SignInRefusal extends Error {}

async function countAttempt(
  environment: Environment,
  attempt: {
    keys: readonly ThrottleKey[];
    user: UserRow | undefined;
    sourceAddress: string | null;
  },
): Promise<void> {
  const { keys, user, sourceAddress } = attempt;
  const refusal = await environment.catalog.write(
    async (tx) => await beginAttempt(tx, keys, environment.clock.now()),
  );
  if (!refusal) return;
  const { retryAfterSeconds, isFirst } = refusal;
  if (isFirst)
    await recordRefusal(environment, {
      user,
      sourceAddress,
      reason: `too many failures; all attempts are refused for ${retryAfterSeconds} s, and only this one is recorded`,
    });
  throw new OperationError('rate_limited', 'There were too many failed sign-ins.', {
    details: { retryAfterSeconds },
  });
}

async function hashForLater(
  environment: Environment,
  attempt: {
    input: SessionCreateInput;
    user: UserRow | undefined;
    check: { matches: boolean; isOutdated: boolean };
  },
): Promise<string | null> {
  const { input, user, check } = attempt;
  if (!user || !check.matches) return null;
  const { passwords } = environment.signIn;
  if (input.newPassword !== undefined && user.mustChangePassword) {
    requireNewPassword(input.newPassword, { old: input.password, userName: user.name });
    return await passwords.hash(input.newPassword);
  }
  return check.isOutdated ? await passwords.hash(input.password) : null;
}

export function requireNewPassword(
  password: string,
  { old, userName }: { old: string | undefined; userName: string },
): void {
  requireGoodPassword(password, userName);
  if (password === old)
    throw new OperationError('invalid_input', 'The new password is the old one.');
}

function findObstacle(
  current: UserRow | undefined,
  attempt: { user: UserRow | undefined; matches: boolean },
): string | null {
  if (!current || !attempt.user) return 'unknown user name';
  if (current.passwordHash === null) return 'no password was ever set';
  if (!attempt.matches || current.passwordHash !== attempt.user.passwordHash)
    return 'wrong password';
  if (current.disabledAt !== null) return 'the user is disabled';
  return null;
}

async function admit(
  environment: Environment,
  tx: Writer,
  admitted: {
    input: SessionCreateInput;
    origin: SignInOrigin;
    user: UserRow;
    newHash: string | null;
    keys: readonly ThrottleKey[];
  },
): Promise<SignedIn> {
  const { input, origin, user, newHash, keys } = admitted;
  const now = environment.clock.now();
  const at = now.toISOString();
  await forgiveAttempt(tx, keys, now);
  if (user.mustChangePassword && input.newPassword === undefined)
    throw new OperationError('wrong_state', 'The password is a temporary one. Choose your own.', {
      details: {
        passwordChange: true,
        whatToDo: 'Sign in again with the new password beside the temporary one.',
      },
    });
  if (newHash !== null && user.mustChangePassword) {
    await endAccessOf(tx, user.id, { at });
    await saveUser(tx, user.id, { password: { hash: newHash, changedAt: at, mustChange: false } });
  } else if (newHash !== null) await saveUser(tx, user.id, { rehashed: newHash });
  await saveUser(tx, user.id, { lastSignInAt: at });
  await closeSessionOf(tx, origin.sessionSecret);
  const made = await (input.as === 'token'
    ? makeToken(environment, tx, { input, user })
    : makeSession(environment, tx, { origin, user }));
  await appendAuditEvent(tx, {
    at,
    actor: { id: user.id, name: user.name, kind: 'user' },
    sourceAddress: origin.sourceAddress,
    action: 'session.create',
    resourceType: input.as,
    resourceId: made.body.session?.id ?? made.body.token?.id ?? null,
    resourceName: user.name,
    outcome: 'succeeded',
    details: {
      method: 'password',
      passwordChanged: user.mustChangePassword,
      expiresAt: made.body.expiresAt,
    },
  });
  return made;
}

async function makeSession(
  environment: Environment,
  tx: Writer,
  { origin, user }: { origin: SignInOrigin; user: UserRow },
): Promise<SignedIn> {
  const { sourceAddress, userAgent } = origin;
  const session = await openSession(
    tx,
    { principalId: user.id, method: 'password', sourceAddress, userAgent },
    { now: environment.clock.now(), lifetimes: environment.signIn.sessionLifetimes },
  );
  const { id, csrfToken, expiresAt } = session;
  return {
    session,
    body: { userId: user.id, name: user.name, expiresAt, session: { id, csrfToken }, token: null },
  };
}

async function makeToken(
  environment: Environment,
  tx: Writer,
  { input, user }: { input: SessionCreateInput; user: UserRow },
): Promise<SignedIn> {
  if ((await countTokens(tx, user.id)) >= TOKENS_PER_PRINCIPAL_MAX)
    throw new OperationError(
      'limit_reached',
      `Nobody may have more than ${TOKENS_PER_PRINCIPAL_MAX} tokens. Revoke one first.`,
    );
  const now = environment.clock.now();
  const expiresAt = new Date(now.getTime() + input.tokenLifetimeSeconds * 1000).toISOString();
  const { id, secret } = await issueToken(
    tx,
    { principalId: user.id, name: input.tokenName, rights: null, expiresAt },
    now,
  );
  return {
    session: null,
    body: { userId: user.id, name: user.name, expiresAt, session: null, token: { id, secret } },
  };
}

/** The name as it was typed is not kept when it is nobody's: it may be a password. */
async function recordRefusal(
  environment: Environment,
  refusal: { user: UserRow | undefined; sourceAddress: string | null; reason: string },
): Promise<void> {
  const { user, sourceAddress, reason } = refusal;
  const entry: AuditEntry = {
    at: timestamp(environment),
    actor: NOBODY,
    sourceAddress,
    action: 'session.create',
    resourceType: 'user',
    resourceId: user?.id ?? null,
    resourceName: user?.name ?? null,
    outcome: 'denied',
    reason,
  };
  await environment.catalog.write((tx) => appendAuditEvent(tx, entry));
}

/**
 * The password, and the code where codes are set up, of somebody who is signed in already. Counted
 * like a sign-in, and a code is used up.
 */
export async function requireOwnProof(
  environment: Environment,
  attempt: {
    user: UserRow;
    password: string;
    /** Null: the session has shown one, and that is enough. */
    code?: string | null | undefined;
    sourceAddress: string | null;
  },
): Promise<void> {
  const { user, password, code, sourceAddress } = attempt;
  const keys = throttleKeys({ name: user.name, isKnown: true, sourceAddress });
  await countAttempt(environment, { keys, user, sourceAddress });
  const { matches } = await environment.signIn.passwords.verify(password, user.passwordHash);
  await environment.catalog.write(async (tx) => {
    const now = environment.clock.now();
    const verdict =
      code === null || !matches ? 'right' : await takeCode(tx, { principalId: user.id, code, now });
    if (!matches || verdict === 'missing' || verdict === 'wrong')
      throw new OperationError('forbidden', 'The password or the one-time code is not right.', {
        details: {
          whatToDo: 'Type your current password again, and a code that was not used yet.',
        },
      });
    await forgiveAttempt(tx, keys, now);
  });
}
