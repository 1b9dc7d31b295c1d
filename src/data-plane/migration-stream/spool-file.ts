import { randomUUID } from 'node:crypto';
import { writeSync } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { MIB } from '../../shared/byte-size.ts';
import { describeThrown, OperationError } from '../../shared/errors.ts';
import { createFifo, type Fifo } from './fifo.ts';

export interface Entry {
  readonly lengthBytes: number;
  /** Null once the content is in the file only. */
  bytes: Uint8Array | null;
  position: number;
  isTaken: boolean;
}

const BATCH_BYTES = MIB;

/** The part of a spool's queue that went to its file. */
export interface SpoolFile {
  /** Writes an entry soon; `written` is called when its bytes are no longer needed in memory. */
  spill(entry: Entry): void;
  /** Writes an entry before it returns. */
  spillNow(entry: Entry): void;
  /** Reads a written entry back, and those behind it that lie behind it in the file too. */
  readBack(first: Entry, following: Fifo<Entry>): Promise<Uint8Array>;
  close(): Promise<void>;
}

export async function openNamelessFile(folder: string): Promise<FileHandle> {
  const path = join(folder, `memory-${randomUUID()}.spool`);
  try {
    const file = await open(path, 'wx+', 0o600);
    await unlink(path);
    return file;
  } catch (error) {
    throw spoolError(`The folder ${folder} cannot hold a spool file`, error);
  }
}

function spoolError(what: string, error: unknown): OperationError {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : null;
  const isFull = code === 'ENOSPC' || code === 'EDQUOT';
  const isDenied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
  return new OperationError(
    isFull ? 'insufficient_space' : isDenied ? 'permission_denied' : 'internal',
    `${what}: ${describeThrown(error)}. Memory that comes faster than it is stored waits there; make room or choose another scratch folder.`,
    { cause: error },
  );
}

export function createSpoolFile(
  file: FileHandle,
  handlers: { written(entry: Entry): void; failed(error: OperationError): void },
): SpoolFile {
  const queue = createFifo<Entry>();
  const space = createSpace();
  let isStopped = false;
  let running: Promise<void> | null = null;

  function fail(error: unknown): void {
    isStopped = true;
    handlers.failed(spoolError('Writing the memory spool failed', error));
  }

  function written(entry: Entry): void {
    if (entry.isTaken) space.release(1);
    else handlers.written(entry);
  }

  /** Clears `running` in the same turn as it finds the queue empty, so that no entry is left behind. */
  async function drain(): Promise<void> {
    try {
      for (let batch = takeBatch(queue); batch.length > 0; batch = takeBatch(queue)) {
        if (isStopped) return;
        for (const entry of batch) space.place(entry);
        await writeAll(file, batch);
        for (const entry of batch) written(entry);
      }
    } catch (error) {
      fail(error);
    } finally {
      running = null;
    }
  }

  return {
    spill(entry) {
      queue.push(entry);
      running ??= drain();
    },
    spillNow(entry) {
      if (isStopped || entry.bytes === null) return;
      try {
        space.place(entry);
        writeAllSync(file.fd, entry.bytes, entry.position);
        written(entry);
      } catch (error) {
        fail(error);
      }
    },
    async readBack(first, following) {
      const run = takeNeighbours(first, following);
      const bytes = await readRun(file, run);
      space.release(run.length);
      return bytes;
    },
    async close() {
      isStopped = true;
      await running;
      await file.close();
    },
  };
}

/** Gives places in the file; an empty file is used from its start again. */
function createSpace(): { place(entry: Entry): void; release(count: number): void } {
  let end = 0;
  let entries = 0;
  return {
    place(entry) {
      entry.position = end;
      end += entry.lengthBytes;
      entries += 1;
    },
    release(count) {
      entries -= count;
      if (entries === 0) end = 0;
    },
  };
}

function takeBatch(queue: Fifo<Entry>): Entry[] {
  const batch: Entry[] = [];
  let bytes = 0;
  while (bytes < BATCH_BYTES) {
    const entry = queue.shift();
    if (entry === undefined) break;
    // The consumer was faster: it has the bytes already.
    if (entry.isTaken) continue;
    batch.push(entry);
    bytes += entry.lengthBytes;
  }
  return batch;
}

async function writeAll(file: FileHandle, batch: readonly Entry[]): Promise<void> {
  let buffers = batch.map((entry) => entry.bytes ?? new Uint8Array(0));
  let position = batch[0]?.position ?? 0;
  while (buffers.length > 0) {
    let { bytesWritten } = await file.writev(buffers, position);
    if (bytesWritten === 0) throw new Error('no bytes could be written');
    position += bytesWritten;
    while (buffers[0] !== undefined && bytesWritten >= buffers[0].length) {
      bytesWritten -= buffers[0].length;
      buffers = buffers.slice(1);
    }
    if (buffers[0] !== undefined) buffers[0] = buffers[0].subarray(bytesWritten);
  }
}

function writeAllSync(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length;) {
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
  }
}

function takeNeighbours(first: Entry, following: Fifo<Entry>): Entry[] {
  const run = [first];
  let end = first.position + first.lengthBytes;
  for (;;) {
    const next = following.peek();
    if (next === undefined || next.bytes !== null || next.position !== end) return run;
    if (end + next.lengthBytes - first.position > BATCH_BYTES) return run;
    end += next.lengthBytes;
    run.push(next);
    following.shift();
  }
}

async function readRun(file: FileHandle, run: readonly Entry[]): Promise<Uint8Array> {
  const position = run[0]?.position ?? 0;
  const bytes = new Uint8Array(run.reduce((sum, entry) => sum + entry.lengthBytes, 0));
  for (let done = 0; done < bytes.length;) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, position + done);
    if (bytesRead === 0) {
      throw new OperationError('internal', 'The memory spool file lost what was written to it.');
    }
    done += bytesRead;
  }
  return bytes;
}
