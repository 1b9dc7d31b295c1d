import type { Clock } from '../../shared/clock.ts';
import { OperationError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/logger.ts';
import { updateStep, type StepState } from '../database/job-steps.ts';
import { notifyJob, type JobRow } from '../database/jobs.ts';
import type { StoredFailure } from '../database/stored-shapes.ts';
import type { HeldLease } from './held-lease.ts';
import type { JobContext, JobDefinition } from './job-definition.ts';
import { createProgressRecorder, type ProgressRecorder } from './progress-recorder.ts';

const RETRY_DELAY_MS = 1000;
const RETRY_DELAY_MAX_MS = 60_000;
/** About five minutes of trying, by the delays above. */
const RETRIES_AFTER_COMMIT_MAX = 10;

/** One attempt at a job: the lease, the data, and the states of steps as last written. */
export interface Run<Parameters, Data extends object> {
  readonly definition: JobDefinition<Parameters, Data>;
  readonly job: JobRow;
  readonly lease: HeldLease;
  readonly logger: Logger;
  readonly progress: ProgressRecorder;
  readonly stepStates: Map<string, StepState>;
  parseParameters(): Parameters;
  contextFor(options: {
    step: string;
    parameters: Parameters;
    signal: AbortSignal;
  }): JobContext<Parameters, Data>;
  markStep(
    name: string,
    state: StepState,
    options?: { commits?: boolean; failure?: StoredFailure },
  ): Promise<void>;
  beginUndo(failure: StoredFailure): Promise<void>;
  finish(state: 'succeeded' | 'failed' | 'cancelled', failure: StoredFailure | null): Promise<void>;
  leaveForLater(options: { delayMs: number; countsAsRetry: boolean }): Promise<'waiting'>;
  /** After a failure that undo cannot answer. */
  retryOrGiveUp(failure: OperationError): Promise<'waiting' | 'failed' | 'cancelled'>;
  retryLater(): Promise<'waiting'>;
}

interface RunParts<Parameters, Data extends object> {
  readonly definition: JobDefinition<Parameters, Data>;
  readonly job: JobRow;
  readonly lease: HeldLease;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What changes during an attempt, as last written (data: as last given to be written). */
interface RunState<Data> {
  data: Data;
  committed: boolean;
  retries: number;
}

export function createRun<Parameters, Data extends object>(
  parts: RunParts<Parameters, Data>,
): Run<Parameters, Data> {
  const { definition, job, lease, logger } = parts;
  const state: RunState<Data> = {
    data: definition.dataSchema.parse(job.data),
    committed: job.committed,
    retries: job.retries,
  };
  const stepStates = new Map<string, StepState>();
  const progress = createProgressRecorder(parts);
  const save = async (patch: Partial<Data>): Promise<void> => {
    // Kept even if writing fails: an undo in this process then knows more, never less.
    state.data = definition.dataSchema.parse({ ...state.data, ...patch });
    await lease.write({ data: JSON.stringify(state.data) }, async () => undefined);
  };
  return {
    definition,
    job,
    lease,
    logger,
    progress,
    stepStates,
    parseParameters: () => parseParameters(definition, job),
    contextFor: ({ step, parameters, signal }) => ({
      jobId: job.id,
      job,
      parameters,
      get data() {
        return state.data;
      },
      save,
      write: (work) => lease.write({}, work),
      reportProgress: (report) => progress.report(report),
      signal,
      logger: logger.child({ step }),
    }),
    ...createMarks(parts, state, stepStates),
    ...createEndings(parts, state),
  };
}

function createMarks<Parameters, Data extends object>(
  parts: RunParts<Parameters, Data>,
  state: RunState<Data>,
  stepStates: Map<string, StepState>,
): Pick<Run<Parameters, Data>, 'markStep' | 'beginUndo'> {
  const { definition, job, lease, clock } = parts;
  return {
    markStep: async (name, stepState, { commits = false, failure } = {}) => {
      const at = clock.now().toISOString();
      const isDone = stepState === 'done';
      await lease.write(
        { ...(commits && { committed: 1 }), ...(isDone && { retries: 0 }) },
        async (tx) => {
          const change = { jobId: job.id, name, state: stepState, failure: failure ?? null, at };
          await updateStep(tx, change);
          if (commits) await definition.onCommitted?.(tx, { job, data: state.data, at });
          await notifyJob(tx, { ...job, at }, 'changed');
        },
      );
      stepStates.set(name, stepState);
      if (isDone) state.retries = 0;
      if (commits) state.committed = true;
    },
    beginUndo: async (failure) => {
      const at = clock.now().toISOString();
      await lease.write({ state: 'undoing', failure: JSON.stringify(failure) }, (tx) =>
        notifyJob(tx, { ...job, at }, 'changed'),
      );
    },
  };
}

function createEndings<Parameters, Data extends object>(
  { definition, job, lease, clock }: RunParts<Parameters, Data>,
  state: RunState<Data>,
): Pick<Run<Parameters, Data>, 'finish' | 'leaveForLater' | 'retryLater' | 'retryOrGiveUp'> {
  const released = { lease_owner: null, lease_expires_at: null };

  const finish: Run<Parameters, Data>['finish'] = async (end, failure) => {
    const at = clock.now().toISOString();
    const columns = {
      state: end,
      failure: failure && JSON.stringify(failure),
      finished_at: at,
      ...released,
    };
    await lease.write(columns, async (tx) => {
      const facts = { job, data: state.data, at };
      if (end === 'succeeded') await definition.onSucceeded(tx, facts);
      else
        await definition.onFailed(tx, {
          ...facts,
          state: end,
          failure: failure ?? { code: 'internal', message: 'No reason was given.' },
          committed: state.committed,
        });
      await notifyJob(tx, { ...job, at }, 'changed');
    });
  };

  const leaveForLater: Run<Parameters, Data>['leaveForLater'] = async (wish) => {
    const now = clock.now();
    if (wish.countsAsRetry) state.retries += 1;
    const runAfter = new Date(now.getTime() + wish.delayMs).toISOString();
    await lease.write({ retries: state.retries, run_after: runAfter, ...released }, (tx) =>
      notifyJob(tx, { ...job, at: now.toISOString() }, 'changed'),
    );
    return 'waiting';
  };

  const retryLater = (): Promise<'waiting'> =>
    leaveForLater({
      delayMs: Math.min(RETRY_DELAY_MAX_MS, RETRY_DELAY_MS * 2 ** Math.min(state.retries, 10)),
      countsAsRetry: true,
    });

  const retryOrGiveUp: Run<Parameters, Data>['retryOrGiveUp'] = async (failure) => {
    if (state.retries < RETRIES_AFTER_COMMIT_MAX) return await retryLater();
    await finish('failed', { code: failure.code, message: failure.message });
    return 'failed';
  };

  return { finish, leaveForLater, retryLater, retryOrGiveUp };
}

function parseParameters<Parameters, Data extends object>(
  definition: JobDefinition<Parameters, Data>,
  job: JobRow,
): Parameters {
  const parsed = definition.parametersSchema.safeParse(job.parameters);
  if (parsed.success) return parsed.data;
  throw new OperationError(
    'internal',
    `The parameters of job ${job.id} are not those of a ${definition.kind} job of this version. Ask again.`,
    { cause: parsed.error },
  );
}
