import type { z } from 'zod';
import type { Session, sessionListQuerySchema, sessionPageSchema } from '../../contract/users.ts';
import { OperationError } from '../../shared/errors.ts';
import { authorize, FLEET, mayDo } from '../access/principal.ts';
import { appendAuditEvent } from '../audit/audit-trail.ts';
import { deleteSession, findSession, listSessions, type SessionRow } from '../database/sessions.ts';
import { findUser } from '../database/users.ts';
import { decodeCursor, idCursorSchema, pageFrom, pageLimit } from './cursor.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';
import { auditEntry, recordedAct } from './recorded.ts';

const toView = (row: SessionRow, caller: Caller): Session => ({
  id: row.id,
  userId: row.principalId,
  method: row.method,
  sourceAddress: row.sourceAddress,
  userAgent: row.userAgent,
  createdAt: row.createdAt,
  lastUsedAt: row.lastUsedAt,
  expiresAt: row.expiresAt,
  isCurrent: row.id === caller.session?.id,
});

/** What was last used at this time or before is over. */
export const idleSince = (environment: Environment): string =>
  new Date(
    environment.clock.now().getTime() - environment.signIn.sessionLifetimes.idleMs,
  ).toISOString();

export async function sessionList(
  environment: Environment,
  caller: Caller,
  query: z.output<typeof sessionListQuerySchema>,
): Promise<z.output<typeof sessionPageSchema>> {
  const ownId = caller.principal.ref.id;
  const principalId = query.userId ?? ownId;
  if (principalId !== ownId) {
    authorize(caller.principal, 'manage-access', FLEET);
    if (!(await findUser(environment.catalog.read, principalId)))
      throw new OperationError('not_found', `There is no user ${principalId}.`);
  }
  const limit = pageLimit(query);
  const rows = await listSessions(
    environment.catalog.read,
    { principalId, usedAfter: idleSince(environment), now: timestamp(environment) },
    { limit: limit + 1, after: decodeCursor(idCursorSchema, query.cursor) },
  );
  return pageFrom(rows, {
    limit,
    toItem: (row) => toView(row, caller),
    keyOf: ({ id }) => ({ id }),
  });
}

/** Signing out. */
export async function sessionEnd(environment: Environment, caller: Caller): Promise<void> {
  const { session, principal } = caller;
  const act = {
    action: 'session.end',
    resourceType: 'session',
    resourceId: session?.id ?? null,
    resourceName: principal.ref.name,
  };
  await recordedAct(environment, caller, act, async (tx) => {
    if (!session)
      throw new OperationError(
        'not_found',
        'You are signed in with a token, which has no session. Revoke the token instead.',
      );
    await deleteSession(tx, session.id);
    await appendAuditEvent(tx, auditEntry(environment, caller, { ...act, outcome: 'succeeded' }));
  });
}

/** One's own, or anybody's for who manages access; whether others exist is not told. */
export async function sessionDelete(
  environment: Environment,
  caller: Caller,
  id: string,
): Promise<void> {
  const act = { action: 'session.revoke', resourceType: 'session', resourceId: id };
  await recordedAct(environment, caller, act, async (tx) => {
    const session = await findSession(tx, id);
    const isOwn = session?.principalId === caller.principal.ref.id;
    if (!session || !(isOwn || mayDo(caller.principal, 'manage-access', FLEET)))
      throw new OperationError('not_found', `There is no session ${id}.`);
    await deleteSession(tx, id);
    const owner = await findUser(tx, session.principalId);
    await appendAuditEvent(
      tx,
      auditEntry(environment, caller, {
        ...act,
        resourceName: owner?.name ?? null,
        outcome: 'succeeded',
        details: { userId: session.principalId },
      }),
    );
  });
}

/** A change that a page of somebody else may have asked a browser for; in the audit trail like any refusal. */
export async function refuseForgedCall(
  environment: Environment,
  caller: Caller,
  call: { operation: string; reason: string },
): Promise<never> {
  const act = {
    action: 'session.refuse-forgery',
    resourceType: 'session',
    resourceId: caller.session?.id ?? null,
    details: { operation: call.operation },
  };
  return await recordedAct(environment, caller, act, async () => {
    throw new OperationError('forbidden', call.reason, {
      details: { whatToDo: 'Use the dashboard of this server, or a token.' },
    });
  });
}
