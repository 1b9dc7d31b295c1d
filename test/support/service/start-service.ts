import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, openSync, closeSync, readdirSync } from 'node:fs';
import { chmod, cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { createClient, type Client } from '../../../src/client/client.ts';
import { childrenOf, findChild, processRuns } from './process-tree.ts';
import { waitUntil } from './wait-until.ts';

const ROOT = path.resolve(import.meta.dirname, '../../..');
const IMAGES_FOLDER = '/var/lib/libvirt/images';
const FOLDER_PREFIX = 'kmd-service-';
/** Tests look for moments that pass within milliseconds. */
const UNHURRIED = { callsPerTokenAndMinute: 100_000 };
const START_TIMEOUT_MS = 90_000;
const STOP_TIMEOUT_MS = 60_000;
const LOG_TAIL_CHARACTERS = 4000;

export interface ServiceOptions {
  /** Keys of the configuration file beside `dataFolder`. */
  readonly config?: Readonly<Record<string, unknown>>;
}

/** A real `komadori serve` of a test, in a data folder of its own. */
export interface TestService {
  readonly folder: string;
  readonly scratchFolder: string;
  readonly repositoryFolder: string;
  readonly exportFolder: string;
  /** Speaks as the first administrator; a new one after each start. */
  readonly client: Client;
  readonly url: string;
  readonly token: string;
  /** Other keys in the configuration file from the next start on. */
  configure(config: Readonly<Record<string, unknown>>): Promise<void>;
  /** Starts it again after `stop` or `kill`, on the same data; throws with its last words if it ends. */
  start(): Promise<void>;
  stop(): Promise<void>;
  workerPid(): Promise<number>;
  /** `kill -9` of the worker alone; resolves when another one is at work. */
  killWorker(): Promise<void>;
  /** `kill -9` of the parent and all that it started, at once. */
  killAll(): Promise<void>;
  /** `kill -9` of the parent; the others must find the end by themselves. */
  killParent(): Promise<void>;
  readLog(): Promise<string>;
  /** Stops what runs and removes the folder; never throws for what is gone already. */
  destroy(): Promise<void>;
}

interface Started {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly url: string;
  readonly token: string;
  readonly client: Client;
}

export async function startTestService(options: ServiceOptions = {}): Promise<TestService> {
  await removeLeftovers();
  const folder = await mkdtemp(path.join(IMAGES_FOLDER, `${FOLDER_PREFIX}${process.pid}-`));
  // QEMU's user must pass through to its scratch files.
  await chmod(folder, 0o711);
  const configPath = path.join(folder, 'komadori.json');
  // A server that is started again must be found where it was.
  const listen = { port: await findFreePort() };
  const configure = async (config: object): Promise<void> =>
    await writeFile(
      configPath,
      JSON.stringify({ dataFolder: folder, listen, ...UNHURRIED, ...config }),
    );
  await configure(options.config ?? {});
  const logPath = path.join(folder, 'serve.log');
  let started: Started | null = null;

  const require = (): Started => {
    if (!started) throw new Error('the service does not run');
    return started;
  };
  const untilGone = async (pids: readonly number[]): Promise<void> => {
    await waitUntil(
      `The end of the service's processes ${pids.join(', ')}`,
      async () => ((await Promise.all(pids.map(processRuns))).includes(true) ? undefined : true),
      { timeoutMs: STOP_TIMEOUT_MS },
    );
  };
  const end = async (kill: (pid: number, parts: readonly number[]) => void): Promise<void> => {
    if (!started) return;
    const { pid } = started;
    const pids = await childrenOf(pid);
    kill(pid, pids);
    try {
      await untilGone([pid, ...pids]);
    } catch (error) {
      for (const left of [pid, ...pids]) killHard(left);
      throw error;
    } finally {
      started = null;
    }
  };

  const service: TestService = {
    folder,
    scratchFolder: path.join(folder, 'scratch'),
    repositoryFolder: path.join(folder, 'repository'),
    exportFolder: path.join(folder, 'exports'),
    get client() {
      return require().client;
    },
    get url() {
      return require().url;
    },
    get token() {
      return require().token;
    },
    configure,
    async start() {
      if (started) throw new Error('the service runs already');
      started = await launch(folder, configPath, logPath);
    },
    stop: async () => await end((pid) => process.kill(pid, 'SIGTERM')),
    async workerPid() {
      const pid = await findChild(require().pid, 'worker-process');
      if (pid === undefined) throw new Error('there is no worker');
      return pid;
    },
    async killWorker() {
      const before = await service.workerPid();
      process.kill(before, 'SIGKILL');
      await waitUntil('The start of another worker', async () => {
        const pid = await findChild(require().pid, 'worker-process');
        return pid !== undefined && pid !== before ? pid : undefined;
      });
    },
    killAll: async () =>
      await end((pid, children) => {
        for (const one of [pid, ...children]) killHard(one);
      }),
    killParent: async () => await end((pid) => killHard(pid)),
    readLog: async () => await readFile(logPath, 'utf8'),
    async destroy() {
      try {
        await service.stop();
      } finally {
        const keepIn = process.env['KOMADORI_TEST_LOGS'];
        if (keepIn) await cp(logPath, path.join(keepIn, `${path.basename(folder)}.log`));
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
  try {
    await service.start();
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  return service;
}

async function findFreePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const address = probe.address();
  await new Promise<void>((resolve) => probe.close(() => resolve()));
  if (address === null || typeof address === 'string') throw new Error('there is no free port');
  return address.port;
}

function killHard(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

async function launch(folder: string, configPath: string, logPath: string): Promise<Started> {
  const log = openSync(logPath, 'a', 0o600);
  const seenCharacters = (await readFile(logPath, 'utf8')).length;
  const child = spawn(path.join(ROOT, 'bin/komadori'), ['serve', '--config', configPath], {
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  const { pid } = child;
  if (pid === undefined) throw new Error('«komadori serve» could not be started');
  await writeFile(pidPathOf(folder), String(pid));
  let hasEnded = false;
  child.once('exit', () => {
    hasEnded = true;
  });
  const newLog = async (): Promise<string> =>
    (await readFile(logPath, 'utf8')).slice(seenCharacters);
  const url = await waitUntil(
    'The start of the service',
    async () => {
      if (hasEnded) {
        throw new Error(`«komadori serve» ended: ${(await newLog()).slice(-LOG_TAIL_CHARACTERS)}`);
      }
      return /http:\/\/127\.0\.0\.1:\d+/.exec(await newLog())?.[0];
    },
    { timeoutMs: START_TIMEOUT_MS },
  ).catch((error: unknown) => {
    killHard(pid);
    throw error;
  });
  const token = (await readFile(path.join(folder, 'admin-token'), 'utf8')).trim();
  return { child, pid, url, token, client: createClient({ baseUrl: url, token }) };
}

/** Services of test processes that were killed, and their folders. */
async function removeLeftovers(): Promise<void> {
  for (const name of readdirSync(IMAGES_FOLDER)) {
    const owner = new RegExp(`^${FOLDER_PREFIX}(\\d+)-`).exec(name)?.[1];
    if (owner === undefined || existsSync(`/proc/${owner}`)) continue;
    const folder = path.join(IMAGES_FOLDER, name);
    const pid = Number(await readFile(pidPathOf(folder), 'utf8').catch(() => '0'));
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    // A process id may belong to anything by now.
    if (commandLine.includes(folder)) killHard(pid);
    await rm(folder, { recursive: true, force: true });
  }
}

const pidPathOf = (folder: string): string => path.join(folder, 'serve.pid');
