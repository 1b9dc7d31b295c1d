import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { sampleJob, sampleRequest, sampleVm } from '../client/samples.test-suite.ts';
import { startTableServer, TABLE_TOKEN } from '../client/table-server.test-suite.ts';
import type { TableServer } from '../client/table-server.test-suite.ts';

const LAUNCHER = path.resolve(import.meta.dirname, '../../bin/komadori');
const WHOAMI = {
  principal: { id: 'u1', name: 'aya', kind: 'user' },
  roles: [],
  rights: ['view'],
  signInMethod: 'token',
  session: null,
  serverVersion: '1',
} as const;

let server: TableServer;
let folder: string;
before(async () => {
  server = await startTableServer({ whoami: () => WHOAMI });
  folder = await mkdtemp(path.join(tmpdir(), 'komadori-cli-'));
});
after(async () => {
  await server.close();
  await rm(folder, { recursive: true, force: true });
});
afterEach(() => {
  server.calls.length = 0;
});

/** Starts the launcher as a shell would; the process ends with the test even if it hangs. */
function start(argv: readonly string[], env: Record<string, string> = {}, launcher = LAUNCHER) {
  const child = spawn(launcher, argv, {
    env: { PATH: '/usr/bin:/bin', HOME: folder, XDG_CONFIG_HOME: folder, ...env },
    stdio: 'pipe',
    timeout: 30_000,
    killSignal: 'SIGKILL',
  });
  const seen = { output: '', errors: '' };
  child.stdout.setEncoding('utf8').on('data', (part: string) => (seen.output += part));
  child.stderr.setEncoding('utf8').on('data', (part: string) => (seen.errors += part));
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, ...seen }));
  return { child, seen, ended };
}

async function run(argv: readonly string[], env: Record<string, string> = {}, input = '') {
  const { child, ended } = start(argv, env);
  child.stdin.end(input);
  return await ended;
}

test('the launcher finds its Node through symbolic links, and passes arguments and exit codes on', async () => {
  const first = path.join(folder, 'first');
  const second = path.join(folder, 'second');
  await symlink(LAUNCHER, first);
  await symlink('first', second);
  const { child, ended } = start(
    ['vm', 'list', '--search', "a b'c"],
    { KOMADORI_URL: server.url },
    second,
  );
  child.stdin.end();
  const result = await ended;
  assert.equal(result.code, 3, result.errors);
  assert.match(result.errors, /unauthenticated/);
});

test('login keeps the token from stdin in a file that only its owner reads', async () => {
  const login = await run(['login', '--url', server.url], {}, `${TABLE_TOKEN}\n`);
  assert.equal(login.code, 0, login.errors);
  const file = path.join(folder, 'komadori', 'cli.json');
  assert.equal(login.output, `Signed in as aya. Stored in ${file}.\n`);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.equal((await stat(path.dirname(file))).mode & 0o777, 0o700);
  assert.deepEqual(JSON.parse(await readFile(file, 'utf8')), {
    url: server.url,
    token: TABLE_TOKEN,
  });

  assert.match((await run(['whoami'])).output, /aya \(user\)/);
  await chmod(file, 0o644);
  assert.match((await run(['whoami'])).errors, /can be read by others/);

  const other = await startTableServer({ whoami: () => WHOAMI });
  try {
    const elsewhere = await run(['whoami', '--url', other.url]);
    assert.equal(elsewhere.code, 3, 'a token goes only to the server that it was stored for');
  } finally {
    await other.close();
  }

  assert.equal((await run(['logout'])).code, 0);
  assert.equal((await run(['whoami'])).code, 3);
});

test('a wrong token is not stored', async () => {
  const login = await run(['login', '--url', server.url], { KOMADORI_TOKEN: 'wrong' });
  assert.equal(login.code, 3);
  assert.equal((await run(['whoami'])).code, 3);
});

const access = () => ({ KOMADORI_URL: server.url, KOMADORI_TOKEN: TABLE_TOKEN });

test('the first Ctrl-C stops waiting, with the operation left running', async () => {
  server.handlers = {
    snapshotCreate: () => sampleRequest(),
    eventStream: ({ response }) => response.writeHead(200).write(': hello\n\n'),
    requestGet: () => sampleRequest(),
    jobGet: () => sampleJob(),
  };
  const { child, seen, ended } = start(['snapshot', 'create', 'web-01'], access());
  while (!seen.errors.includes('capture')) await once(child.stderr, 'data');
  assert.match(seen.errors, /25%/);
  child.kill('SIGINT');
  const result = await ended;
  assert.equal(result.code, 130);
  assert.match(result.errors, /Stopped waiting; the operation goes on/);
  assert.ok(!server.calls.some((call) => /ancel/.test(call.operationId)));
});

test('a reader that has seen enough ends the output quietly', async () => {
  const many = Array.from({ length: 200 }, (_, index) => sampleVm({ name: `vm-${index}` }));
  let pages = 0;
  server.handlers = {
    vmList: () => {
      pages += 1;
      return { items: many, nextCursor: pages < 5 ? String(pages) : null };
    },
  };
  const { child, ended } = start(['vm', 'list', '--json'], access());
  child.stdout.destroy();
  const result = await ended;
  assert.equal(result.code, 0, result.errors);
  assert.equal(result.errors, '');
});
