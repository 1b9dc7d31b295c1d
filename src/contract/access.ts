import { z } from 'zod';
import { pageOf, pageQueryShape } from './page.ts';
import { rightSchema } from './rights.ts';
import { idSchema, principalRefSchema, singleLineSchema, timeSchema } from './scalars.ts';
import { scopeSchema } from './scope.ts';
import { signInMethodSchema } from './users.ts';

export const whoamiSchema = z.object({
  principal: principalRefSchema,
  /** Ids of the roles held over something. */
  roles: z.array(z.string()),
  /** Rights held over at least one VM. */
  rights: z.array(rightSchema),
  signInMethod: signInMethodSchema,
  /** Null for a token. `csrfToken` goes with every call that changes something, as X-CSRF-Token. */
  session: z.object({ id: idSchema, expiresAt: timeSchema, csrfToken: z.string() }).nullable(),
  serverVersion: z.string(),
});
export type Whoami = z.infer<typeof whoamiSchema>;

export const tokenSchema = z.object({
  id: idSchema,
  name: z.string(),
  owner: principalRefSchema,
  /** Null: all rights of its owner. */
  rights: z.array(rightSchema).nullable(),
  /** Only VMs that all of these reach; none: no VM is withheld. */
  scopes: z.array(scopeSchema),
  createdAt: timeSchema,
  expiresAt: timeSchema.nullable(),
  lastUsedAt: timeSchema.nullable(),
});
export type Token = z.infer<typeof tokenSchema>;

export const tokenPageSchema = pageOf(tokenSchema);
export const tokenListQuerySchema = z.object({ ...pageQueryShape });

export const tokenCreateInputSchema = z.strictObject({
  name: singleLineSchema.min(1),
  rights: z.array(rightSchema).nullable().default(null),
  scope: scopeSchema.nullable().default(null),
  expiresAt: timeSchema.nullable().default(null),
});
export type TokenCreateInput = z.infer<typeof tokenCreateInputSchema>;

export const tokenCreatedSchema = tokenSchema.extend({
  /** Shown here and never again. */
  secret: z.string(),
});
