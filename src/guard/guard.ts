import { chmod, mkdtemp, rename, rmdir } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import path from 'node:path';
import type { GuestRescue } from '../data-plane/hypervisor/freeze-guard.ts';
import type { Clock } from '../shared/clock.ts';
import { OperationError, describeThrown } from '../shared/errors.ts';
import type { Logger } from '../shared/logger.ts';
import {
  createLineReader,
  formatLine,
  requestSchema,
  type GuardAnswer,
  type GuardRequest,
} from './guard-protocol.ts';
import { createWatchlist, type Watchlist } from './watchlist.ts';

const CONNECTIONS_MAX = 64;
const CAPTURES_MAX = 1024;
const UNSENT_BYTES_MAX = 64 * 1024;
/** A living worker comes back for its captures within this time, or does not know of them any more. */
const RETURN_TIME_MS = 2_000;

export interface Guard {
  readonly watched: number;
  /** Takes nothing on any more; resolves when no guest is looked after. */
  drain(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Looks after every guest that a capture holds (invariant 1). A worker whose connection ends is
 * dead; one that says nothing until its deadline hangs: both ways its guests are let go.
 */
export async function startGuard(options: {
  socketPath: string;
  rescue: GuestRescue;
  clock: Clock;
  logger: Logger;
}): Promise<Guard> {
  const { socketPath, rescue, logger } = options;
  const watchlist = createWatchlist(options);
  const sockets = new Set<Socket>();
  let isDraining = false;

  const answer = (socket: Socket, request: GuardRequest): GuardAnswer => {
    const { id } = request;
    if (request.type === 'disarm') {
      return { id, outcome: watchlist.disarm(request.captureId) ? 'done' : 'released' };
    }
    const { captureId, holds } = request.capture;
    // What is held already must be looked after even now.
    const isNew = holds === 'nothing' && !watchlist.has(captureId);
    if (isNew && (isDraining || watchlist.size >= CAPTURES_MAX)) return { id, outcome: 'refused' };
    return {
      id,
      outcome: watchlist.arm(socket, captureId, request.deadlineMs) ? 'done' : 'released',
    };
  };

  const server = createServer((socket) => {
    sockets.add(socket);
    serve(socket, (request) => answer(socket, request), logger);
    socket.on('close', () => {
      sockets.delete(socket);
      watchlist.abandon(socket);
    });
  });
  server.maxConnections = CONNECTIONS_MAX;
  await listenPrivately(server, socketPath);
  // After the socket is there: a living worker that comes back for its captures finds it.
  await adoptMarked(rescue, watchlist, socketPath);

  return {
    get watched() {
      return watchlist.size;
    },
    async drain() {
      isDraining = true;
      await watchlist.idle();
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
      await watchlist.idle();
    },
  };
}

async function adoptMarked(
  rescue: GuestRescue,
  watchlist: Watchlist,
  guardId: string,
): Promise<void> {
  for (const mark of await rescue.listMarked(guardId)) {
    watchlist.adopt(mark.captureId, mark.ownerAlive ? RETURN_TIME_MS : 0);
  }
}

function serve(
  socket: Socket,
  answer: (request: GuardRequest) => GuardAnswer,
  logger: Logger,
): void {
  const reader = createLineReader(requestSchema);
  socket.on('data', (bytes: Buffer) => {
    try {
      for (const request of reader.push(bytes)) socket.write(formatLine(answer(request)));
      if (socket.writableLength > UNSENT_BYTES_MAX) {
        throw new OperationError('protocol_error', 'A client of the guard reads no answers.');
      }
    } catch (error) {
      // Its captures are let go: whoever talks nonsense cannot be trusted to end a pause.
      logger.error({ reason: describeThrown(error) }, 'a client of the guard is cut off');
      socket.destroy();
    }
  });
  socket.on('error', (error) => {
    logger.info({ reason: error.message }, 'a connection to the guard broke');
  });
}

/** Born in a folder of our own and moved into place, it is never open to others, nor ever absent. */
async function listenPrivately(
  server: ReturnType<typeof createServer>,
  socketPath: string,
): Promise<void> {
  const folder = await mkdtemp(path.join(path.dirname(socketPath), '.g-'));
  const birthPath = path.join(folder, 's');
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(birthPath, () => {
      server.off('error', reject);
      resolve();
    });
  });
  await chmod(birthPath, 0o600);
  await rename(birthPath, socketPath);
  await rmdir(folder);
}
