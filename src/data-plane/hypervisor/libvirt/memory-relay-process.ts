import { chmod, chown, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { z } from 'zod';
import { createMemorySpool, type MemorySpool } from '../../migration-stream/memory-spool.ts';
import { RELAY_EXIT, relayRequestSchema, type RelayRequest } from './memory-relay.ts';

/** Longer than any preparation between the start of the relay and QEMU's connection. */
const EMULATOR_TIMEOUT_MS = 10 * 60_000;

/**
 * Stands between QEMU and the worker: takes the memory stream as fast as it comes and to its very
 * end, also when the worker is slow, hangs or dies. QEMU hangs for good when the stream of a
 * background snapshot breaks while a thread that holds its main lock waits for a page.
 */
async function relay(request: RelayRequest): Promise<number> {
  const spool = await createMemorySpool({ folder: request.spoolFolder });
  const emulator = takeEmulator(spool);
  const worker = giveToWorker(spool);
  await listen(emulator.server, request.emulatorSocketPath);
  await chown(request.emulatorSocketPath, request.uid, request.gid);
  await listen(worker.server, request.workerSocketPath);
  process.stdout.write('ready\n');
  const given = await worker.done;
  if (!given.complete) {
    emulator.discard();
    if (!emulator.isConnected()) return RELAY_EXIT.workerGone;
  }
  const taken = await emulator.done;
  await spool.close();
  await rm(request.emulatorSocketPath, { force: true });
  await rm(request.workerSocketPath, { force: true });
  if (!given.complete) return RELAY_EXIT.workerGone;
  return taken.complete ? RELAY_EXIT.complete : RELAY_EXIT.streamBroke;
}

interface Side {
  readonly server: Server;
  readonly done: Promise<{ complete: boolean }>;
}

function takeEmulator(spool: MemorySpool): Side & { discard(): void; isConnected(): boolean } {
  const done = Promise.withResolvers<{ complete: boolean }>();
  let stream: Socket | null = null;
  let isDiscarding = false;
  let isComplete = false;
  const fail = (error: Error): void => {
    if (isComplete) return;
    spool.fail(error);
    done.resolve({ complete: false });
  };
  const timer = setTimeout(() => fail(new Error('QEMU never connected')), EMULATOR_TIMEOUT_MS);
  const server = createServer((socket) => {
    if (stream) {
      socket.destroy();
      return;
    }
    stream = socket;
    clearTimeout(timer);
    socket.on('data', (bytes: Buffer) => {
      if (!isDiscarding) spool.write(bytes);
    });
    socket.on('end', () => {
      isComplete = true;
      spool.end();
      done.resolve({ complete: true });
    });
    socket.on('error', fail);
    socket.on('close', () => fail(new Error('QEMU closed the stream')));
  });
  return {
    server,
    done: done.promise,
    isConnected: () => stream !== null,
    discard() {
      isDiscarding = true;
      clearTimeout(timer);
      void spool.close();
    },
  };
}

function giveToWorker(spool: MemorySpool): Side {
  const done = Promise.withResolvers<{ complete: boolean }>();
  const server = createServer((socket) => {
    server.close();
    socket.on('error', () => done.resolve({ complete: false }));
    socket.on('close', () => done.resolve({ complete: false }));
    // Nothing is expected from the worker; reading shows when it goes.
    socket.resume();
    send(spool, socket).then(
      () => done.resolve({ complete: true }),
      () => {
        socket.destroy();
        done.resolve({ complete: false });
      },
    );
  });
  return { server, done: done.promise };
}

async function send(spool: MemorySpool, socket: Socket): Promise<void> {
  for await (const bytes of spool.read()) {
    await new Promise<void>((resolve, reject) => {
      socket.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
  }
  await new Promise<void>((resolve) => socket.end(() => resolve()));
}

async function listen(server: Server, path: string): Promise<void> {
  await rm(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => resolve());
  });
  await chmod(path, 0o600);
}

// Whoever stops the service must not cut the stream.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined);
const request = relayRequestSchema.parse(
  z
    .string()
    .transform((text): unknown => JSON.parse(text))
    .parse(process.argv[2]),
);
try {
  process.exit(await relay(request));
} catch {
  // The worker learns of it by this code; there is nobody else to tell.
  process.exit(RELAY_EXIT.failed);
}
