import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { listenForMemory, type MemoryListener } from './memory-listener.ts';
import { RELAY_EXIT, startMemoryRelay } from './memory-relay.ts';

const PART = randomBytes(1024 * 1024);
const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
let folder = '';

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'komadori-relay-'));
});
after(async () => await rm(folder, { recursive: true, force: true }));

async function connectAsEmulator(socketPath: string): Promise<Socket> {
  const socket = connect(socketPath);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  return socket;
}

const send = async (socket: Socket, bytes: Uint8Array): Promise<void> =>
  await new Promise<void>((resolve, reject) => {
    socket.write(bytes, (error) => (error ? reject(error) : resolve()));
  });

const finish = async (socket: Socket): Promise<void> =>
  await new Promise<void>((resolve) => {
    socket.once('close', () => resolve());
    socket.end();
    socket.resume();
  });

interface Received {
  readonly listener: MemoryListener;
  readonly digest: ReturnType<typeof createHash>;
  failure: Error | null;
  bytes: number;
}

async function listen(name: string): Promise<Received> {
  const received: Omit<Received, 'listener'> = {
    digest: createHash('sha256'),
    failure: null,
    bytes: 0,
  };
  const listener = await listenForMemory({
    socketPath: path.join(folder, `${name}.sock`),
    owner,
    spoolFolder: folder,
    sink: {
      write(bytes) {
        received.bytes += bytes.length;
        received.digest.update(bytes);
      },
      end: () => undefined,
      fail(error) {
        received.failure = error;
      },
    },
  });
  return Object.assign(received, { listener });
}

describe('the relay of the memory stream', () => {
  it('hands on every byte, and says so only when the stream is complete', async () => {
    const received = await listen('whole');
    const emulator = await connectAsEmulator(received.listener.uri.slice('unix:'.length));
    const expected = createHash('sha256');
    for (let part = 0; part < 40; part += 1) {
      await send(emulator, PART);
      expected.update(PART);
    }
    await received.listener.pagesFlow;
    await finish(emulator);
    await received.listener.ended;
    assert.equal(received.bytes, 40 * PART.length);
    assert.equal(received.digest.digest('hex'), expected.digest('hex'));
    assert.equal(received.failure, null);
    await received.listener.close();
  });

  it('takes the rest of the stream when the worker gives up', async () => {
    const received = await listen('given-up');
    const emulator = await connectAsEmulator(received.listener.uri.slice('unix:'.length));
    await send(emulator, PART);
    const closing = received.listener.close();
    for (let part = 0; part < 100; part += 1) await send(emulator, PART);
    await finish(emulator);
    await closing;
    assert.ok(received.failure, 'the sink learns that the stream was given up');
  });

  it('invariant 1: takes the rest of the stream when the worker is killed', async () => {
    const emulatorSocketPath = path.join(folder, 'killed.sock');
    const request = {
      emulatorSocketPath,
      workerSocketPath: path.join(folder, 'killed-worker.sock'),
      spoolFolder: folder,
      ...owner,
    };
    const program = `
      const { startMemoryRelay } = await import(${JSON.stringify(path.join(import.meta.dirname, 'memory-relay.ts'))});
      const relay = await startMemoryRelay(${JSON.stringify(request)});
      relay.stream.on('data', () => undefined);
      process.stdout.write('connected');
      setInterval(() => undefined, 1000);`;
    const worker = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise<void>((resolve) => worker.stdout.once('data', () => resolve()));
    const emulator = await connectAsEmulator(emulatorSocketPath);
    await send(emulator, PART);
    const gone = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    worker.kill('SIGKILL');
    await gone;
    for (let part = 0; part < 200; part += 1) await send(emulator, PART);
    await finish(emulator);
  });

  it('never holds the emulator back for a worker that takes nothing', async () => {
    const emulatorSocketPath = path.join(folder, 'slow.sock');
    const relay = await startMemoryRelay({
      emulatorSocketPath,
      workerSocketPath: path.join(folder, 'slow-worker.sock'),
      spoolFolder: folder,
      ...owner,
    });
    relay.stream.pause();
    const emulator = await connectAsEmulator(emulatorSocketPath);
    for (let part = 0; part < 150; part += 1) await send(emulator, PART);
    await finish(emulator);
    let bytes = 0;
    relay.stream.on('data', (part: Buffer) => {
      bytes += part.length;
    });
    relay.stream.resume();
    assert.equal(await relay.exited, RELAY_EXIT.complete);
    await new Promise<void>((resolve) =>
      relay.stream.closed ? resolve() : relay.stream.once('close', () => resolve()),
    );
    assert.equal(bytes, 150 * PART.length);
  });
});
