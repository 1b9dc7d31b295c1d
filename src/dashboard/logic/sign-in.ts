import { OperationError } from '../../shared/errors.ts';

export interface SignInFields {
  readonly name: string;
  readonly password: string;
  readonly code: string;
  /** Null while none is asked for. */
  readonly newPassword: string | null;
}

/** What goes to the server: a code that was left empty is no code. */
export const signInBody = (fields: SignInFields) => ({
  name: fields.name.trim(),
  password: fields.password,
  ...(fields.code.trim() !== '' && { code: fields.code.trim() }),
  ...(fields.newPassword !== null && { newPassword: fields.newPassword }),
});

/** As the server's policy; it has the last word, and knows more bad passwords. */
const LENGTH_MIN = 12;

/** Null: it can be sent. */
export function newPasswordProblem(password: string, again: string): 'short' | 'different' | null {
  if (Array.from(password.normalize('NFKC')).length < LENGTH_MIN) return 'short';
  return password === again ? null : 'different';
}

export const isRefusedSignIn = (error: unknown): boolean =>
  error instanceof OperationError && error.code === 'unauthenticated';

/** Everything was right, but the password is a temporary one. */
export const wantsNewPassword = (error: unknown): boolean =>
  error instanceof OperationError && error.details['passwordChange'] === true;
