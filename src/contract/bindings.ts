import { z } from 'zod';
import { pageOf, pageQueryShape } from './page.ts';
import { rightSchema } from './rights.ts';
import { roleIdSchema } from './roles.ts';
import { idSchema, namedRefSchema, principalRefSchema, timeSchema } from './scalars.ts';
import { scopeSchema } from './scope.ts';

/** What a binding does with the rights of its role; a denial wins over whatever else is allowed. */
export const bindingEffectSchema = z.enum(['allow', 'deny']);

export const bindingSchema = z.object({
  id: idSchema,
  principal: principalRefSchema,
  role: z.object({ id: roleIdSchema, name: z.string() }),
  effect: bindingEffectSchema,
  scope: scopeSchema,
  createdBy: principalRefSchema,
  createdAt: timeSchema,
  updatedAt: timeSchema,
});
export type Binding = z.infer<typeof bindingSchema>;

export const principalIdSchema = z.string().min(1).max(128);

export const bindingPageSchema = pageOf(bindingSchema);
export const bindingListQuerySchema = z.object({
  ...pageQueryShape,
  principalId: principalIdSchema.optional(),
  roleId: roleIdSchema.optional(),
});

export const bindingCreateInputSchema = z.strictObject({
  principalId: principalIdSchema,
  roleId: roleIdSchema,
  effect: bindingEffectSchema.default('allow'),
  scope: scopeSchema,
});
export type BindingCreateInput = z.infer<typeof bindingCreateInputSchema>;

export const bindingUpdateInputSchema = z
  .strictObject({ roleId: roleIdSchema, effect: bindingEffectSchema, scope: scopeSchema })
  .partial();
export type BindingUpdateInput = z.infer<typeof bindingUpdateInputSchema>;

export const principalRightsQuerySchema = z.object({
  /** Over this VM; without it, over anything at all. */
  vmId: idSchema.optional(),
});

export const principalRightsSchema = z.object({
  principal: principalRefSchema,
  /** Null: over anything at all. */
  vm: namedRefSchema.nullable(),
  /** Ids of roles. */
  roles: z.array(roleIdSchema),
  rights: z.array(rightSchema),
  /** What is held over what belongs to no VM, such as repositories and the access rules. */
  fleetRights: z.array(rightSchema),
});
export type PrincipalRights = z.infer<typeof principalRightsSchema>;

export const principalParamsSchema = z.object({ id: principalIdSchema });
