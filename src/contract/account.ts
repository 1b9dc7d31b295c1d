import { z } from 'zod';
import { oneTimeCodeSchema, passwordInputSchema, userSchema } from './users.ts';

/** Who one is, and what guards the way in. */
export const accountSchema = z.object({
  user: userSchema,
  recoveryCodesLeft: z.int().nonnegative(),
});
export type Account = z.infer<typeof accountSchema>;

/** What a change of the ways in takes again. The code only where one-time codes are set up. */
export const ownProofInputSchema = z.strictObject({
  password: passwordInputSchema,
  code: oneTimeCodeSchema.optional(),
});
export type OwnProofInput = z.infer<typeof ownProofInputSchema>;

export const oneTimeCodesSecretSchema = z.object({
  /** Base32, to type into an app. Shown here and never again. */
  secret: z.string(),
  /** The same as `otpauth://`, for a QR code. */
  uri: z.string(),
});
export type OneTimeCodesSecret = z.infer<typeof oneTimeCodesSecretSchema>;

export const oneTimeCodesConfirmInputSchema = z.strictObject({ code: oneTimeCodeSchema });
export type OneTimeCodesConfirmInput = z.infer<typeof oneTimeCodesConfirmInputSchema>;

export const recoveryCodesSchema = z.object({
  /** Each stands in for a one-time code, once. Shown here and never again. */
  recoveryCodes: z.array(z.string()),
});
export type RecoveryCodes = z.infer<typeof recoveryCodesSchema>;
