import { z } from 'zod';
import {
  confirmationSchema,
  decisionSchema,
  mayDecideSchema,
  ruleChangeSchema,
} from './confirmation.ts';
import { oneOrMore, pageOf, pageQueryShape, queryFlagSchema } from './page.ts';
import { planSchema } from './preflight.ts';
import {
  descriptionSchema,
  failureSchema,
  idSchema,
  justificationShape,
  namedRefSchema,
  operationSchema,
  principalRefSchema,
  timeSchema,
} from './scalars.ts';
import {
  newVmInputSchema,
  rollbackInputSchema,
  snapshotCreateInputSchema,
  snapshotDeleteInputSchema,
  snapshotExportInputSchema,
  snapshotVerifyInputSchema,
} from './snapshot-inputs.ts';

export const requestStateSchema = z.enum([
  'pending',
  'approved',
  'executing',
  'succeeded',
  'failed',
  'rejected',
  'expired',
  'cancelled',
]);
export type RequestState = z.infer<typeof requestStateSchema>;

/** What was asked for, as it was asked, with defaults filled in. */
export const requestParametersSchema = z.discriminatedUnion('operation', [
  snapshotCreateInputSchema.extend({ operation: z.literal('create') }),
  z.discriminatedUnion('mode', [
    rollbackInputSchema.extend({ operation: z.literal('restore') }),
    newVmInputSchema.extend({ operation: z.literal('restore') }),
  ]),
  snapshotDeleteInputSchema.extend({ operation: z.literal('delete') }),
  snapshotExportInputSchema.extend({ operation: z.literal('export') }),
  snapshotVerifyInputSchema.extend({ operation: z.literal('verify') }),
  z.strictObject({ operation: z.literal('collect'), repositoryId: z.string() }),
  z.strictObject({
    operation: z.literal('change-rules'),
    change: ruleChangeSchema,
    ...justificationShape,
  }),
]);
export type RequestParameters = z.infer<typeof requestParametersSchema>;

export const requestResultSchema = z.object({
  snapshotId: idSchema.optional(),
  safetySnapshotId: idSchema.optional(),
  vmId: idSchema.optional(),
  ruleId: idSchema.optional(),
  /** Files that an export wrote. */
  files: z.array(z.string()).optional(),
  bytesChecked: z.int().nonnegative().optional(),
  damageCount: z.int().nonnegative().optional(),
  bytesFreed: z.int().nonnegative().optional(),
  /** What is worth knowing although it worked. */
  notes: z.array(z.string()).optional(),
});
export type RequestResult = z.infer<typeof requestResultSchema>;

export const requestSchema = z.object({
  id: idSchema,
  operation: operationSchema,
  state: requestStateSchema,
  vm: namedRefSchema.nullable(),
  snapshot: namedRefSchema.nullable(),
  parameters: requestParametersSchema,
  plan: planSchema.nullable(),
  requestedBy: principalRefSchema,
  reason: z.string().nullable(),
  reference: z.string().nullable(),
  createdAt: timeSchema,
  /** When a pending request expires; null once decided. */
  expiresAt: timeSchema.nullable(),
  /** When an approved request that did not begin is not executed any more; null before and after. */
  approvalExpiresAt: timeSchema.nullable(),
  confirmation: confirmationSchema,
  approvalsNeeded: z.int().nonnegative(),
  approvalsGiven: z.int().nonnegative(),
  /** Begun without the approvals that it needed. */
  emergency: z.boolean(),
  /** Oldest first. */
  decisions: z.array(decisionSchema),
  mayDecide: mayDecideSchema,
  decidedBy: principalRefSchema.nullable(),
  decidedAt: timeSchema.nullable(),
  decisionComment: z.string().nullable(),
  jobId: idSchema.nullable(),
  finishedAt: timeSchema.nullable(),
  failure: failureSchema.nullable(),
  result: requestResultSchema.nullable(),
});
export type Request = z.infer<typeof requestSchema>;

export const requestPageSchema = pageOf(requestSchema);

export const requestListQuerySchema = z.object({
  ...pageQueryShape,
  operation: oneOrMore(operationSchema).optional(),
  state: oneOrMore(requestStateSchema).optional(),
  vmId: idSchema.optional(),
  snapshotId: idSchema.optional(),
  /** Only what the caller asked for. */
  mine: queryFlagSchema.optional(),
});

export const requestDecisionInputSchema = z.strictObject({
  comment: descriptionSchema.default(''),
});
export type RequestDecisionInput = z.infer<typeof requestDecisionInputSchema>;

export const requestCommentInputSchema = z.strictObject({
  comment: descriptionSchema.min(1).regex(/\S/, 'must say something'),
});

export const requestOverrideInputSchema = z.strictObject({
  /** Why it cannot wait for those who should approve. */
  reason: descriptionSchema.min(1).regex(/\S/, 'must say something'),
});
