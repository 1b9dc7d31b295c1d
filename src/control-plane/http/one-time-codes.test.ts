import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Secret, TOTP } from 'otpauth';
import type { Account } from '../../contract/account.ts';
import { problemSchema } from '../../contract/problem.ts';
import { findStep, uriOf } from '../access/one-time-codes.ts';
import {
  cookieOf,
  PASSWORD,
  startSignInServer,
  type Browser,
  type SignInServer,
} from './sign-in.test-suite.ts';

const BASE = '/api/v1/account/one-time-codes';
const STEP_MS = 30_000;

const codeAt = (server: SignInServer, secret: string): string =>
  new TOTP({ secret: Secret.fromBase32(secret) }).generate({ timestamp: server.clock.nowMs });

/** Leaves the clock where the code that confirmed it is used up. */
async function enrol(server: SignInServer, browser: Browser) {
  const begun = await browser.call('POST', BASE, { body: { password: PASSWORD } });
  assert.equal(begun.statusCode, 200, begun.body);
  const { secret } = begun.json<{ secret: string }>();
  const body = { code: codeAt(server, secret) };
  const confirmed = await browser.call('POST', `${BASE}/confirm`, { body });
  assert.equal(confirmed.statusCode, 200, confirmed.body);
  return {
    secret,
    recoveryCodes: confirmed.json<{ recoveryCodes: string[] }>().recoveryCodes,
    renewedCookie: cookieOf(confirmed),
  };
}

test('the vectors of RFC 6238 hold, one step early or late is taken, two are not', () => {
  const secret = Secret.fromLatin1('12345678901234567890').base32;
  assert.equal(findStep(secret, '287082', new Date(59_000)), 1);
  assert.equal(findStep(secret, '081804', new Date(1_111_111_109_000)), 37_037_036);
  assert.equal(findStep(secret, '287 082', new Date(59_000 + STEP_MS)), 1);
  assert.equal(findStep(secret, '287082', new Date(59_000 + 2 * STEP_MS)), undefined);
  for (const code of ['', '28708', '2870822', 'abcdef', '２８７０８２'])
    assert.equal(findStep(secret, code, new Date(59_000)), undefined, code);
  assert.equal(
    uriOf(secret, 'aya@example'),
    `otpauth://totp/Komadori:aya%40example?issuer=Komadori&secret=${secret}&algorithm=SHA1&digits=6&period=30`,
  );
});

test('once set up, a sign-in takes a code, each code once, and no answer tells what was wrong', async (t) => {
  const server = await startSignInServer(t);
  await server.user('aya');
  const aya = await server.browser('aya');
  const { secret } = await enrol(server, aya);
  const attempt = async (more: object) =>
    await server.signIn({ name: 'aya', password: PASSWORD, ...more });
  const used = codeAt(server, secret);
  const answers = new Set<string>();
  for (const more of [{}, { code: used }, { code: '000000' }, { password: 'wrong', code: used }]) {
    const answer = await attempt(more);
    assert.equal(answer.statusCode, 401);
    answers.add(JSON.stringify({ ...problemSchema.parse(answer.json()), requestId: '' }));
  }
  assert.equal(answers.size, 1);
  const reasons = (await server.audit('session.create')).map((event) => event.reason);
  assert.deepEqual(reasons.slice(-4), [
    'missing one-time code',
    'wrong one-time code',
    'wrong one-time code',
    'wrong password',
  ]);
  server.clock.nowMs += STEP_MS;
  const code = codeAt(server, secret);
  // A wrong password does not use the code up.
  server.clock.nowMs += 11_000;
  const both = await Promise.all([attempt({ code }), attempt({ code })]);
  const statuses = both.map((answer) => answer.statusCode);
  assert.ok(statuses.includes(201) && statuses.some((status) => status >= 401), String(statuses));
});

