import { z } from 'zod';
import { pageOf, pageQueryShape } from './page.ts';
import { rightSchema } from './rights.ts';
import { descriptionSchema, singleLineSchema, timeSchema } from './scalars.ts';

/** A word for a built-in role, a UUID for one that somebody made. */
export const roleIdSchema = z
  .string()
  .toLowerCase()
  .regex(/^[a-z0-9-]{1,64}$/, 'must be the id of a role, such as operator');

export const roleSchema = z.object({
  id: roleIdSchema,
  name: z.string(),
  description: z.string(),
  rights: z.array(rightSchema),
  /** Came with Komadori, and cannot be changed. */
  builtIn: z.boolean(),
  createdAt: timeSchema.nullable(),
  updatedAt: timeSchema.nullable(),
});
export type Role = z.infer<typeof roleSchema>;

export const rolePageSchema = pageOf(roleSchema);
export const roleListQuerySchema = z.object({ ...pageQueryShape });
export const roleParamsSchema = z.object({ id: roleIdSchema });

const roleShape = {
  name: singleLineSchema.min(1).max(64),
  description: descriptionSchema,
  rights: z.array(rightSchema).max(64),
};

export const roleCreateInputSchema = z.strictObject({
  ...roleShape,
  description: descriptionSchema.default(''),
});
export type RoleCreateInput = z.infer<typeof roleCreateInputSchema>;

export const roleUpdateInputSchema = z.strictObject(roleShape).partial();
export type RoleUpdateInput = z.infer<typeof roleUpdateInputSchema>;
