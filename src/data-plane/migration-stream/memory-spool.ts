import type { FileHandle } from 'node:fs/promises';
import { MIB } from '../../shared/byte-size.ts';
import { OperationError } from '../../shared/errors.ts';
import { throwIfAborted, waitFor } from '../../shared/waiting.ts';
import { createFifo } from './fifo.ts';
import { createSpoolFile, type Entry, openNamelessFile, type SpoolFile } from './spool-file.ts';

/** Takes a memory stream as fast as it comes; fits the hypervisor driver's `MemorySink`. */
export interface MemorySpool {
  /** Keeps a reference: the caller must not reuse the bytes. Never throws; `read` tells of failures. */
  write(bytes: Uint8Array): void;
  end(): void;
  fail(error: Error): void;
  /** For one consumer, once: everything in order. Throws as soon as anything failed. */
  read(signal?: AbortSignal): AsyncGenerator<Uint8Array, void, void>;
  statistics(): SpoolStatistics;
  /** Gives memory and file back; what is written later is ignored. May be called twice. */
  close(): Promise<void>;
}

export interface SpoolStatistics {
  readonly takenBytes: number;
  /** Of these, bytes that went through the file. */
  readonly spilledBytes: number;
  readonly memoryBytes: number;
}

const DEFAULT_MEMORY_LIMIT_BYTES = 64 * MIB;
const DEFAULT_IDLE_TIMEOUT_MS = 120_000;

export interface SpoolLimits {
  readonly memoryLimitBytes?: number;
  /** How long `read` waits for the next bytes. */
  readonly idleTimeoutMs?: number;
}

/**
 * Holds up to `memoryLimitBytes`; what comes beyond goes to a file without a name, which no kill
 * can leave behind. A disk too slow for that makes `write` wait for it at twice the limit.
 */
export async function createMemorySpool(
  options: SpoolLimits & { folder: string },
): Promise<MemorySpool> {
  return createSpoolOver(await openNamelessFile(options.folder), options);
}

/** A spool over a file that nobody else uses. */
export function createSpoolOver(file: FileHandle, limits: SpoolLimits = {}): MemorySpool {
  const memoryLimitBytes = limits.memoryLimitBytes ?? DEFAULT_MEMORY_LIMIT_BYTES;
  const idleTimeoutMs = limits.idleTimeoutMs ?? DEFAULT_IDLE_TIMEOUT_MS;
  const state = createSpoolState();
  const spoolFile = createSpoolFile(file, {
    written(entry) {
      entry.bytes = null;
      state.memoryBytes -= entry.lengthBytes;
      state.spilledBytes += entry.lengthBytes;
    },
    failed(error) {
      state.failure ??= error;
      state.wake();
    },
  });
  return {
    write(bytes) {
      if (state.isClosed || state.failure !== null || bytes.length === 0) return;
      const entry = { lengthBytes: bytes.length, bytes, position: -1, isTaken: false };
      state.takenBytes += bytes.length;
      state.memoryBytes += bytes.length;
      state.entries.push(entry);
      if (state.memoryBytes > 2 * memoryLimitBytes) spoolFile.spillNow(entry);
      else if (state.memoryBytes > memoryLimitBytes) spoolFile.spill(entry);
      state.wake();
    },
    end() {
      state.isEnded = true;
      state.wake();
    },
    fail(error) {
      state.failure ??= error;
      state.wake();
    },
    read: (signal) => readEntries({ spoolFile, state, idleTimeoutMs, signal }),
    statistics: () => ({
      takenBytes: state.takenBytes,
      spilledBytes: state.spilledBytes,
      memoryBytes: state.memoryBytes,
    }),
    async close() {
      if (state.isClosed) return;
      state.isClosed = true;
      state.entries.clear();
      state.memoryBytes = 0;
      state.wake();
      await spoolFile.close();
    },
  };
}

type SpoolState = ReturnType<typeof createSpoolState>;

function createSpoolState() {
  let waiting: (() => void) | null = null;
  return {
    entries: createFifo<Entry>(),
    memoryBytes: 0,
    takenBytes: 0,
    spilledBytes: 0,
    isEnded: false,
    isClosed: false,
    isRead: false,
    failure: null as Error | null,
    wake(): void {
      waiting?.();
      waiting = null;
    },
    nextChange: (): Promise<void> =>
      new Promise((resolve) => {
        waiting = resolve;
      }),
  };
}

async function* readEntries(options: {
  spoolFile: SpoolFile;
  state: SpoolState;
  idleTimeoutMs: number;
  signal: AbortSignal | undefined;
}): AsyncGenerator<Uint8Array, void, void> {
  const { spoolFile, state, idleTimeoutMs, signal } = options;
  if (state.isRead) throw new RangeError('a memory spool is read once');
  state.isRead = true;
  for (;;) {
    throwIfAborted(signal);
    if (state.failure !== null) throw state.failure;
    if (state.isClosed) {
      throw new OperationError('cancelled', 'The memory spool was closed before its end.');
    }
    const entry = state.entries.shift();
    if (entry === undefined) {
      if (state.isEnded) return;
      const what = 'Waiting for the next bytes of memory';
      await waitFor(state.nextChange(), { timeoutMs: idleTimeoutMs, what, signal });
    } else if (entry.bytes === null) {
      yield await spoolFile.readBack(entry, state.entries);
    } else {
      entry.isTaken = true;
      state.memoryBytes -= entry.lengthBytes;
      yield entry.bytes;
    }
  }
}
