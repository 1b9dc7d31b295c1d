import { z } from 'zod';
import { oneOrMore, pageOf, pageQueryShape } from './page.ts';
import {
  byteCountSchema,
  failureSchema,
  idSchema,
  namedRefSchema,
  jobKindSchema,
  timeSchema,
} from './scalars.ts';

export const jobStateSchema = z.enum([
  'queued',
  'running',
  'undoing',
  'succeeded',
  'failed',
  'cancelled',
]);
export type JobState = z.infer<typeof jobStateSchema>;

export const stepStateSchema = z.enum(['waiting', 'running', 'done', 'failed', 'undone']);

export const jobStepSchema = z.object({
  name: z.string(),
  state: stepStateSchema,
  startedAt: timeSchema.nullable(),
  finishedAt: timeSchema.nullable(),
  error: failureSchema.nullable(),
});
export type JobStep = z.infer<typeof jobStepSchema>;

export const jobProgressSchema = z.object({
  phase: z.string(),
  doneBytes: byteCountSchema,
  /** Zero while the size is not known. */
  totalBytes: byteCountSchema,
  /** Bytes per second; null until measured. */
  ratePerSecond: z.number().nonnegative().nullable(),
  secondsLeft: z.number().nonnegative().nullable(),
});
export type JobProgress = z.infer<typeof jobProgressSchema>;

export const jobSchema = z.object({
  id: idSchema,
  requestId: idSchema,
  kind: jobKindSchema,
  hostId: idSchema,
  vm: namedRefSchema.nullable(),
  snapshot: namedRefSchema.nullable(),
  state: jobStateSchema,
  attempts: z.int().nonnegative(),
  steps: z.array(jobStepSchema),
  progress: jobProgressSchema.nullable(),
  cancelRequested: z.boolean(),
  createdAt: timeSchema,
  startedAt: timeSchema.nullable(),
  finishedAt: timeSchema.nullable(),
  failure: failureSchema.nullable(),
});
export type Job = z.infer<typeof jobSchema>;

export const jobPageSchema = pageOf(jobSchema);

export const jobListQuerySchema = z.object({
  ...pageQueryShape,
  kind: oneOrMore(jobKindSchema).optional(),
  state: oneOrMore(jobStateSchema).optional(),
  hostId: idSchema.optional(),
  vmId: idSchema.optional(),
  requestId: idSchema.optional(),
});
