import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemSchema } from '../../contract/problem.ts';
import type { User } from '../../contract/users.ts';
import { cookieOf, PASSWORD, startSignInServer } from './sign-in.test-suite.ts';

const WHOAMI = '/api/v1/whoami';

test('a new user chooses a password at the first sign-in', async (t) => {
  const server = await startSignInServer(t);
  const temporaryPassword = 'for the first day';
  const made = await server.call(server.administrator, 'POST', '/api/v1/users', {
    body: { name: 'aya', displayName: '綾', bindings: [{ role: 'operator' }], temporaryPassword },
  });
  assert.equal(made.statusCode, 201);
  const user = made.json<User>();
  assert.equal(made.headers.location, `/api/v1/users/${user.id}`);
  assert.deepEqual([user.hasPassword, user.mustChangePassword], [true, true]);
  const first = await server.signIn({ name: 'aya', password: temporaryPassword });
  assert.equal(first.statusCode, 409);
  assert.equal(first.headers['set-cookie'], undefined);
  assert.equal(problemSchema.parse(first.json()).details['passwordChange'], true);
  for (const newPassword of ['short', temporaryPassword]) {
    const bad = await server.signIn({ name: 'aya', password: temporaryPassword, newPassword });
    assert.equal(bad.statusCode, 400);
  }
  const body = { name: 'aya', password: temporaryPassword, newPassword: PASSWORD };
  assert.equal((await server.signIn(body)).statusCode, 201);
  assert.equal((await server.signIn(body)).statusCode, 401, 'it was good once');
  const shown = await server.call(server.administrator, 'GET', `/api/v1/users/${user.id}`);
  assert.equal(shown.json<User>().mustChangePassword, false);
  // A new password beside one that is not temporary changes nothing.
  const both = { name: 'aya', password: PASSWORD, newPassword: 'nine restless storks' };
  assert.equal((await server.signIn(both)).statusCode, 201);
  assert.equal((await server.signIn({ name: 'aya', password: PASSWORD })).statusCode, 201);
});

test('disabling a user, or another password, ends sessions and tokens at once', async (t) => {
  const server = await startSignInServer(t);
  const user = await server.user('aya');
  const url = `/api/v1/users/${user.id}`;
  const admin = (method: 'POST' | 'PATCH', target: string, body: object = {}) =>
    server.call(server.administrator, method, target, { body });
  const acts: [() => ReturnType<typeof admin>, () => Promise<unknown>][] = [
    [
      () => admin('POST', `${url}/disable`),
      async () => {
        const refused = await server.signIn({ name: 'aya', password: PASSWORD });
        assert.equal(refused.statusCode, 401);
        await admin('POST', `${url}/enable`);
      },
    ],
    [
      () => admin('POST', `${url}/password`, { temporaryPassword: 'for a forgetful day' }),
      async () => {
        const body = { name: 'aya', password: 'for a forgetful day', newPassword: PASSWORD };
        assert.equal((await server.signIn(body)).statusCode, 201);
      },
    ],
  ];
  for (const [act, after] of acts) {
    const aya = await server.browser('aya');
    const made = await aya.call('POST', '/api/v1/tokens', { body: { name: 'ci' } });
    const { secret } = made.json<{ secret: string }>();
    assert.equal((await server.call(secret, 'GET', WHOAMI)).statusCode, 200);
    const done = await act();
    assert.ok(done.statusCode < 300, done.body);
    assert.equal((await aya.call('GET', WHOAMI)).statusCode, 401);
    assert.equal((await server.call(secret, 'GET', WHOAMI)).statusCode, 401);
    await after();
    assert.equal((await aya.call('GET', WHOAMI)).statusCode, 401, 'it does not come back');
    assert.equal((await server.call(secret, 'GET', WHOAMI)).statusCode, 401);
  }
});

test('mass assignment: nothing but the named fields can be set', async (t) => {
  const server = await startSignInServer(t);
  const user = await server.user('aya');
  const url = `/api/v1/users/${user.id}`;
  const stray: [string, 'POST' | 'PATCH', object][] = [
    ['/api/v1/users', 'POST', { name: 'x', disabledAt: null }],
    ['/api/v1/users', 'POST', { name: 'x', id: user.id }],
    ['/api/v1/users', 'POST', { name: 'x', passwordHash: 'x' }],
    [url, 'PATCH', { name: 'boss' }],
    [url, 'PATCH', { bindings: [{ role: 'administrator' }] }],
    [url, 'PATCH', { mustChangePassword: false }],
    [url, 'PATCH', { kind: 'system' }],
    [url, 'PATCH', { version: 7 }],
    [`${url}/password`, 'POST', { temporaryPassword: 'x'.repeat(20), mustChange: false }],
    ['/api/v1/account/password', 'POST', { newPassword: PASSWORD, userId: user.id }],
  ];
  for (const [target, method, body] of stray) {
    const answer = await server.call(server.administrator, method, target, { body });
    assert.equal(answer.statusCode, 400, `${method} ${target} ${JSON.stringify(body)}`);
  }
  const shown = await server.call(server.administrator, 'GET', url);
  assert.equal(shown.json<User>().name, 'aya');
});

