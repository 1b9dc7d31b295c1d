import { createHash } from 'node:crypto';
import type { z } from 'zod';
import { requestSchema, type Request } from '../../contract/requests.ts';
import { OperationError } from '../../shared/errors.ts';
import { mayDo } from '../access/principal.ts';
import type { Writer } from '../database/catalog.ts';
import { findIdempotentAnswer, saveIdempotentAnswer } from '../database/idempotency-keys.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';
import { recordedAct, type Act } from './recorded.ts';
import { targetOfVmId } from './targets.ts';

const KEY_LIFETIME_MS = 24 * 3600 * 1000;

export interface OnceOptions {
  readonly idempotencyKey?: string | undefined;
}

/** An act that answers with a request, at most once for an idempotency key. */
export const answerOnce = (
  environment: Environment,
  caller: Caller,
  options: OnceOptions & { act: Act; body: object },
  work: (tx: Writer) => Promise<Request>,
): Promise<Request> =>
  actOnce(
    environment,
    caller,
    {
      ...options,
      answerSchema: requestSchema,
      maySee: async (tx, { vm }) =>
        mayDo(caller.principal, 'view', await targetOfVmId(tx, vm?.id ?? null)),
    },
    work,
  );

/**
 * Runs an act at most once for an idempotency key: the second call with the same body gets the
 * first answer, one with another body is refused. Key and effect are one transaction, so a call
 * that was cut off either took place or did not.
 */
export async function actOnce<Answer extends z.ZodType<object>>(
  environment: Environment,
  caller: Caller,
  options: OnceOptions & {
    act: Act;
    body: object;
    answerSchema: Answer;
    maySee: (tx: Writer, answer: z.output<Answer>) => Promise<boolean>;
  },
  work: (tx: Writer) => Promise<z.output<Answer>>,
): Promise<z.output<Answer>> {
  const { act, body, idempotencyKey: key, answerSchema, maySee } = options;
  return await recordedAct(environment, caller, act, async (tx) => {
    if (key === undefined) return await work(tx);
    const principalId = caller.principal.ref.id;
    const bodyHash = createHash('sha256')
      .update(JSON.stringify([act.action, body]))
      .digest('hex');
    const at = timestamp(environment);
    const earlier = await findIdempotentAnswer(tx, { principalId, key, now: at });
    if (earlier && earlier.bodyHash !== bodyHash) throw keyWasUsed();
    if (earlier) {
      const answer = answerSchema.parse(earlier.answer);
      if (await maySee(tx, answer)) return answer;
      // What may not be seen any more is answered as if it were asked for now.
      await work(tx);
      throw keyWasUsed();
    }
    const answer = await work(tx);
    const expiresAt = new Date(environment.clock.now().getTime() + KEY_LIFETIME_MS).toISOString();
    await saveIdempotentAnswer(tx, { principalId, key, bodyHash, answer, at, expiresAt });
    return answer;
  });
}

const keyWasUsed = (): OperationError =>
  new OperationError(
    'idempotency_conflict',
    'This Idempotency-Key was used for another call. Use a new key for each thing you ask for.',
  );
