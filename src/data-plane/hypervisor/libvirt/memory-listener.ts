import path from 'node:path';
import { OperationError } from '../../../shared/errors.ts';
import { waitFor } from '../../../shared/waiting.ts';
import type { MemorySink } from '../driver.ts';
import { RELAY_EXIT, startMemoryRelay } from './memory-relay.ts';

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
 * Receives QEMU's migration stream through a relay process and hands every byte to the sink at
 * once. The stream is never held back, because QEMU frees a page for the guest only after it was
 * taken; and it is never cut, whatever becomes of this process.
 */
export async function listenForMemory(options: {
  socketPath: string;
  owner: { uid: number; gid: number };
  /** Where the relay may spool, on a file system with room. */
  spoolFolder: string;
  sink: MemorySink;
}): Promise<MemoryListener> {
  const { socketPath, sink } = options;
  const flowing = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  // Both are awaited only on some paths; a rejection that nobody awaits yet is not a crash.
  flowing.promise.catch(() => undefined);
  ended.promise.catch(() => undefined);
  let isDone = false;
  let receivedBytes = 0;

  const fail = (error: Error): void => {
    if (isDone) return;
    isDone = true;
    sink.fail(error);
    flowing.reject(error);
    ended.reject(error);
  };
  const { stream, exited } = await startMemoryRelay({
    emulatorSocketPath: socketPath,
    workerSocketPath: path.join(path.dirname(socketPath), 'relay.sock'),
    spoolFolder: options.spoolFolder,
    ...options.owner,
  });
  stream.on('data', (bytes: Buffer) => {
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
  stream.on('error', fail);
  const finish = async (): Promise<void> => {
    // The relay's exit code tells a complete stream from one that broke.
    if ((await exited) !== RELAY_EXIT.complete) {
      fail(streamBroke());
      return;
    }
    if (isDone) return;
    isDone = true;
    sink.end();
    ended.resolve();
  };
  stream.on('close', () => void finish().catch(fail));

  return {
    uri: `unix:${socketPath}`,
    pagesFlow: flowing.promise,
    ended: ended.promise,
    async close() {
      fail(streamBroke());
      stream.destroy();
      await waitFor(exited, {
        timeoutMs: DRAIN_TIMEOUT_MS,
        what: 'Taking the rest of the memory stream',
      });
    },
  };
}

const streamBroke = (): OperationError =>
  new OperationError('hypervisor_failed', 'The memory stream of the VM ended too early.');
