import { z } from 'zod';
import { pageOf, pageQueryShape } from './page.ts';
import { idSchema, singleLineSchema, timeSchema } from './scalars.ts';
import { scopeSchema } from './scope.ts';

/** What a person types to sign in. One spelling only, so that nobody can look like somebody else. */
export const userNameSchema = z
  .string()
  .min(1)
  .max(64)
  .regex(/^[a-z0-9][a-z0-9._@-]*$/, 'may hold a-z, 0-9, dots, dashes, underscores and @');

/** Only a limit: what a password must be is decided where its owner is known. */
export const passwordInputSchema = z.string().min(1).max(256);

/** From an app, or one of the recovery codes. */
export const oneTimeCodeSchema = z.string().min(1).max(64);

export const userSchema = z.object({
  id: z.string(),
  name: z.string(),
  displayName: z.string(),
  /** Ids of the roles held anywhere. */
  roles: z.array(z.string()),
  createdAt: timeSchema,
  disabledAt: timeSchema.nullable(),
  hasPassword: z.boolean(),
  passwordChangedAt: timeSchema.nullable(),
  mustChangePassword: z.boolean(),
  /** A sign-in takes a one-time code as well. */
  oneTimeCodes: z.boolean(),
  lastSignInAt: timeSchema.nullable(),
});
export type User = z.infer<typeof userSchema>;

export const userPageSchema = pageOf(userSchema);
export const userListQuerySchema = z.object({ ...pageQueryShape });

/** Ids of principals are ours; imported ones need not be UUIDs. */
export const userParamsSchema = z.object({
  id: z
    .string()
    .min(1)
    .max(128)
    .regex(/^[A-Za-z0-9._-]+$/, 'must be an id of a user'),
});

const newBindingSchema = z.strictObject({
  /** Id of a role. */
  role: z.string().min(1).max(128),
  scope: scopeSchema.default({ kind: 'everything' }),
});

export const userCreateInputSchema = z.strictObject({
  name: userNameSchema,
  displayName: singleLineSchema.default(''),
  /** What the user may do from the start; none of it may be more than its giver may do everywhere. */
  bindings: z.array(newBindingSchema).max(20).default([]),
  /** Good for the first sign-in only; without one the user cannot sign in by password yet. */
  temporaryPassword: passwordInputSchema.optional(),
});
export type UserCreateInput = z.infer<typeof userCreateInputSchema>;

export const userUpdateInputSchema = z.strictObject({
  displayName: singleLineSchema.optional(),
});
export type UserUpdateInput = z.infer<typeof userUpdateInputSchema>;

export const userPasswordInputSchema = z.strictObject({ temporaryPassword: passwordInputSchema });

export const passwordChangeInputSchema = z.strictObject({
  /** Left out only by an administrator who has no password yet. */
  currentPassword: passwordInputSchema.optional(),
  newPassword: passwordInputSchema,
});
export type PasswordChangeInput = z.infer<typeof passwordChangeInputSchema>;

export const signInMethodSchema = z.enum(['token', 'password', 'openid-connect']);
export type SignInMethod = z.infer<typeof signInMethodSchema>;

export const sessionSchema = z.object({
  id: idSchema,
  userId: z.string(),
  method: signInMethodSchema.exclude(['token']),
  sourceAddress: z.string().nullable(),
  userAgent: z.string().nullable(),
  createdAt: timeSchema,
  lastUsedAt: timeSchema,
  /** At the latest; it ends sooner when it is not used. */
  expiresAt: timeSchema,
  /** The one this call was made with. */
  isCurrent: z.boolean(),
});
export type Session = z.infer<typeof sessionSchema>;

export const sessionPageSchema = pageOf(sessionSchema);
export const sessionListQuerySchema = z.object({
  ...pageQueryShape,
  /** Somebody else's: needs the right to manage access. */
  userId: userParamsSchema.shape.id.optional(),
});

const DAY_SECONDS = 24 * 3600;

export const sessionCreateInputSchema = z.strictObject({
  name: z.string().min(1).max(256),
  password: passwordInputSchema,
  /** Needed by whoever has set up one-time codes; others leave it out. */
  code: oneTimeCodeSchema.optional(),
  /** Needed when the password is a temporary one. */
  newPassword: passwordInputSchema.optional(),
  /** A browser's session comes as a cookie; programs ask for a token instead. */
  as: z.enum(['session', 'token']).default('session'),
  tokenName: singleLineSchema.min(1).default('sign-in'),
  tokenLifetimeSeconds: z
    .int()
    .min(60)
    .max(90 * DAY_SECONDS)
    .default(7 * DAY_SECONDS),
});
export type SessionCreateInput = z.infer<typeof sessionCreateInputSchema>;

export const sessionCreatedSchema = z.object({
  userId: z.string(),
  name: z.string(),
  expiresAt: timeSchema,
  /** Null when a token was asked for. */
  session: z.object({ id: idSchema, csrfToken: z.string() }).nullable(),
  /** Shown here and never again. Null for a session. */
  token: z.object({ id: idSchema, secret: z.string() }).nullable(),
});
export type SessionCreated = z.infer<typeof sessionCreatedSchema>;
