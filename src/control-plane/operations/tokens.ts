import type { z } from 'zod';
import type {
  Token,
  TokenCreateInput,
  tokenCreatedSchema,
  tokenListQuerySchema,
  tokenPageSchema,
  Whoami,
} from '../../contract/access.ts';
import type { Scope } from '../../contract/scope.ts';
import { OperationError } from '../../shared/errors.ts';
import { ensureAdministrator } from '../access/first-administrator.ts';
import {
  type Principal,
  mayDoSomewhere,
  rightsSomewhere,
  rolesSomewhere,
} from '../access/principal.ts';
import { knownRights } from '../access/roles.ts';
import { issueToken } from '../access/tokens.ts';
import { appendAuditEvent } from '../audit/audit-trail.ts';
import {
  countTokens,
  findToken,
  listTokens,
  revokeToken,
  type TokenRow,
} from '../database/tokens.ts';
import { decodeCursor, idCursorSchema, pageFrom, pageLimit } from './cursor.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';
import { auditEntry, recordedAct } from './recorded.ts';

export const TOKENS_PER_PRINCIPAL_MAX = 100;

const toTokenView = (row: TokenRow, owner: Token['owner']): Token => ({
  id: row.id,
  name: row.name,
  owner,
  rights: row.rights && knownRights(row.rights),
  scopes: [...row.scopes],
  createdAt: row.createdAt,
  expiresAt: row.expiresAt,
  lastUsedAt: row.lastUsedAt,
});

export const whoami = async (environment: Environment, caller: Caller): Promise<Whoami> => ({
  principal: caller.principal.ref,
  roles: rolesSomewhere(caller.principal),
  rights: rightsSomewhere(caller.principal),
  signInMethod: caller.session?.method ?? 'token',
  session: caller.session
    ? {
        id: caller.session.id,
        expiresAt: caller.session.expiresAt,
        csrfToken: caller.session.csrfToken,
      }
    : null,
  serverVersion: environment.version,
});

export async function tokenList(
  environment: Environment,
  caller: Caller,
  query: z.output<typeof tokenListQuerySchema>,
): Promise<z.output<typeof tokenPageSchema>> {
  const limit = pageLimit(query);
  const owner = caller.principal.ref;
  const after = decodeCursor(idCursorSchema, query.cursor);
  const rows = await listTokens(environment.catalog.read, owner.id, { limit: limit + 1, after });
  return pageFrom(rows, {
    limit,
    toItem: (row) => toTokenView(row, owner),
    keyOf: ({ id }) => ({ id }),
  });
}

/** A token never has more rights than the one it was made with. */
export async function tokenCreate(
  environment: Environment,
  caller: Caller,
  input: TokenCreateInput,
): Promise<z.output<typeof tokenCreatedSchema>> {
  const act = { action: 'token.create', resourceType: 'token', resourceName: input.name };
  return await recordedAct(environment, caller, act, async (tx) => {
    const owner = caller.principal.ref;
    const missing = input.rights?.filter((right) => !mayDoSomewhere(caller.principal, right)) ?? [];
    if (missing.length > 0)
      throw new OperationError(
        'forbidden',
        `You cannot give a token rights that you lack yourself: ${missing.join(', ')}.`,
      );
    const now = environment.clock.now();
    if (input.expiresAt !== null && Date.parse(input.expiresAt) <= now.getTime())
      throw new OperationError('invalid_input', 'The token would be expired from the start.');
    if ((await countTokens(tx, owner.id)) >= TOKENS_PER_PRINCIPAL_MAX)
      throw new OperationError(
        'limit_reached',
        `Nobody may have more than ${TOKENS_PER_PRINCIPAL_MAX} tokens. Revoke one first.`,
      );
    const rights = input.rights ?? rightsSomewhere(caller.principal);
    const scopes = scopesOf(caller.principal, input.scope);
    const { id, secret, createdAt } = await issueToken(
      tx,
      { principalId: owner.id, name: input.name, rights, scopes, expiresAt: input.expiresAt },
      now,
    );
    await appendAuditEvent(
      tx,
      auditEntry(environment, caller, {
        ...act,
        resourceId: id,
        outcome: 'succeeded',
        details: { rights, scopes, expiresAt: input.expiresAt },
      }),
    );
    const { name, expiresAt } = input;
    return { id, name, owner, rights, scopes, createdAt, expiresAt, lastUsedAt: null, secret };
  });
}

const TOKEN_SCOPES_MAX = 8;

/** What is made with a token stays within what that token reaches, whatever labels come and go. */
function scopesOf(principal: Principal, wished: Scope | null): Scope[] {
  const inherited = principal.limits?.scopes ?? [];
  const scopes = wished === null ? [...inherited] : [...inherited, wished];
  const distinct = [...new Map(scopes.map((scope) => [JSON.stringify(scope), scope])).values()];
  if (distinct.length > TOKEN_SCOPES_MAX)
    throw new OperationError(
      'limit_reached',
      `A token cannot have more than ${TOKEN_SCOPES_MAX} scopes. Make it with a token that has fewer.`,
    );
  return distinct;
}

/** One's own; whether others exist is not told. */
export async function tokenDelete(
  environment: Environment,
  caller: Caller,
  id: string,
): Promise<void> {
  const act = { action: 'token.revoke', resourceType: 'token', resourceId: id };
  await recordedAct(environment, caller, act, async (tx) => {
    const token = await findToken(tx, id);
    if (!token || token.principalId !== caller.principal.ref.id || token.revokedAt !== null)
      throw new OperationError('not_found', `You have no token ${id}.`);
    await revokeToken(tx, { id, at: timestamp(environment) });
    await appendAuditEvent(
      tx,
      auditEntry(environment, caller, { ...act, resourceName: token.name, outcome: 'succeeded' }),
    );
  });
}

/**
 * On the first start only: gives the secret of the administrator's first token to `deliver`, and
 * makes the administrator only if that worked, so that no catalog is left without a way in.
 */
export async function firstStart(
  environment: Environment,
  deliver: (secret: string) => Promise<void>,
): Promise<void> {
  await environment.catalog.write(async (tx) => {
    const made = await ensureAdministrator(tx, environment.clock.now());
    if (!made) return;
    await appendAuditEvent(tx, {
      at: timestamp(environment),
      actor: { id: 'system', name: 'Komadori', kind: 'system' },
      action: 'principal.create',
      resourceType: 'principal',
      resourceId: made.principal.id,
      resourceName: made.principal.name,
      outcome: 'succeeded',
      reason: 'First start.',
      details: { role: 'administrator', tokenId: made.tokenId },
    });
    await deliver(made.secret);
  });
}
