import { createHash } from 'node:crypto';
import { requestSchema, type Request } from '../../contract/requests.ts';
import { OperationError } from '../../shared/errors.ts';
import type { Writer } from '../database/catalog.ts';
import { findIdempotentAnswer, saveIdempotentAnswer } from '../database/idempotency-keys.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';
import { recordedAct, type Act } from './recorded.ts';

const KEY_LIFETIME_MS = 24 * 3600 * 1000;

export interface OnceOptions {
  readonly idempotencyKey?: string | undefined;
}

/**
 * Runs an act that answers with a request, at most once for an idempotency key: the second call
 * with the same body gets the first answer, one with another body is refused. Key, request and job
 * are one transaction, so a call that was cut off either took place or did not.
 */
export async function answerOnce(
  environment: Environment,
  caller: Caller,
  options: OnceOptions & { act: Act; body: object },
  work: (tx: Writer) => Promise<Request>,
): Promise<Request> {
  const { act, body, idempotencyKey: key } = options;
  return await recordedAct(environment, caller, act, async (tx) => {
    if (key === undefined) return await work(tx);
    const principalId = caller.principal.ref.id;
    const bodyHash = createHash('sha256')
      .update(JSON.stringify([act.action, body]))
      .digest('hex');
    const at = timestamp(environment);
    const earlier = await findIdempotentAnswer(tx, { principalId, key, now: at });
    if (earlier && earlier.bodyHash !== bodyHash)
      throw new OperationError(
        'idempotency_conflict',
        'This Idempotency-Key was used for another call. Use a new key for each thing you ask for.',
      );
    if (earlier) return requestSchema.parse(earlier.answer);
    const answer = await work(tx);
    const expiresAt = new Date(environment.clock.now().getTime() + KEY_LIFETIME_MS).toISOString();
    await saveIdempotentAnswer(tx, { principalId, key, bodyHash, answer, at, expiresAt });
    return answer;
  });
}
