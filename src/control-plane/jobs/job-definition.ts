import type { z } from 'zod';
import type { Logger } from '../../shared/logger.ts';
import type { Writer } from '../database/catalog.ts';
import type { JobRow } from '../database/jobs.ts';
import type { StoredFailure } from '../database/stored-shapes.ts';

export interface ProgressReport {
  readonly phase: string;
  readonly doneBytes: number;
  /** Zero while the size is not known. */
  readonly totalBytes: number;
}

/** What a step gets. All of it stops working once the worker lost its lease on the job. */
export interface JobContext<Parameters, Data> {
  readonly jobId: string;
  readonly job: JobRow;
  readonly parameters: Parameters;
  /** As last saved, also after a crash. */
  readonly data: Data;
  /** Durable when it resolves: save what an undo needs *before* the effect that it undoes. */
  save(patch: Partial<Data>): Promise<void>;
  /** A catalog transaction that fails if the lease is lost. Keep it short. */
  write<T>(work: (tx: Writer) => Promise<T>): Promise<T>;
  /** Cheap: call it as often as you like. */
  reportProgress(progress: ProgressReport): void;
  /** Aborts with an OperationError: cancelled, interrupted, or the lease is lost. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
}

export interface JobStepDefinition<Parameters, Data> {
  readonly name: string;
  /** Before the commit step it runs at most once; after it, until it succeeds: then idempotent. */
  run(context: JobContext<Parameters, Data>): Promise<void>;
  /**
   * Undoes whatever part of `run` took place, also none of it, also a second time. Its signal
   * knows no cancel, only a time limit.
   */
  undo?(context: JobContext<Parameters, Data>): Promise<void>;
}

export interface JobFacts<Data> {
  readonly job: JobRow;
  readonly data: Data;
  readonly at: string;
}

export interface JobDefinition<Parameters, Data extends object> {
  readonly kind: string;
  readonly parametersSchema: z.ZodType<Parameters>;
  /** Must accept `{}`, which a job begins with. */
  readonly dataSchema: z.ZodType<Data>;
  readonly steps: readonly JobStepDefinition<Parameters, Data>[];
  /** Until this step is done a failure undoes everything; afterwards there is only forward. */
  readonly commitStep: string;
  readonly undoTimeoutMs?: number;
  /** In the transaction that records the commit step as done. */
  onCommitted?(tx: Writer, facts: JobFacts<Data>): Promise<void>;
  /** In the transaction that ends the job: request, audit outcome, notifications. */
  onSucceeded(tx: Writer, facts: JobFacts<Data>): Promise<void>;
  /**
   * Likewise; everything is undone, unless `committed`: then a step after the commit failed too
   * often and is given up.
   */
  onFailed(
    tx: Writer,
    facts: JobFacts<Data> & {
      readonly state: 'failed' | 'cancelled';
      readonly failure: StoredFailure;
      readonly committed: boolean;
    },
  ): Promise<void>;
}
