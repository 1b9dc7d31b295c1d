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

const auditFilterShape = {
  action: z.string().max(128).optional(),
  actorId: z.string().max(128).optional(),
  actorName: z.string().max(256).optional(),
  resourceType: z.string().max(64).optional(),
  resourceId: z.string().max(128).optional(),
  resourceName: z.string().max(256).optional(),
  /** In action, names, reason or source address; upper and lower case of ASCII are the same. */
  search: z.string().max(256).optional(),
  requestId: idSchema.optional(),
  outcome: auditOutcomeSchema.optional(),
  after: timeSchema.optional(),
  before: timeSchema.optional(),
};

export const auditEventListQuerySchema = z.object({
  ...pageQueryShape,
  ...auditFilterShape,
  order: z.enum(['newest', 'oldest']).optional(),
});

/** Oldest first: a JSON-lines export without filters can be verified. */
export const auditEventExportQuerySchema = z.object({
  ...auditFilterShape,
  format: z.enum(['jsonl', 'csv']).default('jsonl'),
});

export const chainBreakKindSchema = z.enum([
  'altered',
  'missing',
  'reordered',
  'truncated',
  'rewritten',
  'unreadable',
]);

export const auditVerificationSchema = z.object({
  intact: z.boolean(),
  eventsChecked: z.int().nonnegative(),
  headHash: z.string().nullable(),
  /** Heads in the manifests of bundles that were found in the trail. */
  headsChecked: z.int().nonnegative(),
  /** The first record whose hash does not follow from what is before it. */
  firstBroken: z
    .object({ sequence: z.int().positive(), kind: chainBreakKindSchema, reason: z.string() })
    .nullable(),
});
export type AuditVerification = z.infer<typeof auditVerificationSchema>;
