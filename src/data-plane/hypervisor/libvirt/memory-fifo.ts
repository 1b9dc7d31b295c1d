import { closeSync, constants, openSync } from 'node:fs';
import { chown, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { OperationError } from '../../../shared/errors.ts';
import { waitFor } from '../../../shared/waiting.ts';
import { hasErrorCode } from './file-errors.ts';
import { runProgram } from './run-program.ts';

/** A reader that takes nothing for this long is gone. */
const STALL_TIMEOUT_MS = 120_000;

export interface MemoryFifo {
  readonly path: string;
  write(bytes: Uint8Array): Promise<void>;
  /** Lets the reader see the end of the stream. */
  end(): Promise<void>;
  /** Ends the pipe at whatever was written. May be called twice. */
  close(): Promise<void>;
  /** A reader that opens the pipe only after it was closed would wait for a writer for ever. */
  letReaderSeeTheEnd(): void;
}

/**
 * A named pipe that libvirt restores from, so that memory flows out of the repository without a
 * temporary copy. Opened for reading and writing, because opening a pipe without a reader for
 * writing alone would block; what is written before the reader comes waits in the pipe.
 */
export async function createMemoryFifo(
  path: string,
  owner: { uid: number; gid: number },
  signal?: AbortSignal,
): Promise<MemoryFifo> {
  await rm(path, { force: true });
  await runProgram('mkfifo', ['-m', '600', path], { timeoutMs: 5_000, signal });
  await chown(path, owner.uid, owner.gid);
  // The socket owns and closes this descriptor.
  const descriptor = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const pipe = new Socket({ fd: descriptor, readable: false, writable: true });
  let broken: Error | undefined;
  pipe.on('error', (error) => {
    broken = error;
  });
  const closed = new Promise<void>((resolve) => pipe.once('close', () => resolve()));

  return {
    path,
    async write(bytes) {
      if (broken) throw pipeBroke(broken);
      const written = new Promise<void>((resolve, reject) => {
        pipe.write(bytes, (error) => (error ? reject(pipeBroke(error)) : resolve()));
      });
      await waitFor(written, {
        timeoutMs: STALL_TIMEOUT_MS,
        what: 'Handing memory to the VM',
        signal,
      });
    },
    async end() {
      // What is still in the pipe stays readable for whoever has it open.
      pipe.destroy();
      await closed;
    },
    async close() {
      pipe.destroy();
      await closed;
    },
    letReaderSeeTheEnd() {
      try {
        closeSync(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK));
      } catch (error) {
        // Nobody reads, or the pipe is gone: then nobody waits either.
        if (!hasErrorCode(error, 'ENXIO') && !hasErrorCode(error, 'ENOENT')) throw error;
      }
    },
  };
}

const pipeBroke = (cause: Error): OperationError =>
  new OperationError(
    'hypervisor_failed',
    'The VM stopped taking its memory while it was restored.',
    { cause },
  );
