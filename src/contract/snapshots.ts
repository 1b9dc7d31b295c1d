import { z } from 'zod';
import {
  consistencyLevelSchema,
  memoryModeSchema,
  snapshotKindSchema,
} from '../shared/inventory.ts';
import { oneOrMore, pageOf, pageQueryShape, queryFlagSchema } from './page.ts';
import {
  byteCountSchema,
  descriptionSchema,
  diskTargetSchema,
  failureSchema,
  idSchema,
  labelsSchema,
  jobKindSchema,
  principalRefSchema,
  skippedDiskSchema,
  timeSchema,
} from './scalars.ts';

export const snapshotStateSchema = z.enum([
  'creating',
  'active',
  'deleting',
  'deleted',
  'failed',
  'damaged',
]);
export type SnapshotState = z.infer<typeof snapshotStateSchema>;

export const pausePhaseSchema = z.object({
  name: z.string(),
  durationMs: z.number().nonnegative(),
});

export const snapshotSizesSchema = z.object({
  /** What disks and memory span, zeroes included. */
  logicalBytes: byteCountSchema,
  readBytes: byteCountSchema,
  /** Of these, bytes that the repository did not have. */
  newBytes: byteCountSchema,
  /** What the new bytes take after compression. */
  storedBytes: byteCountSchema,
});

export const snapshotDiskSchema = z.object({
  target: diskTargetSchema,
  format: z.string(),
  sizeBytes: byteCountSchema,
});

export const damageSchema = z.object({
  /** For example `disk vda`, `memory pc.ram`, `manifest`. */
  part: z.string(),
  offset: byteCountSchema,
  lengthBytes: byteCountSchema,
  reason: z.string(),
});

export const snapshotSchema = z.object({
  id: idSchema,
  vmId: idSchema,
  vmName: z.string(),
  name: z.string(),
  description: z.string(),
  state: snapshotStateSchema,
  kind: snapshotKindSchema,
  /** Null until captured. */
  level: consistencyLevelSchema.nullable(),
  levelReason: z.string().nullable(),
  capturedAt: timeSchema.nullable(),
  createdAt: timeSchema,
  createdBy: principalRefSchema,
  /** How long the guest stood still, measured. */
  pauseMs: z.number().nonnegative().nullable(),
  pausePhases: z.array(pausePhaseSchema),
  sizes: snapshotSizesSchema.nullable(),
  disks: z.array(snapshotDiskSchema),
  skippedDisks: z.array(skippedDiskSchema),
  memoryMode: memoryModeSchema.nullable(),
  /** The snapshot that the VM's state descended from when this one was taken. */
  parentSnapshotId: idSchema.nullable(),
  labels: labelsSchema,
  pinned: z.boolean(),
  expiresAt: timeSchema.nullable(),
  failure: failureSchema.nullable(),
  damage: z.array(damageSchema),
  lastVerifiedAt: timeSchema.nullable(),
  /** The request that made it. */
  requestId: idSchema.nullable(),
  manifestDigest: z.string().nullable(),
  /** The operation that holds this snapshot now. */
  busyWith: z.object({ operation: jobKindSchema, requestId: idSchema }).nullable(),
});
export type Snapshot = z.infer<typeof snapshotSchema>;

export const snapshotPageSchema = pageOf(snapshotSchema);

export const snapshotListQuerySchema = z.object({
  ...pageQueryShape,
  vmId: idSchema.optional(),
  /** Exact name of the VM, also of one that is gone. */
  vmName: z.string().max(256).optional(),
  /** Exact name of the snapshot. */
  name: z.string().max(256).optional(),
  /** Part of the snapshot's or VM's name, or of the description. */
  search: z.string().max(256).optional(),
  /** Without it, all but `deleted`. */
  state: oneOrMore(snapshotStateSchema).optional(),
  kind: snapshotKindSchema.optional(),
  level: oneOrMore(consistencyLevelSchema).optional(),
  pinned: queryFlagSchema.optional(),
  createdAfter: timeSchema.optional(),
  createdBefore: timeSchema.optional(),
  label: oneOrMore(z.string().max(320)).optional(),
  /** Newest first without it. */
  order: z.enum(['newest', 'oldest', 'name']).optional(),
});

/** Only what may change; an absent field stays as it is. */
export const snapshotUpdateInputSchema = z.strictObject({
  description: descriptionSchema.optional(),
  labels: labelsSchema.optional(),
  pinned: z.boolean().optional(),
  expiresAt: timeSchema.nullable().optional(),
});
export type SnapshotUpdateInput = z.infer<typeof snapshotUpdateInputSchema>;
