import { z } from 'zod';
import { pageOf, pageQueryShape } from './page.ts';
import { idSchema, principalRefSchema, timeSchema } from './scalars.ts';

/** One record before an act (`intent`) and one after it. Refusals are recorded as `denied`. */
export const auditOutcomeSchema = z.enum(['intent', 'succeeded', 'failed', 'denied']);
export type AuditOutcome = z.infer<typeof auditOutcomeSchema>;

export const auditEventSchema = z.object({
  sequence: z.int().positive(),
  at: timeSchema,
  actor: principalRefSchema,
  onBehalfOf: principalRefSchema.nullable(),
  sourceAddress: z.string().nullable(),
  /** For example `snapshot.create`, `request.approve`. */
  action: z.string(),
  resourceType: z.string(),
  resourceId: z.string().nullable(),
  /** Kept, so that the record can be read when the thing is gone. */
  resourceName: z.string().nullable(),
  requestId: idSchema.nullable(),
  outcome: auditOutcomeSchema,
  reason: z.string().nullable(),
  details: z.record(z.string(), z.json()),
  previousHash: z.string(),
  hash: z.string(),
});
export type AuditEvent = z.infer<typeof auditEventSchema>;

export const auditEventPageSchema = pageOf(auditEventSchema);

export const auditEventListQuerySchema = z.object({
  ...pageQueryShape,
  action: z.string().max(128).optional(),
  actorId: z.string().max(128).optional(),
  resourceType: z.string().max(64).optional(),
  resourceId: z.string().max(128).optional(),
  requestId: idSchema.optional(),
  outcome: auditOutcomeSchema.optional(),
  after: timeSchema.optional(),
  before: timeSchema.optional(),
  order: z.enum(['newest', 'oldest']).optional(),
});

export const auditVerificationSchema = z.object({
  intact: z.boolean(),
  eventsChecked: z.int().nonnegative(),
  headHash: z.string().nullable(),
  /** The first record whose hash does not follow from what is before it. */
  firstBroken: z.object({ sequence: z.int().positive(), reason: z.string() }).nullable(),
});
export type AuditVerification = z.infer<typeof auditVerificationSchema>;
