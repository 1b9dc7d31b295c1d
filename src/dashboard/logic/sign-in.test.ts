import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sessionCreateInputSchema } from '../../contract/users.ts';
import { OperationError } from '../../shared/errors.ts';
import { isRefusedSignIn, newPasswordProblem, signInBody, wantsNewPassword } from './sign-in.ts';

test('a sign-in sends a code and a new password only when there are some', () => {
  const bare = signInBody({ name: ' aya ', password: ' x ', code: ' ', newPassword: null });
  assert.deepEqual(bare, { name: 'aya', password: ' x ' });
  const full = signInBody({ name: 'aya', password: 'x', code: ' 123 456 ', newPassword: 'y' });
  assert.deepEqual(full, { name: 'aya', password: 'x', code: '123 456', newPassword: 'y' });
  for (const body of [bare, full]) assert.ok(sessionCreateInputSchema.safeParse(body).success);
});

test('a new password is long enough and typed the same twice', () => {
  assert.equal(newPasswordProblem('elevenchars', 'elevenchars'), 'short');
  assert.equal(newPasswordProblem('うみべのさかなはあおい', 'うみべのさかなはあおい'), 'short');
  assert.equal(newPasswordProblem('seven quiet herons', 'seven quiet heron'), 'different');
  assert.equal(newPasswordProblem('seven quiet herons', 'seven quiet herons'), null);
});

test('a refusal and the wish for a new password are told apart', () => {
  const refused = new OperationError('unauthenticated', 'x');
  const temporary = new OperationError('wrong_state', 'x', { details: { passwordChange: true } });
  assert.deepEqual([isRefusedSignIn(refused), wantsNewPassword(refused)], [true, false]);
  assert.deepEqual([isRefusedSignIn(temporary), wantsNewPassword(temporary)], [false, true]);
  assert.equal(wantsNewPassword(new Error('x')), false);
});
