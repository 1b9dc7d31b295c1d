import { toOperationError, type OperationError } from '../../shared/errors.ts';
import type { StoredFailure } from '../database/stored-shapes.ts';
import { LeaseLostError } from './held-lease.ts';
import type { JobStepDefinition } from './job-definition.ts';
import type { Run } from './job-run.ts';

const UNDO_TIMEOUT_MS_DEFAULT = 5 * 60_000;

/**
 * Undoes the steps that were started, last one first, and ends the job. The effects are undone
 * even when the catalog cannot be written (a full disk must not keep a guest waiting); a later
 * attempt then does it again, which is why every undo is idempotent.
 */
export async function undoJob<Parameters, Data extends object>(
  run: Run<Parameters, Data>,
  cause: StoredFailure | OperationError,
): Promise<'failed' | 'cancelled' | 'waiting'> {
  const failure: StoredFailure = { code: cause.code, message: cause.message };
  await recordIfPossible(run, () => run.beginUndo(failure));
  for (const step of run.definition.steps.toReversed()) {
    const state = run.stepStates.get(step.name);
    if (state === undefined || state === 'waiting' || state === 'undone') continue;
    try {
      await undoStep(run, step);
    } catch (thrown) {
      if (thrown instanceof LeaseLostError) throw thrown;
      const error = toOperationError(thrown);
      run.logger.error({ error: thrown, step: step.name }, 'undo failed; it will be tried again');
      await recordIfPossible(run, () =>
        run.markStep(step.name, 'failed', {
          failure: { code: error.code, message: error.message },
        }),
      );
      // Earlier steps may hold what this one still uses, so they wait for it.
      return await run.retryLater();
    }
    await recordIfPossible(run, () => run.markStep(step.name, 'undone', { failure }));
  }
  const state = failure.code === 'cancelled' ? 'cancelled' : 'failed';
  try {
    await run.finish(state, failure);
  } catch (error) {
    if (error instanceof LeaseLostError) throw error;
    run.logger.error({ error }, 'the end of the job was not recorded; it will be tried again');
    return await run.retryLater();
  }
  return state;
}

async function undoStep<Parameters, Data extends object>(
  run: Run<Parameters, Data>,
  step: JobStepDefinition<Parameters, Data>,
): Promise<void> {
  if (!step.undo) return;
  const timeoutMs = run.definition.undoTimeoutMs ?? UNDO_TIMEOUT_MS_DEFAULT;
  const signal = AbortSignal.any([run.lease.lost, AbortSignal.timeout(timeoutMs)]);
  const parameters = run.parseParameters();
  await step.undo(run.contextFor({ step: step.name, parameters, signal }));
}

async function recordIfPossible<Parameters, Data extends object>(
  run: Run<Parameters, Data>,
  record: () => Promise<void>,
): Promise<void> {
  try {
    await record();
  } catch (error) {
    if (error instanceof LeaseLostError) throw error;
    run.logger.error({ error }, 'the catalog cannot be written; undoing goes on without');
  }
}
