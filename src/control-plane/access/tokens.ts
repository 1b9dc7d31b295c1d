import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Right } from '../../contract/rights.ts';
import type { Clock } from '../../shared/clock.ts';
import { OperationError } from '../../shared/errors.ts';
import { newId } from '../../shared/ids.ts';
import type { Catalog, Writer } from '../database/catalog.ts';
import type { StoredScope } from '../database/stored-shapes.ts';
import { findTokenByHash, insertToken, touchToken, type TokenRow } from '../database/tokens.ts';
import { loadTokenOwner } from './load-principal.ts';
import type { Principal } from './principal.ts';

const SECRET_PATTERN = /^kmd_[A-Za-z0-9_-]{43}$/;
/** Last use is for people: one write a minute is enough. */
const TOUCH_INTERVAL_MS = 60_000;

const hashSecret = (secret: string): string => createHash('sha256').update(secret).digest('hex');

export interface NewToken {
  readonly principalId: string;
  readonly name: string;
  readonly rights: readonly Right[] | null;
  /** Only VMs that all of these reach; without any, no VM is withheld. */
  readonly scopes?: readonly StoredScope[];
  readonly expiresAt: string | null;
}

/** The secret exists only in the answer: the catalog holds its hash. */
export async function issueToken(
  tx: Writer,
  token: NewToken,
  now: Date,
): Promise<{ id: string; secret: string; createdAt: string }> {
  const secret = `kmd_${randomBytes(32).toString('base64url')}`;
  const id = newId(now.getTime());
  const createdAt = now.toISOString();
  const { scopes = [] } = token;
  await insertToken(tx, { ...token, scopes, id, secretHash: hashSecret(secret), createdAt });
  return { id, secret, createdAt };
}

const unauthenticated = (): OperationError =>
  new OperationError(
    'unauthenticated',
    'No valid token was given. Send "Authorization: Bearer kmd_..." with a token that is neither expired nor revoked.',
  );

/** One answer for whatever is wrong with a token, so that none can be guessed at. */
export async function authenticate(
  catalog: Catalog,
  secret: string | undefined,
  clock: Clock,
): Promise<Principal> {
  if (secret === undefined || !SECRET_PATTERN.test(secret)) throw unauthenticated();
  const secretHash = hashSecret(secret);
  const token = await findTokenByHash(catalog.read, secretHash);
  if (!token || !timingSafeEqual(Buffer.from(token.secretHash), Buffer.from(secretHash)))
    throw unauthenticated();
  const now = clock.now();
  const principal = await loadTokenOwner(catalog.read, token, now);
  if (!principal) throw unauthenticated();
  await recordUse(catalog, token, now);
  return principal;
}

async function recordUse(catalog: Catalog, token: TokenRow, now: Date): Promise<void> {
  const last = token.lastUsedAt === null ? 0 : Date.parse(token.lastUsedAt);
  if (now.getTime() - last < TOUCH_INTERVAL_MS) return;
  await catalog.write((tx) => touchToken(tx, { id: token.id, at: now.toISOString() }));
}
