import { chmod, chown, lstat, mkdtemp, rename, rm, unlink } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { Server } from 'node:net';
import { OperationError, describeThrown } from '../../shared/errors.ts';
import type { Logger } from '../../shared/logger.ts';
import { silentLogger } from '../../shared/logger.ts';
import type { NbdExportDirectory, NbdServerLimits } from './exports.ts';
import { DEFAULT_SERVER_LIMITS } from './exports.ts';
import { createBufferCache } from './server-buffers.ts';
import { negotiateWithClient } from './server-handshake.ts';
import type { ClientStream, NbdServerTls } from './server-stream.ts';
import { createClientStream } from './server-stream.ts';
import { serveRequests } from './server-transmission.ts';
import type { NbdAddress } from './wire.ts';

export interface NbdServerOptions {
  readonly listen:
    | {
        readonly socketPath: string;
        /** Who may connect; 0o600 unless told otherwise. */
        readonly mode?: number;
        readonly owner?: { readonly uid: number; readonly gid: number };
      }
    | { readonly host: string; readonly port: number };
  /** Given, clients must use it. */
  readonly tls?: NbdServerTls;
  readonly exports: NbdExportDirectory;
  readonly limits?: Partial<NbdServerLimits>;
  readonly logger?: Logger;
}

export interface NbdServer {
  /** Where it listens, with the port the kernel chose for port 0. */
  readonly address: NbdAddress;
  clientCount(): number;
  /** Answers what is under way, cuts off what takes longer than `timeoutMs` (5 s), and is gone then. */
  close(timeoutMs?: number): Promise<void>;
}

const CLOSE_TIMEOUT_MS = 5000;
const PROBE_TIMEOUT_MS = 1000;
/** Kept by the cache of all clients together. */
const MAX_KEPT_BUFFERS = 64;
const BIRTH_NAME = '/s';
/** `sun_path` holds 108 bytes with its NUL (unix(7)); the socket is born at `PATH.xxxxxx/s`. */
const MAX_SOCKET_PATH_BYTES = 107 - 7 - BIRTH_NAME.length;

export async function startNbdServer(options: NbdServerOptions): Promise<NbdServer> {
  const limits = { ...DEFAULT_SERVER_LIMITS, ...options.limits };
  const logger = options.logger ?? silentLogger;
  const closing = new AbortController();
  const sessions = new Map<Promise<void>, (reason: OperationError) => void>();
  const buffers = createBufferCache(MAX_KEPT_BUFFERS);

  const server = createServer(
    { noDelay: true, keepAlive: true, allowHalfOpen: false },
    (socket) => {
      if (closing.signal.aborted || sessions.size >= limits.maxClients) {
        logger.warn({ clients: sessions.size }, 'NBD client refused: too many, or closing');
        socket.destroy();
        return;
      }
      const stream = createClientStream(socket);
      const session = serveClient().finally(() => sessions.delete(session));
      sessions.set(session, (reason) => stream.destroy(reason));

      async function serveClient(): Promise<void> {
        const late = new OperationError('timed_out', 'The NBD client took too long to choose.');
        const timer = setTimeout(() => stream.destroy(late), limits.handshakeTimeoutMs);
        try {
          const agreement = await negotiateWithClient(stream, {
            exports: options.exports,
            tls: options.tls ?? null,
            limits,
          });
          clearTimeout(timer);
          const { signal } = closing;
          if (agreement !== null) {
            await serveRequests(stream, { agreement, limits, buffers, logger, closing: signal });
          }
          await endGently(stream, limits.stallTimeoutMs);
        } catch (error) {
          const failure = asOperationError(error);
          logger.info({ code: failure.code }, `NBD client dropped: ${failure.message}`);
          stream.destroy(failure);
        } finally {
          clearTimeout(timer);
        }
      }
    },
  );

  const address = await listen(server, options.listen);
  server.on('error', (error) => {
    logger.error({ err: error }, `NBD server cannot accept clients: ${error.message}`);
  });
  return {
    address,
    clientCount: () => sessions.size,
    async close(timeoutMs = CLOSE_TIMEOUT_MS) {
      closing.abort();
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      const timer = setTimeout(() => {
        const reason = new OperationError('unreachable', 'The NBD server is shutting down.');
        for (const cutOff of sessions.values()) cutOff(reason);
      }, timeoutMs);
      await Promise.allSettled(sessions.keys());
      clearTimeout(timer);
      await closed;
      if ('socketPath' in address) await removeSocket(address.socketPath);
    },
  };
}

