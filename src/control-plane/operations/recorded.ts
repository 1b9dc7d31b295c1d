import { OperationError, toOperationError } from '../../shared/errors.ts';
import { hasSameRights, reloadPrincipal } from '../access/load-principal.ts';
import { appendAuditEvent, type AuditEntry } from '../audit/audit-trail.ts';
import type { Writer } from '../database/catalog.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';

export interface Act {
  readonly action: string;
  readonly resourceType: string;
  readonly resourceId?: string | null;
  readonly resourceName?: string | null;
  readonly requestId?: string | null;
  readonly reason?: string | null;
  readonly details?: AuditEntry['details'];
}

export const auditEntry = (
  environment: Environment,
  caller: Caller,
  act: Act & { outcome: AuditEntry['outcome'] },
): AuditEntry => ({
  ...act,
  details: act.details ?? {},
  at: timestamp(environment),
  actor: caller.principal.ref,
  sourceAddress: caller.sourceAddress,
});

/**
 * Operations decide by the rights that were read when the call came in. Within the transaction
 * these must still hold, so that nothing is done by a right that was taken away meanwhile.
 */
async function requireSameRights(
  environment: Environment,
  { principal }: Caller,
  tx: Writer,
): Promise<void> {
  const current = await reloadPrincipal(tx, principal, environment.clock);
  if (current && hasSameRights(current, principal)) return;
  throw new OperationError('interrupted', 'Your rights were changed meanwhile. Ask again.');
}

/**
 * Runs an act in one transaction. What it records is up to it; a refusal or failure undoes the
 * transaction and is recorded by itself.
 */
export async function recordedAct<Result>(
  environment: Environment,
  caller: Caller,
  act: Act,
  work: (tx: Writer) => Promise<Result>,
): Promise<Result> {
  try {
    return await environment.catalog.write(async (tx) => {
      await requireSameRights(environment, caller, tx);
      return await work(tx);
    });
  } catch (thrown) {
    const error = toOperationError(thrown);
    if (!(thrown instanceof OperationError))
      environment.logger.error({ error: thrown, action: act.action }, 'an operation failed');
    const outcome = error.code === 'forbidden' ? 'denied' : 'failed';
    await environment.catalog.write((tx) =>
      appendAuditEvent(
        tx,
        auditEntry(environment, caller, {
          ...act,
          outcome,
          reason: `${error.code}: ${error.message}`,
        }),
      ),
    );
    throw error;
  }
}
