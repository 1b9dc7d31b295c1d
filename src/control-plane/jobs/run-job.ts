import { systemClock, type Clock } from '../../shared/clock.ts';
import { OperationError, toOperationError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/logger.ts';
import type { Catalog } from '../database/catalog.ts';
import { insertMissingSteps, listSteps } from '../database/job-steps.ts';
import type { JobRow } from '../database/jobs.ts';
import { cancelMessage, holdLease, LeaseLostError } from './held-lease.ts';
import type { JobDefinition } from './job-definition.ts';
import { createRun, type Run } from './job-run.ts';
import { LEASE_MS_DEFAULT } from './queue.ts';
import { undoJob } from './undo-job.ts';

export interface JobOutcome {
  /**
   * `lost`: somebody else has the job now, or will once the lease runs out. `waiting`: a later
   * attempt goes on with it.
   */
  readonly state: 'succeeded' | 'failed' | 'cancelled' | 'lost' | 'waiting';
}

export interface JobExecution {
  readonly catalog: Catalog;
  /** As claimed. */
  readonly job: JobRow;
  readonly ownerId: string;
  readonly logger: Logger;
  /** The worker shuts down: before the commit the job is undone, after it left to the next worker. */
  readonly signal: AbortSignal;
  readonly leaseMs?: number;
  readonly clock?: Clock;
}

/**
 * Runs a claimed job to its end, or undoes it, or leaves it to a later attempt; which of these is
 * decided by what the catalog says of earlier attempts. Never throws for a failure of the job.
 */
export async function runJob<Parameters, Data extends object>(
  definition: JobDefinition<Parameters, Data>,
  execution: JobExecution,
): Promise<JobOutcome> {
  const { catalog, job, clock = systemClock } = execution;
  if (!definition.steps.some((step) => step.name === definition.commitStep))
    throw new Error(`job ${definition.kind} has no step ${definition.commitStep}`);
  const logger = execution.logger.child({ jobId: job.id, jobKind: job.kind });
  const lease = holdLease({
    catalog,
    lease: { jobId: job.id, ownerId: execution.ownerId, fencing: job.fencing },
    leaseMs: execution.leaseMs ?? LEASE_MS_DEFAULT,
    clock,
    logger,
  });
  try {
    const run = createRun({ definition, job, lease, clock, logger });
    return { state: await proceed(run, execution) };
  } catch (error) {
    if (!(error instanceof LeaseLostError))
      logger.error({ error }, 'the job stays as it is until its lease runs out');
    return { state: 'lost' };
  } finally {
    await lease.end();
  }
}

async function proceed<Parameters, Data extends object>(
  run: Run<Parameters, Data>,
  execution: JobExecution,
): Promise<JobOutcome['state']> {
  const { job, definition } = run;
  const names = definition.steps.map((step) => step.name);
  await run.lease.write({}, (tx) => insertMissingSteps(tx, { jobId: job.id, names }));
  for (const step of await listSteps(execution.catalog.read, [job.id]))
    run.stepStates.set(step.name, step.state);

  if (job.state === 'undoing') return await undoJob(run, job.failure ?? INTERRUPTED);
  if (!job.committed) {
    if (job.cancelRequested)
      return await undoJob(run, {
        code: 'cancelled',
        message: cancelMessage(job.cancelReason ?? ''),
      });
    if ([...run.stepStates.values()].some((state) => state !== 'waiting'))
      return await undoJob(run, INTERRUPTED);
  }
  return await runForward(run, execution.signal);
}

const INTERRUPTED = {
  code: 'interrupted',
  message: 'The worker stopped while the job ran; what the job had done was undone. Ask again.',
} as const;

async function runForward<Parameters, Data extends object>(
  run: Run<Parameters, Data>,
  shutdown: AbortSignal,
): Promise<JobOutcome['state']> {
  let committed = run.job.committed;
  try {
    const parameters = run.parseParameters();
    for (const step of run.definition.steps) {
      if (run.stepStates.get(step.name) === 'done') continue;
      const signal = AbortSignal.any([committed ? run.lease.lost : run.lease.stopped, shutdown]);
      signal.throwIfAborted();
      await run.markStep(step.name, 'running');
      await step.run(run.contextFor({ step: step.name, parameters, signal }));
      await run.progress.flush();
      const commits = step.name === run.definition.commitStep;
      await run.markStep(step.name, 'done', { commits });
      committed ||= commits;
    }
    await run.finish('succeeded', null);
    return 'succeeded';
  } catch (error) {
    if (error instanceof LeaseLostError || run.lease.lost.aborted) throw error;
    const failure = explainFailure(run, shutdown, error);
    run.logger.warn({ error, committed, code: failure.code }, 'a step of the job failed');
    if (!committed) return await undoJob(run, failure);
    if (shutdown.aborted) return await run.leaveForLater({ delayMs: 0, countsAsRetry: false });
    return await run.retryOrGiveUp(failure);
  }
}

/** A step that was told to stop may fail in any way; why it was told is the reason that counts. */
function explainFailure<Parameters, Data extends object>(
  run: Run<Parameters, Data>,
  shutdown: AbortSignal,
  error: unknown,
): OperationError {
  if (run.lease.cancelReason !== undefined)
    return new OperationError('cancelled', cancelMessage(run.lease.cancelReason));
  if (shutdown.aborted) return new OperationError(INTERRUPTED.code, INTERRUPTED.message);
  return toOperationError(error);
}
