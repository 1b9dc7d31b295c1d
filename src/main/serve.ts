import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { z } from 'zod';
import { OperationError } from '../shared/errors.ts';
import type { Logger } from '../shared/logger.ts';
import { waitFor } from '../shared/waiting.ts';
import { settingsForChild } from './child-process.ts';
import type { Settings } from './settings.ts';

const READY_TIMEOUT_MS = 60_000;
/** A worker undoes what it was doing before it ends. */
const STOP_TIMEOUT_MS = 30_000;
const RESTARTS_MAX = 5;
const RESTART_WINDOW_MS = 60_000;
const RESTART_DELAY_MS = 500;
/** While it is away no guest may be paused, and one that is waits for it. */
const GUARD_RESTART_DELAY_MS = 20;

const readySchema = z.object({ ready: z.literal(true), url: z.string().optional() });

export interface RunningService {
  readonly url: string;
  /** Resolves with the reason when the service ends by itself. */
  readonly failed: Promise<OperationError>;
  stop(): Promise<void>;
}

interface Part {
  readonly ready: Promise<{ url?: string | undefined }>;
  stop(): Promise<void>;
}

/**
 * Runs server, worker and guard as processes of their own, so that moving data never slows the API
 * and no guest depends on one process alone, and starts again whichever dies. They end when this
 * process ends, however it does.
 */
export async function startService(settings: Settings, logger: Logger): Promise<RunningService> {
  const failure = Promise.withResolvers<OperationError>();
  const keep = (name: string): Part =>
    keepRunning({ name, settings, logger, onGivenUp: (error) => failure.resolve(error) });
  // The worker makes folders and repository, the server the catalog; each waits for nothing of the other.
  const guards = settings.guard && settings.hypervisor.kind === 'libvirt' ? [keep('guard')] : [];
  const workers = [keep('worker'), keep('server')];
  const parts = [...guards, ...workers];
  const stop = async (): Promise<void> => {
    await Promise.all(workers.map(async (part) => await part.stop()));
    // Last: a worker that does not end in time is killed in the middle of something.
    await Promise.all(guards.map(async (part) => await part.stop()));
  };
  try {
    const answers = await Promise.race([
      Promise.all(parts.map(async (part) => await part.ready)),
      failure.promise.then((error) => {
        throw error;
      }),
    ]);
    const url = answers.find((answer) => answer.url !== undefined)?.url ?? '';
    return { url, failed: failure.promise, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function keepRunning(options: {
  name: string;
  settings: Settings;
  logger: Logger;
  onGivenUp: (error: OperationError) => void;
}): Part {
  const { name, settings, logger, onGivenUp } = options;
  const ready = Promise.withResolvers<{ url?: string | undefined }>();
  // Only the first start is waited for.
  ready.promise.catch(() => undefined);
  const ends: number[] = [];
  let child: ChildProcess | null = null;
  let isStopping = false;
  let isReadyOnce = false;

  const start = (): void => {
    if (isStopping) return;
    child = fork(path.join(import.meta.dirname, `${name}-process.ts`), [], {
      env: { ...process.env, ...settingsForChild(settings) },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    child.on('message', (message) => {
      const parsed = readySchema.safeParse(message);
      if (!parsed.success) return;
      isReadyOnce = true;
      ready.resolve(parsed.data);
    });
    child.on('exit', (exitCode, signal) => onExit(exitCode, signal));
    child.on('error', (error) =>
      logger.error({ name, reason: error.message }, 'a process could not be started'),
    );
  };

  const onExit = (exitCode: number | null, signal: NodeJS.Signals | null): void => {
    child = null;
    if (isStopping) return;
    const now = performance.now();
    ends.push(now);
    const recent = ends.filter((at) => now - at < RESTART_WINDOW_MS).length;
    const how = signal ?? `exit status ${exitCode ?? 'unknown'}`;
    if (!isReadyOnce || recent > RESTARTS_MAX) {
      const error = new OperationError(
        'internal',
        `The ${name} ended (${how}); its messages are above.`,
      );
      ready.reject(error);
      onGivenUp(error);
      return;
    }
    logger.warn({ name, how }, 'a process ended and is started again');
    setTimeout(start, name === 'guard' ? GUARD_RESTART_DELAY_MS : RESTART_DELAY_MS);
  };

  start();
  return {
    ready: waitFor(ready.promise, { timeoutMs: READY_TIMEOUT_MS, what: `Starting the ${name}` }),
    async stop() {
      isStopping = true;
      if (!child) return;
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      const timer = setTimeout(() => child?.kill('SIGKILL'), STOP_TIMEOUT_MS);
      await ended;
      clearTimeout(timer);
    },
  };
}
