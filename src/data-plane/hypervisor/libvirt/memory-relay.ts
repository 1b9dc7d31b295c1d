import { spawn, type ChildProcess } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import path from 'node:path';
import { z } from 'zod';
import { OperationError } from '../../../shared/errors.ts';
import { waitFor } from '../../../shared/waiting.ts';

const START_TIMEOUT_MS = 15_000;

export const relayRequestSchema = z.strictObject({
  emulatorSocketPath: z.string(),
  workerSocketPath: z.string(),
  spoolFolder: z.string(),
  uid: z.int(),
  gid: z.int(),
});
export type RelayRequest = z.infer<typeof relayRequestSchema>;

export const RELAY_EXIT = { complete: 0, failed: 1, streamBroke: 2, workerGone: 3 } as const;

export interface MemoryRelay {
  /** What QEMU sends, as the relay hands it on. */
  readonly stream: Socket;
  /** Resolves with the relay's exit code, once QEMU's stream is over. */
  readonly exited: Promise<number>;
}

/** Starts a relay of its own session, so that it outlives this process, and connects to it. */
export async function startMemoryRelay(request: RelayRequest): Promise<MemoryRelay> {
  const script = path.join(import.meta.dirname, 'memory-relay-process.ts');
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', script, JSON.stringify(request)],
    {
      detached: true,
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  const exited = new Promise<number>((resolve) => {
    child.once('exit', (exitCode) => resolve(exitCode ?? RELAY_EXIT.failed));
    child.once('error', () => resolve(RELAY_EXIT.failed));
  });
  await waitFor(waitUntilReady(child, exited), {
    timeoutMs: START_TIMEOUT_MS,
    what: 'Starting the relay of the memory stream',
  });
  return { stream: await connectTo(request.workerSocketPath), exited };
}

async function waitUntilReady(child: ChildProcess, exited: Promise<number>): Promise<void> {
  const { stdout } = child;
  if (!stdout) throw new Error('the relay was started without a pipe');
  const ready = new Promise<void>((resolve) => stdout.once('data', () => resolve()));
  await Promise.race([
    ready,
    exited.then((exitCode) => {
      throw new OperationError(
        'hypervisor_failed',
        `The relay of the memory stream could not be started (exit status ${exitCode}); look whether the scratch folder can be written.`,
      );
    }),
  ]);
  // Left open it would end the relay with this process.
  stdout.destroy();
}

async function connectTo(socketPath: string): Promise<Socket> {
  return await new Promise<Socket>((resolve, reject) => {
    const socket = connect(socketPath);
    socket.once('connect', () => resolve(socket));
    socket.once('error', reject);
  });
}
