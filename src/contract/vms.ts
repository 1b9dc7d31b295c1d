import { z } from 'zod';
import { vmDescriptionSchema, vmStateSchema } from '../shared/inventory.ts';
import { oneOrMore, pageOf, pageQueryShape, queryFlagSchema } from './page.ts';
import { idSchema, labelsSchema, namedRefSchema, timeSchema } from './scalars.ts';

export const vmSchema = z.object({
  id: idSchema,
  name: z.string(),
  host: namedRefSchema,
  state: vmStateSchema,
  /** As the worker last saw it. */
  description: vmDescriptionSchema,
  labels: labelsSchema,
  /** False once the VM is gone from its host and only its snapshots remain. */
  present: z.boolean(),
  snapshotCount: z.int().nonnegative(),
  lastSnapshotAt: timeSchema.nullable(),
  /** The snapshot that the VM's current state descends from: "you are here". */
  currentSnapshotId: idSchema.nullable(),
  updatedAt: timeSchema,
});
export type Vm = z.infer<typeof vmSchema>;

export const vmPageSchema = pageOf(vmSchema);

export const vmListQuerySchema = z.object({
  ...pageQueryShape,
  /** Exact name. */
  name: z.string().max(256).optional(),
  /** Part of the name. */
  search: z.string().max(256).optional(),
  state: oneOrMore(vmStateSchema).optional(),
  present: queryFlagSchema.optional(),
  hostId: idSchema.optional(),
  /** `key=value`, several times for several labels. */
  label: oneOrMore(z.string().max(320)).optional(),
});

export const vmUpdateInputSchema = z.strictObject({ labels: labelsSchema });
export type VmUpdateInput = z.infer<typeof vmUpdateInputSchema>;
