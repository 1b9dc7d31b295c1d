import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { z } from 'zod';
import { silentLogger } from '../shared/logger.ts';
import { waitFor } from '../shared/waiting.ts';
import { startServer } from './server.ts';

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'server-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

const whoami = async (url: string, token: string) =>
  (await fetch(`${url}/api/v1/whoami`, { headers: { authorization: `Bearer ${token}` } })).status;

test('the first start makes one administrator whose token works, later starts none', async (t) => {
  const folder = await temporaryFolder(t);
  const options = {
    databasePath: path.join(folder, 'catalog.db'),
    listen: { host: '127.0.0.1', port: 0 },
    logger: silentLogger,
    firstTokenFile: path.join(folder, 'token'),
  };
  const first = await startServer(options);
  assert.ok(first.firstToken);
  assert.equal(await whoami(first.url, first.firstToken), 200);
  assert.equal((await stat(options.firstTokenFile)).mode & 0o777, 0o600);
  assert.equal((await readFile(options.firstTokenFile, 'utf8')).trim(), first.firstToken);
  await first.close();
  const second = await startServer(options);
  t.after(() => second.close());
  assert.equal(second.firstToken, undefined);
  assert.equal(await whoami(second.url, first.firstToken), 200);
});

test('no administrator is made when the token cannot be delivered', async (t) => {
  const folder = await temporaryFolder(t);
  const options = {
    databasePath: path.join(folder, 'catalog.db'),
    listen: { host: '127.0.0.1', port: 0 },
    logger: silentLogger,
  };
  await assert.rejects(startServer({ ...options, firstTokenFile: path.join(folder, 'no/token') }));
  const server = await startServer(options);
  t.after(() => server.close());
  assert.ok(server.firstToken);
});

test('the rate limit that was asked for is the one that holds', async (t) => {
  const folder = await temporaryFolder(t);
  const server = await startServer({
    databasePath: path.join(folder, 'catalog.db'),
    listen: { host: '127.0.0.1', port: 0 },
    logger: silentLogger,
    rateLimits: { perTokenAndMinute: 3, failuresPerAddressAndMinute: 60 },
  });
  t.after(() => server.close());
  const token = server.firstToken ?? '';
  const answers: number[] = [];
  for (let call = 0; call < 4; call += 1) answers.push(await whoami(server.url, token));
  assert.deepEqual(answers, [200, 200, 200, 429]);
});

test('as a process it says where it listens, and ends on SIGTERM', async (t) => {
  const folder = await temporaryFolder(t);
  const child = spawn(
    process.execPath,
    [
      path.join(import.meta.dirname, 'server.ts'),
      '--database',
      path.join(folder, 'c.db'),
      '--port',
      '0',
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  t.after(() => child.kill('SIGKILL'));
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').once('data', resolve);
    child.once('exit', () => reject(new Error(`the server ended: ${log}`)));
  });
  const { url, firstToken } = z
    .object({ url: z.url(), firstToken: z.string() })
    .parse(JSON.parse(line));
  assert.equal(await whoami(url, firstToken), 200);
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  assert.equal(await exited, 0);
  assert.ok(!log.includes(firstToken), 'the token is in the log');
});

test('closing does not wait for a connection on which nobody asks anything', async (t) => {
  const folder = await temporaryFolder(t);
  const server = await startServer({
    databasePath: path.join(folder, 'catalog.db'),
    listen: { host: '127.0.0.1', port: 0 },
    logger: silentLogger,
    firstTokenFile: path.join(folder, 'token'),
  });
  const silent = connect(Number(new URL(server.url).port), '127.0.0.1');
  await once(silent, 'connect');
  const ended = once(silent, 'close');
  silent.resume();
  await waitFor(server.close(), { timeoutMs: 15_000, what: 'Closing the server' });
  await ended;
});
