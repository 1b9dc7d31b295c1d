import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemSchema } from '../../contract/problem.ts';
import type { Session, User } from '../../contract/users.ts';
import type { Whoami } from '../../contract/access.ts';
import { silentLogger, type LogFields, type Logger } from '../../shared/logger.ts';
import { createPasswordHasher } from '../access/passwords.ts';
import { COOKIE, cookieOf, PASSWORD, startSignInServer } from './sign-in.test-suite.ts';

const WHOAMI = '/api/v1/whoami';

test('a session comes as a cookie that scripts and other sites cannot use', async (t) => {
  const server = await startSignInServer(t);
  await server.user('aya');
  const answer = await server.signIn({ name: 'Aya', password: PASSWORD });
  assert.equal(answer.statusCode, 201);
  const cookie = String(answer.headers['set-cookie']);
  assert.match(cookie, /^komadori-session=kms_[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict$/);
  const secret = cookieOf(answer).slice(COOKIE.length + 1);
  assert.ok(!answer.body.includes(secret), 'the secret is in the cookie and nowhere else');
  const whoami = (
    await server.call(null, 'GET', WHOAMI, { headers: { cookie: cookieOf(answer) } })
  ).json<Whoami>();
  assert.equal(whoami.principal.name, 'aya');
  assert.equal(whoami.signInMethod, 'password');
  assert.ok(!JSON.stringify(whoami).includes(secret));
  const file = await server.catalog.read.selectFrom('sessions').selectAll().execute();
  assert.ok(!JSON.stringify(file).includes(secret), 'the catalog holds only its hash');
});

test('behind a trusted proxy that speaks TLS the cookie is Secure and of this host only', async (t) => {
  const proxied = await startSignInServer(t, { trustedProxies: ['192.0.2.1'] });
  await proxied.user('aya');
  const tls = { 'x-forwarded-proto': 'https', 'x-forwarded-for': '203.0.113.9' };
  const answer = await proxied.signIn({ name: 'aya', password: PASSWORD }, tls);
  assert.match(String(answer.headers['set-cookie']), /^__Host-komadori-session=.*; Secure$/);
  const [event] = (await proxied.audit('session.create')).slice(-1);
  assert.equal(event?.sourceAddress, '203.0.113.9');
  // The plain cookie, which a neighbour without TLS could plant, counts for nothing here.
  const planted = cookieOf(answer).replace('__Host-', '');
  const call = async (cookie: string) =>
    (
      await proxied.app.inject({
        url: WHOAMI,
        headers: { ...tls, cookie },
        remoteAddress: '192.0.2.1',
      })
    ).statusCode;
  assert.equal(await call(cookieOf(answer)), 200);
  assert.equal(await call(planted), 401);
  assert.equal(await call(`${cookieOf(answer)}; ${cookieOf(answer)}`), 401);
  const direct = await startSignInServer(t);
  await direct.user('aya');
  const lied = await direct.signIn({ name: 'aya', password: PASSWORD }, tls);
  assert.doesNotMatch(String(lied.headers['set-cookie']), /Secure/);
});

test('session fixation: a secret that was there before the sign-in is worth nothing after it', async (t) => {
  const server = await startSignInServer(t);
  await server.user('aya');
  await server.user('mallory');
  const mallory = await server.browser('mallory');
  const planted = `${COOKIE}=kms_${'A'.repeat(43)}`;
  for (const cookie of [mallory.cookie, planted]) {
    const answer = await server.signIn({ name: 'aya', password: PASSWORD }, { cookie });
    assert.equal(answer.statusCode, 201);
    assert.notEqual(cookieOf(answer), cookie);
    const before = await server.call(null, 'GET', WHOAMI, { headers: { cookie } });
    assert.equal(before.statusCode, 401);
  }
});

test('CSRF: a cookie alone changes nothing, and other origins are turned away', async (t) => {
  const server = await startSignInServer(t);
  await server.user('aya', 'administrator');
  await server.user('ken', 'administrator');
  const [aya, ken] = [await server.browser('aya'), await server.browser('ken')];
  const make = { body: { name: 'ci' } };
  const attacks: Record<string, string>[] = [
    { 'x-csrf-token': '' },
    { 'x-csrf-token': ken.csrfToken },
    { 'x-csrf-token': aya.csrfToken.slice(1) },
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
    { 'sec-fetch-site': 'none' },
  ];
  for (const headers of attacks) {
    const answer = await aya.call('POST', '/api/v1/tokens', { ...make, headers });
    assert.equal(answer.statusCode, 403, JSON.stringify(headers));
  }
  const refusals = await server.audit('session.refuse-forgery');
  assert.equal(refusals.length, attacks.length);
  assert.equal(refusals[0]?.outcome, 'denied');
  const own = { origin: 'http://localhost:80', 'sec-fetch-site': 'same-origin' };
  const good = await aya.call('POST', '/api/v1/tokens', { ...make, headers: own });
  assert.equal(good.statusCode, 201, good.body);
  assert.equal(
    (await aya.call('GET', WHOAMI, { headers: { 'x-csrf-token': '' } })).statusCode,
    200,
  );
  // A sign-in as the attacker would make the victim work in the attacker's account.
  const login = { name: 'aya', password: PASSWORD };
  const forged = await server.signIn(login, { origin: 'https://evil.example' });
  assert.equal(forged.statusCode, 403);
  assert.equal(forged.headers['set-cookie'], undefined);
  const asForm = await server.app.inject({
    method: 'POST',
    url: '/api/v1/sessions',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    payload: `name=aya&password=${PASSWORD}`,
  });
  assert.equal(asForm.statusCode, 400);
  const asText = await server.app.inject({
    method: 'POST',
    url: '/api/v1/sessions',
    headers: { 'content-type': 'text/plain' },
    payload: JSON.stringify(login),
  });
  assert.equal(asText.statusCode, 400);
});

test('a token in the header needs no CSRF token, and rules the cookie out', async (t) => {
  const server = await startSignInServer(t);
  await server.user('aya', 'administrator');
  const aya = await server.browser('aya');
  const body = { name: 'ci' };
  assert.equal(
    (await server.call(server.administrator, 'POST', '/api/v1/tokens', { body })).statusCode,
    201,
  );
  for (const authorization of ['Bearer', 'Bearer x', 'Basic eDp5', ''])
    assert.equal((await aya.call('GET', WHOAMI, { headers: { authorization } })).statusCode, 401);
});

test('one answer, and the same work, for whatever is wrong with a sign-in', async (t) => {
  const server = await startSignInServer(t);
  await server.user('aya');
  const disabled = await server.user('ken');
  await server.call(server.administrator, 'POST', `/api/v1/users/${disabled.id}/disable`);
  await server.call(server.administrator, 'POST', '/api/v1/users', {
    body: { name: 'bare' },
  });
  const attempts = [
    { name: 'nobody', password: PASSWORD },
    { name: 'aya', password: 'seven quiet heron' },
    { name: 'ken', password: PASSWORD },
    { name: 'ken', password: 'wrong' },
    { name: 'bare', password: PASSWORD },
    { name: 'nobody', password: PASSWORD, newPassword: 'seven loud herons' },
  ];
  const answers = new Set<string>();
  for (const attempt of attempts) {
    const answer = await server.signIn(attempt);
    assert.equal(answer.statusCode, 401);
    assert.equal(answer.headers['set-cookie'], undefined);
    answers.add(JSON.stringify({ ...problemSchema.parse(answer.json()), requestId: '' }));
  }
  assert.equal(answers.size, 1);
  const recorded = (await server.audit('session.create')).filter((e) => e.outcome === 'denied');
  assert.deepEqual(
    recorded.map(({ reason, resourceName }) => [reason, resourceName]),
    [
      ['unknown user name', null],
      ['wrong password', 'aya'],
      ['the user is disabled', 'ken'],
      ['wrong password', 'ken'],
      ['no password was ever set', 'bare'],
      ['unknown user name', null],
    ],
  );
  assert.ok(recorded.every((event) => event.sourceAddress === '192.0.2.1'));
});

test('guessing is slowed down alike for names that exist and names that do not', async (t) => {
  const server = await startSignInServer(t);
  await server.user('aya');
  const seen: unknown[] = [];
  for (const [index, name] of ['aya', 'nobody'].entries()) {
    const from = `198.51.100.${index}`;
    const statuses: number[] = [];
    for (let n = 0; n < 8; n += 1)
      statuses.push((await server.signIn({ name, password: 'wrong' }, {}, from)).statusCode);
    const right = await server.signIn({ name, password: PASSWORD }, {}, '203.0.113.1');
    assert.equal(right.statusCode, 429);
    const problem = { ...problemSchema.parse(right.json()), requestId: '' };
    seen.push({ statuses, problem, retryAfter: right.headers['retry-after'] });
  }
  assert.deepEqual(seen[0], seen[1]);
  assert.deepEqual(
    (seen[0] as { statuses: number[] }).statuses,
    [401, 401, 401, 401, 401, 429, 429, 429],
  );
  server.clock.nowMs += 10_000;
  assert.equal((await server.signIn({ name: 'aya', password: PASSWORD })).statusCode, 201);
  assert.equal((await server.signIn({ name: 'aya', password: 'wrong' })).statusCode, 401);
});

test('one address cannot try many accounts, and others are not shut out by it', async (t) => {
  const server = await startSignInServer(t);
  await server.user('aya');
  const statuses: number[] = [];
  for (let n = 0; n < 25; n += 1)
    statuses.push(
      (await server.signIn({ name: `guess-${n}`, password: 'x' }, {}, '198.51.100.7')).statusCode,
    );
  assert.deepEqual(statuses.slice(20), [429, 429, 429, 429, 429]);
  assert.equal(
    (await server.signIn({ name: 'aya', password: PASSWORD }, {}, '198.51.100.8')).statusCode,
    201,
  );
});

test('sessions end when they are idle, and after their time in any case', async (t) => {
  const server = await startSignInServer(t);
  await server.user('aya');
  const aya = await server.browser('aya');
  const status = async () => (await aya.call('GET', WHOAMI)).statusCode;
  for (let hour = 0; hour < 12; hour += 1) {
    assert.equal(await status(), 200, `hour ${hour}`);
    server.clock.nowMs += 59 * 60_000;
  }
  server.clock.nowMs += 12 * 60_000;
  assert.equal(await status(), 401);
  const idle = await server.browser('aya');
  server.clock.nowMs += 3600_000;
  assert.equal((await idle.call('GET', WHOAMI)).statusCode, 401);
});

test('one sees and ends one’s own sessions, others’ only with the right to manage access', async (t) => {
  const server = await startSignInServer(t);
  const user = await server.user('aya');
  await server.user('ken');
  const [one, two, ken] = [
    await server.browser('aya'),
    await server.browser('aya'),
    await server.browser('ken'),
  ];
  const list = (await two.call('GET', '/api/v1/sessions')).json<{ items: Session[] }>().items;
  assert.equal(list.length, 3);
  assert.deepEqual(
    list.filter((s) => s.isCurrent).map((s) => s.id),
    [two.sessionId],
  );
  const ofAya = `/api/v1/sessions?userId=${user.id}`;
  assert.equal((await ken.call('GET', ofAya)).statusCode, 403);
  assert.equal((await server.call(server.administrator, 'GET', ofAya)).statusCode, 200);
  const url = `/api/v1/sessions/${one.sessionId}`;
  assert.equal((await ken.call('DELETE', url)).statusCode, 404, 'IDOR');
  assert.equal((await one.call('GET', WHOAMI)).statusCode, 200);
  assert.equal((await two.call('DELETE', url)).statusCode, 204);
  assert.equal((await one.call('GET', WHOAMI)).statusCode, 401);
  const out = await two.call('DELETE', '/api/v1/sessions/current');
  assert.equal(out.statusCode, 204);
  assert.match(String(out.headers['set-cookie']), /^komadori-session=;.*Max-Age=0/);
  assert.equal((await two.call('GET', WHOAMI)).statusCode, 401);
  assert.equal((await server.audit('session.end')).at(-1)?.outcome, 'succeeded');
});

test('a changed password ends all other ways in and renews the session of the change', async (t) => {
  const server = await startSignInServer(t);
  await server.user('aya');
  const [here, there] = [await server.browser('aya'), await server.browser('aya')];
  const token = (await here.call('POST', '/api/v1/tokens', { body: { name: 'ci' } })).json<{
    secret: string;
  }>().secret;
  const change = (body: object) => here.call('POST', '/api/v1/account/password', { body });
  const next = 'nine restless storks';
  assert.equal((await change({ newPassword: next })).statusCode, 400);
  assert.equal((await change({ currentPassword: 'wrong', newPassword: next })).statusCode, 403);
  assert.equal((await change({ currentPassword: PASSWORD, newPassword: 'short' })).statusCode, 400);
  assert.equal(
    (await change({ currentPassword: PASSWORD, newPassword: PASSWORD })).statusCode,
    400,
  );
  const done = await change({ currentPassword: PASSWORD, newPassword: next });
  assert.equal(done.statusCode, 204, done.body);
  for (const old of [here, there]) assert.equal((await old.call('GET', WHOAMI)).statusCode, 401);
  assert.equal((await server.call(token, 'GET', WHOAMI)).statusCode, 401);
  const renewed = await server.call(null, 'GET', WHOAMI, { headers: { cookie: cookieOf(done) } });
  assert.equal(renewed.statusCode, 200);
  assert.notEqual(renewed.json<Whoami>().session?.csrfToken, here.csrfToken);
  assert.equal((await server.signIn({ name: 'aya', password: PASSWORD })).statusCode, 401);
  assert.equal((await server.signIn({ name: 'aya', password: next })).statusCode, 201);
  const outcomes = (await server.audit('user.change-password')).map((event) => event.outcome);
  assert.deepEqual(outcomes, ['failed', 'denied', 'failed', 'failed', 'succeeded']);
});

test('a program signs in for a token that expires', async (t) => {
  const server = await startSignInServer(t);
  await server.user('aya');
  const answer = await server.signIn({
    name: 'aya',
    password: PASSWORD,
    as: 'token',
    tokenName: 'laptop',
    tokenLifetimeSeconds: 3600,
  });
  assert.equal(answer.headers['set-cookie'], undefined);
  const { token } = answer.json<{ token: { secret: string } }>();
  const whoami = () => server.call(token.secret, 'GET', WHOAMI);
  assert.equal((await whoami()).json<Whoami>().signInMethod, 'token');
  server.clock.nowMs += 3600_000;
  assert.equal((await whoami()).statusCode, 401);
});

test('hashes are renewed at the next sign-in when their parameters are no longer those of today', async (t) => {
  const server = await startSignInServer(t);
  const user = await server.user('aya');
  const outdated = await createPasswordHasher({ memoryKib: 32, passes: 1, lanes: 1 }).hash(
    PASSWORD,
  );
  await server.catalog.write((tx) =>
    tx
      .updateTable('users')
      .set({ password_hash: outdated })
      .where('principal_id', '=', user.id)
      .execute(),
  );
  const before = await server.browser('aya');
  const row = await server.catalog.read.selectFrom('users').selectAll().executeTakeFirstOrThrow();
  assert.match(row.password_hash ?? '', /^\$argon2id\$v=19\$m=64,/);
  assert.equal((await before.call('GET', WHOAMI)).statusCode, 200, 'it is the same password');
  assert.equal((await server.signIn({ name: 'aya', password: PASSWORD })).statusCode, 201);
});

test('no password and no session secret is ever logged, audited or returned', async (t) => {
  const lines: string[] = [];
  const record = (fields: LogFields, message: string): void =>
    void lines.push(JSON.stringify({ ...fields, message }));
  const logger: Logger = { ...silentLogger, info: record, warn: record, error: record };
  const server = await startSignInServer(t, { logger });
  const user = await server.user('aya');
  const aya = await server.browser('aya');
  await server.signIn({ name: PASSWORD, password: 'aya' });
  await server.signIn({ name: 'aya', password: `${PASSWORD}x`, unexpected: PASSWORD });
  await aya.call('GET', WHOAMI);
  const shown = await server.call(server.administrator, 'GET', `/api/v1/users/${user.id}`);
  const audit = await server.call(server.administrator, 'GET', '/api/v1/audit-events?limit=500');
  const all = [...lines, shown.body, audit.body].join('\n');
  for (const secret of [PASSWORD, aya.cookie.slice(COOKIE.length + 1), aya.csrfToken, 'argon2'])
    assert.ok(!all.includes(secret), secret);
});

test('oversized and malformed sign-ins are refused before anything is hashed', async (t) => {
  const server = await startSignInServer(t);
  const long = 'x'.repeat(257);
  const bad: object[] = [
    {},
    { name: 'aya' },
    { name: 'aya', password: '' },
    { name: 'aya', password: long },
    { name: long, password: 'x' },
    { name: ['aya'], password: 'x' },
    { name: 'aya', password: { $ne: '' } },
    { name: 'aya', password: 'x', role: 'administrator' },
    { name: 'aya', password: 'x', tokenLifetimeSeconds: 1e12, as: 'token' },
    { name: 'aya', password: 'x', as: 'administrator' },
  ];
  for (const body of bad)
    assert.equal((await server.signIn(body)).statusCode, 400, JSON.stringify(body).slice(0, 80));
  const huge = await server.signIn({ name: 'aya', password: 'x'.repeat(2 ** 20) });
  assert.equal(huge.statusCode, 413);
  const deep = await server.app.inject({
    method: 'POST',
    url: '/api/v1/sessions',
    headers: { 'content-type': 'application/json' },
    payload: '['.repeat(100_000),
  });
  assert.equal(deep.statusCode, 400);
  const polluted = await server.app.inject({
    method: 'POST',
    url: '/api/v1/sessions',
    headers: { 'content-type': 'application/json' },
    payload: '{"__proto__":{"as":"token"},"name":"aya","password":"x"}',
  });
  assert.equal(polluted.statusCode, 400);
  assert.equal((await server.audit('session.create')).length, 0);
});

test('users are only taken over by who has all of their rights', async (t) => {
  const server = await startSignInServer(t);
  const user = await server.user('boss', 'administrator');
  const weak = await server.token('administrator', { rights: ['manage-access'], name: 'weak' });
  const url = `/api/v1/users/${user.id}`;
  const attempts: [string, 'POST' | 'PATCH', object][] = [
    [`${url}/password`, 'POST', { temporaryPassword: 'eleven bright cranes' }],
    [`${url}/disable`, 'POST', {}],
    [url, 'PATCH', { displayName: 'x' }],
    ['/api/v1/users', 'POST', { name: 'puppet', bindings: [{ role: 'administrator' }] }],
  ];
  for (const [target, method, body] of attempts)
    assert.equal((await server.call(weak, method, target, { body })).statusCode, 403, target);
  assert.equal((await server.signIn({ name: 'boss', password: PASSWORD })).statusCode, 201);
  const list = await server.call(server.administrator, 'GET', '/api/v1/users');
  assert.ok(!list.json<{ items: User[] }>().items.some((one) => one.name === 'puppet'));
});