async function listen(server: Server, where: NbdServerOptions['listen']): Promise<NbdAddress> {
  if (!('socketPath' in where)) {
    await bind(server, where);
    const bound = server.address();
    const port = bound === null || typeof bound === 'string' ? where.port : bound.port;
    return { host: where.host, port };
  }
  const { socketPath } = where;
  if (Buffer.byteLength(socketPath) > MAX_SOCKET_PATH_BYTES) {
    throw new OperationError(
      'invalid_input',
      `The NBD socket path ${socketPath} is longer than ${MAX_SOCKET_PATH_BYTES} bytes.`,
    );
  }
  await refuseLiveSocket(socketPath);
  // Born in a folder of our own, nobody can connect before mode and owner are right; the rename
  // replaces a stale socket in one step.
  const cradle = await mkdtemp(`${socketPath}.`).catch((cause: unknown) => {
    throw cannotSetUp(socketPath, cause);
  });
  const birthPath = `${cradle}${BIRTH_NAME}`;
  try {
    await bind(server, { path: birthPath });
    await chmod(birthPath, where.mode ?? 0o600);
    if (where.owner !== undefined) await chown(birthPath, where.owner.uid, where.owner.gid);
    await rename(birthPath, socketPath);
  } catch (error) {
    server.close();
    throw error instanceof OperationError ? error : cannotSetUp(socketPath, error);
  } finally {
    await rm(cradle, { recursive: true, force: true });
  }
  return { socketPath };
}

function cannotSetUp(socketPath: string, cause: unknown): OperationError {
  return new OperationError(
    'permission_denied',
    `The NBD socket ${socketPath} cannot be set up: ${describeThrown(cause)}.`,
    { cause },
  );
}

async function bind(
  server: Server,
  where: { path: string } | { host: string; port: number },
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      const place = 'path' in where ? where.path : `${where.host}:${where.port}`;
      const taken = 'code' in cause && cause.code === 'EADDRINUSE';
      reject(
        new OperationError(
          taken ? 'in_use' : 'permission_denied',
          `The NBD server cannot listen at ${place}: ${cause.message}.`,
          { cause },
        ),
      );
    });
    server.listen({ ...where, backlog: 64 }, resolve);
  });
}

/** A killed process leaves its socket behind, which nobody answers; a live one belongs to somebody. */
async function refuseLiveSocket(path: string): Promise<void> {
  const status = await lstat(path).catch(() => null);
  if (status === null) return;
  if (!status.isSocket()) {
    throw new OperationError('in_use', `${path} exists and is not a socket; it is left alone.`);
  }
  const isLive = await new Promise<boolean>((resolve) => {
    const probe = connect({ path, timeout: PROBE_TIMEOUT_MS });
    const settle = (live: boolean): void => {
      probe.destroy();
      resolve(live);
    };
    probe.once('connect', () => settle(true));
    probe.once('timeout', () => settle(true));
    // Any other error than a refusal says nothing about the owner, so the socket stays his.
    probe.once('error', (error) =>
      settle(!('code' in error && (error.code === 'ECONNREFUSED' || error.code === 'ENOENT'))),
    );
  });
  if (isLive) throw new OperationError('in_use', `Somebody listens at ${path} already.`);
}

async function removeSocket(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return;
    throw error;
  });
}

/** Lets the last reply reach the client before the connection goes. */
async function endGently(stream: ClientStream, timeoutMs: number): Promise<void> {
  if (stream.gone.aborted) return;
  const late = new OperationError('timed_out', 'The NBD client did not hang up.');
  const timer = setTimeout(() => stream.destroy(late), timeoutMs);
  const ended = new Promise<void>((resolve) => {
    stream.gone.addEventListener('abort', () => resolve(), { once: true });
  });
  stream.end();
  await ended;
  clearTimeout(timer);
}

function asOperationError(error: unknown): OperationError {
  if (error instanceof OperationError) return error;
  return new OperationError('internal', 'Serving an NBD client failed inside Komadori.', {
    cause: error,
  });
}
