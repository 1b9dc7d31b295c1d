import { z } from 'zod';
import { quiescePolicySchema, snapshotKindSchema } from '../shared/inventory.ts';
import {
  absolutePathSchema,
  descriptionSchema,
  diskTargetSchema,
  justificationShape,
  labelsSchema,
  newVmNameSchema,
  snapshotNameSchema,
  timeSchema,
} from './scalars.ts';

export const snapshotCreateInputSchema = z.strictObject({
  /** The VM's id or, if no other VM has it, its name. */
  vm: z.string().min(1).max(256),
  /** Unique among the VM's snapshots; `<vm>_<UTC time>` without it. */
  name: snapshotNameSchema.optional(),
  description: descriptionSchema.default(''),
  kind: snapshotKindSchema.default('full'),
  quiesce: quiescePolicySchema.default('prefer'),
  skipDisks: z.array(diskTargetSchema).max(256).default([]),
  labels: labelsSchema.default({}),
  expiresAt: timeSchema.optional(),
  ...justificationShape,
});
export type SnapshotCreateInput = z.infer<typeof snapshotCreateInputSchema>;

export const rollbackInputSchema = z.strictObject({
  mode: z.literal('rollback'),
  safetySnapshot: z.boolean().default(true),
  /** `as-captured`: runs again if it ran when captured. */
  start: z.union([z.boolean(), z.literal('as-captured')]).default('as-captured'),
  /** The VM's name, typed by whoever wants it rolled back. */
  confirmVmName: z.string().max(256),
  ...justificationShape,
});

export const newVmInputSchema = z.strictObject({
  mode: z.literal('new-vm'),
  name: newVmNameSchema,
  /** Keeps a copy from answering on the network in place of the original. */
  linksDown: z.boolean().default(true),
  start: z.boolean().default(false),
  /** Goes on from the captured memory instead of booting. */
  resumeMemory: z.boolean().default(false),
  imageFolder: absolutePathSchema.optional(),
  ...justificationShape,
});

export const snapshotRestoreInputSchema = z.discriminatedUnion('mode', [
  rollbackInputSchema,
  newVmInputSchema,
]);
export type SnapshotRestoreInput = z.infer<typeof snapshotRestoreInputSchema>;

export const snapshotExportInputSchema = z.strictObject({
  /** On the VM's host, below a folder that its configuration allows. */
  folder: absolutePathSchema,
  format: z.enum(['qcow2', 'raw']).default('qcow2'),
  /** Adds a save image that `virsh restore` reads. It holds everything the guest had in memory. */
  includeMemory: z.boolean().default(false),
  ...justificationShape,
});
export type SnapshotExportInput = z.infer<typeof snapshotExportInputSchema>;

export const snapshotDeleteInputSchema = z.strictObject({
  /** The VM's name, typed by whoever wants the snapshot deleted. */
  confirmVmName: z.string().max(256),
  ...justificationShape,
});
export type SnapshotDeleteInput = z.infer<typeof snapshotDeleteInputSchema>;

export const snapshotVerifyInputSchema = z.strictObject({ ...justificationShape });
export type SnapshotVerifyInput = z.infer<typeof snapshotVerifyInputSchema>;
