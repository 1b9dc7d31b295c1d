import type { SignInMethod } from '../../contract/users.ts';
import type { Clock } from '../../shared/clock.ts';
import { OperationError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/logger.ts';
import { createPasswordHasher, type PasswordHasher } from '../access/passwords.ts';
import type { Principal } from '../access/principal.ts';
import {
  authenticateSession,
  SESSION_LIFETIMES,
  type SessionLifetimes,
} from '../access/sessions.ts';
import { authenticate } from '../access/tokens.ts';
import type { Catalog } from '../database/catalog.ts';

/** How people sign in to this server. */
export interface SignInSettings {
  readonly passwords: PasswordHasher;
  readonly sessionLifetimes: SessionLifetimes;
}

export const createSignInSettings = (settings: Partial<SignInSettings> = {}): SignInSettings => ({
  passwords: settings.passwords ?? createPasswordHasher(),
  sessionLifetimes: settings.sessionLifetimes ?? SESSION_LIFETIMES,
});

/** What every operation needs from outside. */
export interface Environment {
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly version: string;
  readonly signIn: SignInSettings;
}

/** The session that a call was made with. */
export interface CallerSession {
  readonly id: string;
  readonly method: Exclude<SignInMethod, 'token'>;
  readonly expiresAt: string;
  readonly csrfToken: string;
}

/** Who calls an operation, and from where. */
export interface Caller {
  readonly principal: Principal;
  readonly sourceAddress: string | null;
  /** Absent for tokens, and for what the product does by itself. */
  readonly session?: CallerSession;
}

export interface Credentials {
  /** Of a token. When there is one, no cookie is looked at. */
  readonly secret: string | undefined;
  readonly sessionSecret?: string | undefined;
  readonly sourceAddress: string | null;
  /** False for looks that a person did not ask for: they do not keep a session alive. */
  readonly isUse?: boolean;
}

export async function identifyCaller(
  environment: Environment,
  credentials: Credentials,
): Promise<Caller> {
  const { catalog, clock, signIn } = environment;
  const { secret, sessionSecret, sourceAddress, isUse = true } = credentials;
  if (secret !== undefined || sessionSecret === undefined)
    return { principal: await authenticate(catalog, secret, clock), sourceAddress };
  const options = { now: clock.now(), lifetimes: signIn.sessionLifetimes, isUse };
  const found = await authenticateSession(catalog, sessionSecret, options);
  if (!found)
    throw new OperationError('unauthenticated', 'The session is over. Sign in again.', {
      details: { whatToDo: 'Sign in again.' },
    });
  const { id, method, expiresAt } = found.session;
  const session = { id, method, expiresAt, csrfToken: found.csrfToken };
  return { principal: found.principal, sourceAddress, session };
}

export const timestamp = (environment: Environment): string =>
  environment.clock.now().toISOString();