test('setting up renews the session, ends the others, and needs the password and a code', async (t) => {
  const server = await startSignInServer(t);
  await server.user('aya');
  const [here, there] = [await server.browser('aya'), await server.browser('aya')];
  assert.equal((await here.call('POST', BASE, { body: { password: 'wrong' } })).statusCode, 403);
  const early = await here.call('POST', `${BASE}/confirm`, { body: { code: '123456' } });
  assert.equal(early.statusCode, 409);
  const begun = await here.call('POST', BASE, { body: { password: PASSWORD } });
  const { secret } = begun.json<{ secret: string }>();
  const wrong = await here.call('POST', `${BASE}/confirm`, { body: { code: '000000' } });
  assert.equal(wrong.statusCode, 400);
  assert.equal(
    (await server.signIn({ name: 'aya', password: PASSWORD })).statusCode,
    201,
    'not yet',
  );
  server.clock.nowMs += 16 * 60_000;
  const late = await here.call('POST', `${BASE}/confirm`, {
    body: { code: codeAt(server, secret) },
  });
  assert.equal(late.statusCode, 409);
  const { renewedCookie } = await enrol(server, here);
  for (const old of [here, there])
    assert.equal((await old.call('GET', '/api/v1/account')).statusCode, 401);
  const account = await server.call(null, 'GET', '/api/v1/account', {
    headers: { cookie: renewedCookie },
  });
  assert.deepEqual(
    [account.json<Account>().user.oneTimeCodes, account.json<Account>().recoveryCodesLeft],
    [true, 10],
  );
  assert.ok(!account.body.includes(secret), 'the secret is shown once');
});

test('a recovery code stands in for a code, once, and new ones replace the old', async (t) => {
  const server = await startSignInServer(t);
  await server.user('aya');
  const { recoveryCodes, secret } = await enrol(server, await server.browser('aya'));
  assert.equal(recoveryCodes.length, 10);
  const [first = '', second = ''] = recoveryCodes;
  assert.match(first, /^[A-Z2-7]{4}(-[A-Z2-7]{4}){3}$/);
  const rows = await server.catalog.read.selectFrom('recovery_codes').selectAll().execute();
  assert.ok(!JSON.stringify(rows).includes(first.slice(0, 4)), 'only hashes are kept');
  const browser = await server.browser('aya', { code: first.toLowerCase().replaceAll('-', ' ') });
  assert.equal(
    (await server.signIn({ name: 'aya', password: PASSWORD, code: first })).statusCode,
    401,
  );
  server.clock.nowMs += STEP_MS;
  const renewed = await browser.call('POST', '/api/v1/account/recovery-codes', {
    body: { password: PASSWORD, code: codeAt(server, secret) },
  });
  assert.equal(renewed.statusCode, 200, renewed.body);
  assert.equal(
    (await server.signIn({ name: 'aya', password: PASSWORD, code: second })).statusCode,
    401,
  );
  const [fresh = ''] = renewed.json<{ recoveryCodes: string[] }>().recoveryCodes;
  assert.equal(
    (await server.signIn({ name: 'aya', password: PASSWORD, code: fresh })).statusCode,
    201,
  );
});

test('codes are removed by their owner with a code, or by an administrator for who has lost them', async (t) => {
  const server = await startSignInServer(t);
  const user = await server.user('aya');
  const { secret, recoveryCodes } = await enrol(server, await server.browser('aya'));
  const browser = await server.browser('aya', { code: recoveryCodes[0] });
  const remove = (body: object) => browser.call('DELETE', BASE, { body });
  assert.equal((await remove({ password: PASSWORD })).statusCode, 403);
  assert.equal((await remove({ password: 'wrong', code: recoveryCodes[1] })).statusCode, 403);
  server.clock.nowMs += STEP_MS;
  const code = codeAt(server, secret);
  assert.equal((await remove({ password: PASSWORD, code })).statusCode, 204);
  await enrol(server, await server.browser('aya'));
  const url = `/api/v1/users/${user.id}/one-time-codes`;
  assert.equal((await server.call(server.administrator, 'DELETE', url)).statusCode, 204);
  assert.equal((await server.call(server.administrator, 'DELETE', url)).statusCode, 409);
  assert.equal((await server.signIn({ name: 'aya', password: PASSWORD })).statusCode, 201);
});

test('a temporary password does not use the code up before the new one is chosen', async (t) => {
  const server = await startSignInServer(t);
  const user = await server.user('aya');
  const { secret } = await enrol(server, await server.browser('aya'));
  const temporaryPassword = 'for a forgetful day';
  await server.call(server.administrator, 'POST', `/api/v1/users/${user.id}/password`, {
    body: { temporaryPassword },
  });
  server.clock.nowMs += STEP_MS;
  const body = { name: 'aya', password: temporaryPassword, code: codeAt(server, secret) };
  assert.equal((await server.signIn(body)).statusCode, 409);
  const newPassword = 'nine restless storks';
  assert.equal((await server.signIn({ ...body, newPassword })).statusCode, 201);
});
