import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm, watch } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Logger } from '../../shared/logger.ts';
import { silentLogger } from '../../shared/logger.ts';
import type { NbdExport, NbdExportDirectory, NbdServerLimits } from './exports.ts';
import { startNbdServer } from './server.ts';

const execute = promisify(execFile);

export interface TestFolder extends AsyncDisposable {
  readonly path: string;
  file(name: string): string;
}

export async function createTestFolder(): Promise<TestFolder> {
  const path = await mkdtemp(join(tmpdir(), 'komadori-nbd-'));
  return {
    path,
    file: (name) => join(path, name),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

export async function runTool(command: string, ...args: string[]): Promise<string> {
  const { stdout } = await execute(command, args, { timeout: 30_000 });
  return stdout;
}

/** Runs until disposed of; ready once its pid file has appeared in the folder. */
export async function startQemuNbd(
  folder: TestFolder,
  ...args: string[]
): Promise<AsyncDisposable & { process: ChildProcess }> {
  const pidName = 'qemu-nbd.pid';
  const given = new AbortController();
  const appeared = (async () => {
    const events = watch(folder.path, { signal: given.signal });
    for await (const event of events) if (event.filename === pidName) return;
  })();
  const child = spawn('qemu-nbd', ['--persistent', '--pid-file', folder.file(pidName), ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let complaint = '';
  child.stderr.on('data', (text: Buffer) => {
    complaint += text.toString();
  });
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
  });
  const failed = exited.then(() => {
    throw new Error(`qemu-nbd ended: ${complaint}`);
  });
  try {
    await Promise.race([appeared, failed]);
  } finally {
    given.abort();
    appeared.catch(() => undefined);
    failed.catch(() => undefined);
  }
  return {
    process: child,
    async [Symbol.asyncDispose]() {
      child.kill();
      await exited;
    },
  };
}

/** A port that was free a moment ago. */
export async function findFreePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise((resolve) => {
    server.close(resolve);
  });
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** Files as qemu-nbd wants them, plus an authority that signed nothing here. */
export async function createCertificates(folder: TestFolder): Promise<void> {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  for (const ca of ['ca', 'other-ca']) {
    await runTool(
      'openssl',
      'req',
      '-x509',
      ...key,
      '-days',
      '2',
      '-subj',
      `/CN=${ca}`,
      '-keyout',
      folder.file(`${ca}-key.pem`),
      '-out',
      folder.file(`${ca}-cert.pem`),
    );
  }
  for (const [name, ca, names] of [
    ['server', 'ca', 'DNS:nbd.test,IP:127.0.0.1'],
    ['client', 'ca', 'DNS:client.test'],
    ['stranger', 'other-ca', 'DNS:client.test'],
  ] as const) {
    await runTool(
      'openssl',
      'req',
      '-x509',
      ...key,
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
      '-CA',
      folder.file(`${ca}-cert.pem`),
      '-CAkey',
      folder.file(`${ca}-key.pem`),
      '-addext',
      `subjectAltName=${names}`,
      '-addext',
      'basicConstraints=critical,CA:FALSE',
      '-keyout',
      folder.file(`${name}-key.pem`),
      '-out',
      folder.file(`${name}-cert.pem`),
    );
  }
}

/** An export in memory; `content` is the truth that tests compare with. */
export function createMemoryExport(
  content: Uint8Array,
  options: { readOnly?: boolean; blockBytes?: number } = {},
): NbdExport {
  const blockBytes = options.blockBytes ?? 4096;
  return {
    sizeBytes: content.length,
    readOnly: options.readOnly ?? true,
    async readInto(offset, target) {
      target.set(content.subarray(offset, offset + target.length));
    },
    async extents(offset, lengthBytes) {
      const extents: { offset: number; lengthBytes: number; zero: boolean }[] = [];
      const end = offset + lengthBytes;
      for (let at = offset; at < end;) {
        const next = Math.min(end, (Math.floor(at / blockBytes) + 1) * blockBytes);
        const zero = Buffer.from(content.buffer, content.byteOffset + at, next - at).equals(
          new Uint8Array(next - at),
        );
        extents.push({ offset: at, lengthBytes: next - at, zero });
        at = next;
      }
      return extents;
    },
    async write(offset, data) {
      content.set(data, offset);
    },
    async writeZeroes(offset, lengthBytes) {
      content.fill(0, offset, offset + lengthBytes);
    },
    async flush() {
      await Promise.resolve();
    },
  };
}

export function createDirectory(exports: Record<string, NbdExport>): NbdExportDirectory {
  return {
    open: async (name) => (Object.hasOwn(exports, name) ? (exports[name] ?? null) : null),
    list: async () => Object.keys(exports),
  };
}

export async function serveExports(
  folder: TestFolder,
  exports: Record<string, NbdExport>,
  limits: Partial<NbdServerLimits> = {},
  logger: Logger = silentLogger,
) {
  const socketPath = folder.file('nbd');
  const server = await startNbdServer({
    listen: { socketPath },
    exports: createDirectory(exports),
    limits,
    logger,
  });
  return {
    server,
    address: { socketPath },
    uri: (name: string) => `nbd+unix:///${name}?socket=${socketPath}`,
    [Symbol.asyncDispose]: () => server.close(),
  };
}