test('names have one spelling, are taken once, and hold nothing that a terminal or a path obeys', async (t) => {
  const server = await startSignInServer(t);
  await server.user('aya');
  const make = (name: string) =>
    server.call(server.administrator, 'POST', '/api/v1/users', { body: { name } });
  assert.equal((await make('aya')).statusCode, 409);
  const bad = [
    'Aya',
    'аya',
    '../aya',
    'a/b',
    'aya\u001b[2J',
    '<script>',
    '',
    ' aya',
    'x'.repeat(65),
  ];
  for (const name of bad) assert.equal((await make(name)).statusCode, 400, name);
  for (const id of ['..%2f..', '%00', 'a b', 'x'.repeat(200)])
    assert.ok(
      [400, 404, 414].includes(
        (await server.call(server.administrator, 'GET', `/api/v1/users/${id}`)).statusCode,
      ),
      id,
    );
  const role = { name: 'x', bindings: [{ role: 'emperor' }] };
  assert.equal(
    (await server.call(server.administrator, 'POST', '/api/v1/users', { body: role })).statusCode,
    400,
  );
});

test('changes of a user that somebody else changed meanwhile are refused', async (t) => {
  const server = await startSignInServer(t);
  const user = await server.user('aya');
  const url = `/api/v1/users/${user.id}`;
  const { etag } = (await server.call(server.administrator, 'GET', url)).headers;
  const change = (displayName: string) =>
    server.call(server.administrator, 'PATCH', url, {
      body: { displayName },
      headers: { 'if-match': String(etag) },
    });
  // A sign-in in between is no such change.
  await server.browser('aya');
  const first = await change('Aya Tanaka');
  assert.equal(first.statusCode, 200, first.body);
  assert.equal(first.json<User>().displayName, 'Aya Tanaka');
  assert.equal((await change('Aya Suzuki')).statusCode, 412);
});

test('administrators cannot shut themselves out, and of two who try it on each other one stays', async (t) => {
  const server = await startSignInServer(t);
  const [one, two] = [
    await server.user('one', 'administrator'),
    await server.user('two', 'administrator'),
  ];
  const [first, second] = [await server.browser('one'), await server.browser('two')];
  for (const [method, path, body] of [
    ['POST', '/disable', {}],
    ['POST', '/password', { temporaryPassword: 'eleven bright cranes' }],
  ] as const) {
    const answer = await first.call(method, `/api/v1/users/${one.id}${path}`, { body });
    assert.equal(answer.statusCode, 409, answer.body);
  }
  const statuses = await Promise.all([
    first.call('POST', `/api/v1/users/${two.id}/disable`),
    second.call('POST', `/api/v1/users/${one.id}/disable`),
  ]);
  const refused = statuses.filter((answer) => answer.statusCode !== 200);
  assert.equal(refused.length, 1);
  assert.ok([401, 503].includes(refused[0]?.statusCode ?? 0));
});

test('the first administrator sets a password with the token of the first start', async (t) => {
  const server = await startSignInServer(t);
  const set = (token: string, body: object) =>
    server.call(token, 'POST', '/api/v1/account/password', { body });
  const weak = await server.token('administrator', { rights: ['view'] });
  assert.equal((await set(weak, { newPassword: PASSWORD })).statusCode, 403);
  assert.equal((await set(server.administrator, { newPassword: PASSWORD })).statusCode, 204);
  assert.equal((await server.call(server.administrator, 'GET', WHOAMI)).statusCode, 200);
  assert.equal((await server.call(weak, 'GET', WHOAMI)).statusCode, 401);
  const answer = await server.signIn({ name: 'administrator', password: PASSWORD });
  assert.equal(answer.statusCode, 201);
  assert.ok(cookieOf(answer).length > 40);
  // From now on the token alone does not do.
  const next = { newPassword: 'nine restless storks' };
  assert.equal((await set(server.administrator, next)).statusCode, 400);
});

test('lists of users come in pages, by name', async (t) => {
  const server = await startSignInServer(t);
  for (const name of ['ken', 'aya', 'sora']) await server.user(name);
  const names: string[] = [];
  let url = '/api/v1/users?limit=2';
  for (;;) {
    const page = (await server.call(server.administrator, 'GET', url)).json<{
      items: User[];
      nextCursor: string | null;
    }>();
    names.push(...page.items.map((user) => user.name));
    if (page.nextCursor === null) break;
    url = `/api/v1/users?limit=2&cursor=${page.nextCursor}`;
  }
  assert.deepEqual(names, ['administrator', 'aya', 'ken', 'sora']);
});
