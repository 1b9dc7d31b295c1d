import { createHash, createHmac, randomBytes } from 'node:crypto';
import { newId } from '../../shared/ids.ts';
import type { Catalog, Reader, Writer } from '../database/catalog.ts';
import {
  deleteOldestSessions,
  deleteSession,
  deleteSessionsOf,
  findSessionByHash,
  insertSession,
  touchSession,
  type SessionRow,
} from '../database/sessions.ts';
import { revokeTokensOf } from '../database/tokens.ts';
import { loadPrincipal } from './load-principal.ts';
import type { Principal } from './principal.ts';

export interface SessionLifetimes {
  /** Ends when it was not used for so long. */
  readonly idleMs: number;
  /** Ends in any case. */
  readonly absoluteMs: number;
}

export const SESSION_LIFETIMES: SessionLifetimes = {
  idleMs: 60 * 60_000,
  absoluteMs: 12 * 3600_000,
};

const SECRET_PATTERN = /^kms_[A-Za-z0-9_-]{43}$/;
const SESSIONS_PER_USER_MAX = 20;
/** Well below any idle time, and few enough writes. */
const TOUCH_INTERVAL_MS = 60_000;
const USER_AGENT_LENGTH_MAX = 256;

const hashSecret = (secret: string): string => createHash('sha256').update(secret).digest('hex');

/**
 * Goes with every change that is asked for by cookie. Only who has been given it by a page of ours
 * has it; it cannot be turned back into the session's secret, and another session has another.
 */
const csrfTokenOf = (secret: string): string =>
  createHmac('sha256', secret).update('komadori csrf').digest('base64url');

export interface OpenedSession {
  readonly id: string;
  /** In the cookie and nowhere else. */
  readonly secret: string;
  readonly csrfToken: string;
  readonly expiresAt: string;
}

export interface SessionOrigin {
  readonly principalId: string;
  readonly method: SessionRow['method'];
  readonly sourceAddress: string | null;
  readonly userAgent: string | null;
}

/** Always a new secret: one that somebody had before the sign-in is worth nothing after it. */
export async function openSession(
  tx: Writer,
  origin: SessionOrigin,
  options: { now: Date; lifetimes: SessionLifetimes },
): Promise<OpenedSession> {
  const { now, lifetimes } = options;
  const secret = `kms_${randomBytes(32).toString('base64url')}`;
  const id = newId(now.getTime());
  const expiresAt = new Date(now.getTime() + lifetimes.absoluteMs).toISOString();
  await insertSession(tx, {
    ...origin,
    id,
    userAgent: origin.userAgent?.toWellFormed().slice(0, USER_AGENT_LENGTH_MAX) ?? null,
    secretHash: hashSecret(secret),
    createdAt: now.toISOString(),
    lastUsedAt: now.toISOString(),
    expiresAt,
  });
  await deleteOldestSessions(tx, { principalId: origin.principalId, kept: SESSIONS_PER_USER_MAX });
  return { id, secret, csrfToken: csrfTokenOf(secret), expiresAt };
}

/** Whatever its state, so that a cookie which is handed in at a sign-in ends with it. */
export async function closeSessionOf(tx: Writer, secret: string | undefined): Promise<void> {
  const session = await findByAnySecret(tx, secret);
  if (session) await deleteSession(tx, session.id);
}

async function findByAnySecret(
  db: Reader,
  secret: string | undefined,
): Promise<SessionRow | undefined> {
  if (secret === undefined || !SECRET_PATTERN.test(secret)) return undefined;
  return await findSessionByHash(db, hashSecret(secret));
}

export interface SessionCaller {
  readonly principal: Principal;
  readonly session: SessionRow;
  readonly csrfToken: string;
}

/** Undefined for whatever is wrong with the secret, the session or its user. */
export async function authenticateSession(
  catalog: Catalog,
  secret: string,
  options: { now: Date; lifetimes: SessionLifetimes; isUse: boolean },
): Promise<SessionCaller | undefined> {
  const session = await findByAnySecret(catalog.read, secret);
  if (!session) return undefined;
  const nowMs = options.now.getTime();
  if (Date.parse(session.expiresAt) <= nowMs) return undefined;
  const unusedMs = nowMs - Date.parse(session.lastUsedAt);
  if (unusedMs >= options.lifetimes.idleMs) return undefined;
  const principal = await loadPrincipal(catalog.read, session.principalId);
  if (!principal) return undefined;
  if (options.isUse && unusedMs >= Math.min(TOUCH_INTERVAL_MS, options.lifetimes.idleMs / 4))
    await catalog.write((tx) =>
      touchSession(tx, { id: session.id, at: options.now.toISOString() }),
    );
  return { principal, session, csrfToken: csrfTokenOf(secret) };
}

/**
 * Ends every way in that somebody has, at once: for a disabled user, a changed password or other
 * rights. The token of the call that does it may be left out, since its holder has just shown more.
 */
export async function endAccessOf(
  tx: Writer,
  principalId: string,
  options: { at: string; exceptTokenId?: string | null },
): Promise<{ sessions: number; tokens: number }> {
  const sessions = await deleteSessionsOf(tx, principalId);
  const exceptId = options.exceptTokenId ?? null;
  const tokens = await revokeTokensOf(tx, { principalId, exceptId, at: options.at });
  return { sessions, tokens };
}
