import { spawn } from 'node:child_process';
import { existsSync, openSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createClient, type Client } from '../../src/client/client.ts';
import { DEFAULT_DATA_FOLDER } from '../../src/main/settings.ts';
import { SetupError } from '../setup/run-command.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 40_000;
const POLL_MS = 200;

export interface Service {
  readonly url: string;
  readonly tokenPath: string;
  readonly logPath: string;
  readonly pidPath: string;
  readonly client: Client;
}

/** Asks again and again until the answer is there; what is asked lives in another process. */
export async function poll<T>(
  what: string,
  timeoutMs: number,
  look: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline)
      throw new SetupError(`${what} did not happen within ${timeoutMs / 1000} s.`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Starts `komadori serve` so that it goes on after this script; one of an earlier run is replaced. */
export async function startService(port: number): Promise<Service> {
  const folder = DEFAULT_DATA_FOLDER;
  await mkdir(folder, { recursive: true });
  const pidPath = path.join(folder, 'serve.pid');
  const logPath = path.join(folder, 'serve.log');
  const tokenPath = path.join(folder, 'admin-token');
  await stopEarlier(pidPath);
  const url = `http://127.0.0.1:${port}`;
  if (await answers(url)) {
    throw new SetupError(
      `Something else listens on port ${port}; stop it, or set KOMADORI_PORT to another port.`,
    );
  }
  const log = openSync(logPath, 'w', 0o600);
  const child = spawn(
    path.join(ROOT, 'bin/komadori'),
    ['serve', '--data', folder, '--port', String(port)],
    {
      detached: true,
      stdio: ['ignore', log, log],
    },
  );
  child.unref();
  if (child.pid === undefined) throw new SetupError('«komadori serve» could not be started.');
  await writeFile(pidPath, `${child.pid}\n`);
  let ended = false;
  child.once('exit', () => {
    ended = true;
  });
  await poll('The start of «komadori serve»', START_TIMEOUT_MS, async () => {
    if (ended) throw new SetupError(`«komadori serve» ended; see ${logPath}.`);
    return (await answers(url)) && existsSync(tokenPath) ? true : undefined;
  });
  const token = (await readFile(tokenPath, 'utf8')).trim();
  return { url, tokenPath, logPath, pidPath, client: createClient({ baseUrl: url, token }) };
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(2_000) })).ok;
  } catch {
    // Nobody listens there (yet): that is the answer.
    return false;
  }
}

async function stopEarlier(pidPath: string): Promise<void> {
  const pid = await readFile(pidPath, 'utf8').then(
    (text) => Number(text.trim()),
    () => 0,
  );
  if (!(await isKomadori(pid))) return;
  process.kill(pid, 'SIGTERM');
  await poll('The end of the earlier «komadori serve»', STOP_TIMEOUT_MS, async () =>
    (await isKomadori(pid)) ? undefined : true,
  );
  await rm(pidPath, { force: true });
}

/** A process id may belong to anything by now; only our own service is ever stopped. */
async function isKomadori(pid: number): Promise<boolean> {
  if (!Number.isInteger(pid) || pid <= 1) return false;
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return commandLine.includes('src/main/cli.ts') && commandLine.includes('serve');
}
