import { chmod, chown, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { OperationError } from '../../../shared/errors.ts';
import type { MemorySink } from '../driver.ts';

/** The header and the block list that QEMU sends before any page stay well below this. */
const SETUP_BYTES_MAX = 64 * 1024;

/** QEMU sends what is left of a large memory within this time, or it is stuck already. */
const DRAIN_TIMEOUT_MS = 10 * 60_000;

export interface MemoryListener {
  readonly uri: string;
  /** Resolves when pages flow, which in background mode proves that the memory is write-protected. */
  readonly pagesFlow: Promise<void>;
  /** Resolves when the stream ended, rejects when it broke. */
  readonly ended: Promise<void>;
  close(): Promise<void>;
}

/**
 * Listens for QEMU's migration stream and hands every byte to the sink at once: this socket is
 * never paused, because QEMU frees a page for the guest only after we took it.
 */
export async function listenForMemory(options: {
  socketPath: string;
  owner: { uid: number; gid: number };
  sink: MemorySink;
}): Promise<MemoryListener> {
  const { socketPath, sink } = options;
  const flowing = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  // Both are awaited only on some paths; a rejection that nobody awaits yet is not a crash.
  flowing.promise.catch(() => undefined);
  ended.promise.catch(() => undefined);
  let stream: Socket | undefined;
  let isDone = false;
  let receivedBytes = 0;

  const fail = (error: Error): void => {
    if (isDone) return;
    isDone = true;
    sink.fail(error);
    flowing.reject(error);
    ended.reject(error);
  };

  const server = createServer((socket) => {
    if (stream) {
      socket.destroy();
      return;
    }
    stream = socket;
    socket.on('data', (bytes: Buffer) => {
      if (isDone) return;
      try {
        sink.write(bytes);
      } catch (error) {
        fail(error instanceof Error ? error : new Error(String(error)));
        return;
      }
      receivedBytes += bytes.length;
      if (receivedBytes > SETUP_BYTES_MAX) flowing.resolve();
    });
    socket.on('end', () => {
      if (isDone) return;
      isDone = true;
      sink.end();
      ended.resolve();
    });
    socket.on('error', fail);
    socket.on('close', () => fail(streamBroke()));
  });
  server.on('error', fail);
  await rm(socketPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, () => {
      server.off('error', reject);
      resolve();
    });
  });
  await chmod(socketPath, 0o600);
  await chown(socketPath, options.owner.uid, options.owner.gid);

  return {
    uri: `unix:${socketPath}`,
    pagesFlow: flowing.promise,
    ended: ended.promise,
    async close() {
      fail(streamBroke());
      if (stream) await drain(stream);
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await rm(socketPath, { force: true });
    },
  };
}

/**
 * Takes the rest of the stream without keeping it. QEMU hangs for good when the stream of a
 * background snapshot breaks while a thread that holds its main lock waits for a page.
 */
async function drain(stream: Socket): Promise<void> {
  if (stream.readableEnded || stream.destroyed) return;
  const gone = new Promise<void>((resolve) => stream.once('close', () => resolve()));
  const timer = setTimeout(() => stream.destroy(), DRAIN_TIMEOUT_MS);
  await gone;
  clearTimeout(timer);
}

const streamBroke = (): OperationError =>
  new OperationError('hypervisor_failed', 'The memory stream of the VM ended too early.');
