import type {
  Account,
  OneTimeCodesConfirmInput,
  OneTimeCodesSecret,
  OwnProofInput,
  RecoveryCodes,
} from '../../contract/account.ts';
import { OperationError } from '../../shared/errors.ts';
import { findStep, issueRecoveryCodes, newSecret, uriOf } from '../access/one-time-codes.ts';
import type { OpenedSession } from '../access/sessions.ts';
import { appendAuditEvent } from '../audit/audit-trail.ts';
import type { Writer } from '../database/catalog.ts';
import {
  countRecoveryCodes,
  deleteOneTimeCodes,
  findOneTimeCodes,
  saveOneTimeCodes,
} from '../database/one-time-codes.ts';
import { renewSession, requireOwnUser } from './account.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';
import { auditEntry, recordedAct, type Act } from './recorded.ts';
import { requireOwnProof } from './sign-in.ts';
import { viewOfUser } from './users.ts';

const ENROLMENT_MS = 15 * 60_000;

export async function accountGet(environment: Environment, caller: Caller): Promise<Account> {
  const { read } = environment.catalog;
  const user = await requireOwnUser(environment, caller);
  return {
    user: await viewOfUser(read, user.id),
    recoveryCodesLeft: await countRecoveryCodes(read, user.id),
  };
}

/** An act on one's own account, which takes the password again: a session left open is not enough. */
async function provenAct<Result>(
  environment: Environment,
  caller: Caller,
  options: { action: string; input: OwnProofInput },
  work: (tx: Writer, act: Act) => Promise<Result>,
): Promise<Result> {
  const { id, name } = caller.principal.ref;
  const { action, input } = options;
  const act = { action, resourceType: 'user', resourceId: id, resourceName: name };
  const prove = async (): Promise<void> => {
    const user = await requireOwnUser(environment, caller);
    const { sourceAddress } = caller;
    await requireOwnProof(environment, { user, ...input, sourceAddress });
  };
  const failed = await prove().catch((error: unknown) => ({ error }));
  return await recordedAct(environment, caller, act, async (tx) => {
    if (failed) throw failed.error;
    const result = await work(tx, act);
    await appendAuditEvent(tx, auditEntry(environment, caller, { ...act, outcome: 'succeeded' }));
    return result;
  });
}

/** Nothing changes until a code has shown that the app has the secret. */
export async function oneTimeCodesBegin(
  environment: Environment,
  caller: Caller,
  input: OwnProofInput,
): Promise<OneTimeCodesSecret> {
  const options = { action: 'user.begin-one-time-codes', input };
  return await provenAct(environment, caller, options, async (tx) => {
    const { id, name } = caller.principal.ref;
    const before = await findOneTimeCodes(tx, id);
    if (before && before.confirmedAt !== null)
      throw new OperationError(
        'wrong_state',
        'One-time codes are set up already. Remove them first.',
      );
    const secret = newSecret();
    await saveOneTimeCodes(tx, {
      principalId: id,
      secret,
      createdAt: timestamp(environment),
      confirmedAt: null,
      lastStep: 0,
    });
    return { secret, uri: uriOf(secret, name) };
  });
}

export async function oneTimeCodesConfirm(
  environment: Environment,
  caller: Caller,
  input: OneTimeCodesConfirmInput,
): Promise<{ body: RecoveryCodes; session: OpenedSession | null }> {
  const { id, name } = caller.principal.ref;
  const act = {
    action: 'user.confirm-one-time-codes',
    resourceType: 'user',
    resourceId: id,
    resourceName: name,
  };
  return await recordedAct(environment, caller, act, async (tx) => {
    const now = environment.clock.now();
    const row = await findOneTimeCodes(tx, id);
    const isOpen = row && row.confirmedAt === null;
    if (!isOpen || now.getTime() - Date.parse(row.createdAt) > ENROLMENT_MS)
      throw new OperationError(
        'wrong_state',
        'Setting one-time codes up was not begun, or too long ago. Begin again.',
      );
    const step = findStep(row.secret, input.code, now);
    if (step === undefined)
      throw new OperationError(
        'invalid_input',
        'The code is not right. Check the clock of the device, and type the newest code.',
        {
          details: { field: 'code' },
        },
      );
    const at = now.toISOString();
    await saveOneTimeCodes(tx, { ...row, confirmedAt: at, lastStep: step });
    const recoveryCodes = await issueRecoveryCodes(tx, id);
    const session = await renewSession(environment, caller, tx, { at, keepTokens: true });
    await appendAuditEvent(tx, auditEntry(environment, caller, { ...act, outcome: 'succeeded' }));
    return { body: { recoveryCodes }, session };
  });
}

export async function oneTimeCodesRemove(
  environment: Environment,
  caller: Caller,
  input: OwnProofInput,
): Promise<void> {
  const options = { action: 'user.remove-one-time-codes', input };
  await provenAct(environment, caller, options, async (tx) => {
    await requireSetUp(tx, caller.principal.ref.id);
    await deleteOneTimeCodes(tx, caller.principal.ref.id);
  });
}

export async function recoveryCodesRenew(
  environment: Environment,
  caller: Caller,
  input: OwnProofInput,
): Promise<RecoveryCodes> {
  const options = { action: 'user.renew-recovery-codes', input };
  return await provenAct(environment, caller, options, async (tx) => {
    await requireSetUp(tx, caller.principal.ref.id);
    return { recoveryCodes: await issueRecoveryCodes(tx, caller.principal.ref.id) };
  });
}

async function requireSetUp(tx: Writer, id: string): Promise<void> {
  if (!(await findOneTimeCodes(tx, id))?.confirmedAt)
    throw new OperationError('wrong_state', 'One-time codes are not set up.');
}
