import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assert as assertProperty, property, string } from 'fast-check';
import { OperationError } from '../../shared/errors.ts';
import { requireGoodPassword } from './password-policy.ts';
import { ARGON2_PARAMETERS, createPasswordHasher, parseHash } from './passwords.ts';

const CHEAP = { memoryKib: 64, passes: 1, lanes: 1 };
const hasher = createPasswordHasher(CHEAP);

test('a hash takes its own password and no other, and holds its parameters', async () => {
  const hash = await hasher.hash('correct horse');
  assert.match(hash, /^\$argon2id\$v=19\$m=64,t=1,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
  assert.notEqual(hash, await hasher.hash('correct horse'), 'each has its own salt');
  assert.deepEqual(await hasher.verify('correct horse', hash), {
    matches: true,
    isOutdated: false,
  });
  assert.equal((await hasher.verify('correct horsf', hash)).matches, false);
  const stronger = createPasswordHasher({ ...CHEAP, passes: 2 });
  assert.deepEqual(await stronger.verify('correct horse', hash), {
    matches: true,
    isOutdated: true,
  });
});

test('what the product ships is argon2id with 19 MiB and two passes', async () => {
  assert.deepEqual(ARGON2_PARAMETERS, { memoryKib: 19_456, passes: 2, lanes: 1 });
  const real = createPasswordHasher();
  assert.ok((await real.verify('x', await real.hash('x'))).matches);
});

test('a hash from the tests of the reference implementation is understood', async () => {
  // https://github.com/P-H-C/phc-winner-argon2, src/test.c: "password", "somesalt", m=16, t=2, p=1
  const known =
    '$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc';
  assert.ok((await hasher.verify('password', known)).matches);
});

test('one spelling of a password is as good as another', async () => {
  const hash = await hasher.hash('パスフレーズが長い');
  assert.ok((await hasher.verify('ﾊﾟｽﾌﾚｰｽﾞが長い', hash)).matches);
});

test('without a hash, or with a damaged one, nothing matches and the work is done all the same', async () => {
  const damaged = [
    '',
    'x',
    '$argon2id$v=19$m=9999999,t=99,p=99$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y',
  ];
  for (const stored of [null, ...damaged])
    assert.deepEqual(await hasher.verify('x', stored), { matches: false, isOutdated: false });
  assertProperty(
    property(string(), (text) => {
      assert.ok((parseHash(text)?.memoryKib ?? 0) <= 1024 * 1024);
    }),
  );
});

test('more than a few at once wait, and more than a few that wait are refused', async () => {
  const narrow = createPasswordHasher(CHEAP, { atOnce: 1, waitingMax: 2 });
  const outcomes = await Promise.allSettled(
    Array.from({ length: 6 }, async () => await narrow.hash('x')),
  );
  const codes = outcomes.map((outcome) =>
    outcome.status === 'fulfilled'
      ? 'done'
      : outcome.reason instanceof OperationError && outcome.reason.code,
  );
  assert.deepEqual(codes, ['done', 'done', 'done', ...Array(3).fill('rate_limited')]);
  await narrow.hash('the places are free again');
});

const isGood = (password: string, userName = 'aya'): boolean => {
  try {
    requireGoodPassword(password, userName);
    return true;
  } catch (error) {
    assert.ok(error instanceof OperationError && error.code === 'invalid_input');
    assert.ok(!error.message.includes(password) || password.length < 4);
    return false;
  }
};

test('the policy refuses what is guessed first', () => {
  const bad = [
    '',
    'short',
    'elevenchars',
    'password1234',
    'Password2024!',
    'PASSWORDPASSWORD',
    'p@ssw0rd!!!!!',
    '123456789012',
    'qwertyuiopas',
    'aaaaaaaaaaaa',
    'abababababab',
    'iloveyou1234',
    'administrator',
    'komadori-admin',
    'changeme-changeme',
    'ｐａｓｓｗｏｒｄ１２３４',
  ];
  for (const password of bad) assert.ok(!isGood(password), password);
  assert.ok(!isGood('hanako.yamada', 'hanako.yamada'));
  assert.ok(!isGood('Hanako.Yamada1', 'hanako.yamada'));
});

test('the policy has no rules of composition', () => {
  const good = [
    'correct horse battery',
    'purple monkeys dance',
    'kvlqzptrmwxy',
    '739182645019',
    'うみべのさかなはあおいそら',
    'T7#mq!zX9@wL',
  ];
  for (const password of good) assert.ok(isGood(password), password);
});
