import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { Secret, TOTP } from 'otpauth';
import { startServer } from '../main/server.ts';
import { silentLogger } from '../shared/logger.ts';
import { runInProcess, type Typed } from './run-in-process.test-suite.ts';

const PASSWORD = 'seven quiet herons';

async function startAll(t: TestContext) {
  const folder = await mkdtemp(path.join(tmpdir(), 'cli-access-'));
  const server = await startServer({
    databasePath: path.join(folder, 'catalog.db'),
    listen: { host: '127.0.0.1', port: 0 },
    logger: silentLogger,
  });
  t.after(async () => {
    await server.close();
    await rm(folder, { recursive: true });
  });
  const env = { XDG_CONFIG_HOME: folder };
  const run = (argv: string[], more: { typed?: Typed[]; piped?: string; token?: string } = {}) =>
    runInProcess(argv, {
      env: { ...env, ...(more.token && { KOMADORI_TOKEN: more.token }) },
      ...(more.typed && {
        typed: more.typed.map(
          (typed) => (errors: string) => `${typeof typed === 'string' ? typed : typed(errors)}\n`,
        ),
        columns: 100,
      }),
      ...(more.piped !== undefined && { piped: more.piped }),
    });
  const administrator = server.firstToken ?? '';
  await run(['login', '--url', server.url], { token: administrator });
  return { run, url: server.url, file: path.join(folder, 'komadori', 'cli.json') };
}

test('from the first token to a password, a user, and a sign-in with one', async (t) => {
  const { run, url, file } = await startAll(t);
  const set = await run(['password'], { typed: [PASSWORD, PASSWORD] });
  assert.equal(set.code, 0, set.errors);
  const made = await run(['user', 'create', 'aya', '--role', 'operator', '--json']);
  assert.equal(made.code, 0, made.errors);
  const { temporaryPassword } = JSON.parse(made.output) as { temporaryPassword: string };
  const own = 'nine restless storks';
  const login = await run(['login', '--url', url], {
    typed: ['aya', temporaryPassword, '', own, own],
  });
  assert.equal(login.code, 0, login.errors);
  assert.match(login.output, /Signed in as aya/);
  for (const secret of [temporaryPassword, own])
    assert.ok(!login.errors.includes(secret) && !login.output.includes(secret), 'it is echoed');
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.ok(!(await readFile(file, 'utf8')).includes(own), 'the password is not kept');
  assert.match((await run(['whoami'])).output, /aya \(user\)/);
  assert.equal((await run(['user', 'list'])).code, 4);
  const stored = JSON.parse(await readFile(file, 'utf8')) as { token: string };
  assert.match((await run(['logout'])).output, /The token is revoked/);
  const after = await run(['whoami', '--url', url], { token: stored.token });
  assert.equal(after.code, 3, 'the token is worth nothing after signing out');
  const piped = await run(['login', '--url', url, '--user', 'aya'], { piped: `${own}\n` });
  assert.equal(piped.code, 0, piped.errors);
  const wrong = await run(['login', '--url', url, '--user', 'aya', '--lang', 'ja'], {
    piped: 'x\n',
  });
  assert.equal(wrong.code, 3);
});

test('one-time codes are set up, used and removed', async (t) => {
  const { run, url } = await startAll(t);
  await run(['password'], { typed: [PASSWORD, PASSWORD] });
  const cut = await run(['totp', 'setup'], { typed: [PASSWORD, '000000'] });
  assert.equal(cut.code, 2, cut.errors);
  const secret = /^ {2}([A-Z2-7]{32})$/m.exec(cut.errors)?.[1] ?? '';
  assert.match(cut.errors, /otpauth:\/\/totp\/Komadori:administrator/);
  assert.equal(secret.length, 32);
  assert.match((await run(['totp', 'status'])).output, /no/);
  const mismatch = await run(['password'], {
    typed: [PASSWORD, 'one thing here', 'another thing'],
  });
  assert.match(mismatch.errors, /not the same/);
  const codeFrom = (errors: string): string => {
    const shown = /^ {2}([A-Z2-7]{32})$/m.exec(errors)?.[1] ?? '';
    return new TOTP({ secret: Secret.fromBase32(shown) }).generate();
  };
  const done = await run(['totp', 'setup'], { typed: [PASSWORD, codeFrom] });
  assert.equal(done.code, 0, done.errors);
  const codes = done.output.trim().split('\n');
  assert.equal(codes.length, 10);
  assert.match((await run(['totp', 'status', '--json'])).output, /"recoveryCodesLeft": 10/);
  const login = ['login', '--url', url, '--user', 'administrator'];
  assert.equal((await run(login, { typed: [PASSWORD, ''] })).code, 3);
  assert.equal((await run(login, { typed: [PASSWORD, codes[0] ?? ''] })).code, 0);
  assert.equal((await run(login, { piped: `${PASSWORD}\n${codes[1]}\n` })).code, 0);
  const renewed = await run(['totp', 'recovery-codes'], { typed: [PASSWORD, codes[2] ?? ''] });
  assert.equal(renewed.code, 0, renewed.errors);
  const [fresh = ''] = renewed.output.split('\n');
  assert.equal((await run(['totp', 'remove'], { typed: [PASSWORD, fresh] })).code, 0);
  assert.equal((await run(login, { typed: [PASSWORD, ''] })).code, 0);
  const noTerminal = await run(['totp', 'remove']);
  assert.equal(noTerminal.code, 2);
  assert.match(noTerminal.errors, /no terminal/);
});

test('sessions and users are listed and changed', async (t) => {
  const { run } = await startAll(t);
  await run(['user', 'create', 'ken', '--full-name', 'Ken', '--no-password']);
  assert.match((await run(['user', 'list'])).output, /^ken +active/m);
  assert.match((await run(['user', 'set-password', 'ken'])).output, /shown only now: \S{19}/);
  assert.match((await run(['user', 'show', 'ken'])).output, /temporary password/);
  assert.equal((await run(['user', 'edit', 'ken', '--full-name', 'Ken K'])).code, 0);
  assert.equal((await run(['user', 'disable', 'ken'])).code, 0);
  assert.match((await run(['user', 'show', 'ken', '--lang', 'ja'])).output, /無効/);
  assert.equal((await run(['user', 'enable', 'ken'])).code, 0);
  assert.equal((await run(['user', 'reset-codes', 'ken'])).code, 6);
  assert.equal((await run(['user', 'show', 'nobody'])).code, 5);
  assert.equal((await run(['session', 'list', '--user', 'ken'])).code, 0);
  const id = '0193b0f0-0000-7000-8000-0000000000d1';
  assert.equal((await run(['session', 'revoke', id])).code, 5);
});
