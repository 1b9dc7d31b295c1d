import { z } from 'zod';
import { hostDescriptionSchema } from '../shared/inventory.ts';
import { pageOf, pageQueryShape } from './page.ts';
import { idSchema, timeSchema } from './scalars.ts';

export const hostSchema = z.object({
  id: idSchema,
  name: z.string(),
  /** `unreachable`: the worker runs but cannot reach libvirt; `silent`: the worker does not report. */
  state: z.enum(['ready', 'unreachable', 'silent']),
  /** Null until the worker reached libvirt once. */
  description: hostDescriptionSchema.nullable(),
  vmCount: z.int().nonnegative(),
  runningJobs: z.int().nonnegative(),
  /** Why it is not ready. */
  stateReason: z.string().nullable(),
  lastSeenAt: timeSchema.nullable(),
});
export type Host = z.infer<typeof hostSchema>;

export const hostPageSchema = pageOf(hostSchema);
export const hostListQuerySchema = z.object({ ...pageQueryShape });
