import { z } from 'zod';
import { idSchema, labelKeySchema, singleLineSchema } from './scalars.ts';

export const SCOPE_VMS_MAX = 1000;

/** Where a role holds: everywhere, on all VMs with one label, or on VMs named by id. */
export const scopeSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('everything') }),
  z.strictObject({ kind: z.literal('label'), key: labelKeySchema, value: singleLineSchema }),
  z.strictObject({ kind: z.literal('vms'), vmIds: z.array(idSchema).min(1).max(SCOPE_VMS_MAX) }),
]);
export type Scope = z.infer<typeof scopeSchema>;
