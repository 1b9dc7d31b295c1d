import { OperationError, describeThrown } from '../../shared/errors.ts';
import type { Logger } from '../../shared/logger.ts';
import type { NbdServerLimits } from './exports.ts';
import {
  COMMAND,
  COMMAND_FLAG,
  ERRNO,
  MAGIC,
  REQUEST_HEADER_BYTES,
  describeRequest,
  protocolError,
  readUint64,
  viewOf,
} from './protocol.ts';
import type { BufferCache } from './server-buffers.ts';
import { answerRead, answerStatus, errorReply, simpleReply } from './server-replies.ts';
import type { ServerRequest } from './server-replies.ts';
import type { Agreement } from './server-handshake.ts';
import { SERVER_BLOCK_SIZES, isWritable } from './server-handshake.ts';
import type { ClientStream } from './server-stream.ts';

export interface TransmissionOptions {
  readonly agreement: Agreement;
  readonly limits: NbdServerLimits;
  readonly buffers: BufferCache;
  readonly logger: Logger;
  /** Aborts when the server closes: no further request is read. */
  readonly closing: AbortSignal;
}

const MAX_ZEROES_AT_ONCE = new Uint8Array(1024 * 1024);
const ALLOWED_FLAGS: ReadonlyMap<number, number> = new Map<number, number>([
  [COMMAND.read, COMMAND_FLAG.df | COMMAND_FLAG.fua],
  [COMMAND.write, COMMAND_FLAG.fua],
  [COMMAND.flush, COMMAND_FLAG.fua],
  [COMMAND.trim, COMMAND_FLAG.fua],
  [COMMAND.writeZeroes, COMMAND_FLAG.fua | COMMAND_FLAG.noHole],
  [COMMAND.blockStatus, COMMAND_FLAG.reqOne | COMMAND_FLAG.fua],
]);

/** Serves requests until the client says goodbye, vanishes, or the server closes. */
export async function serveRequests(
  stream: ClientStream,
  options: TransmissionOptions,
): Promise<void> {
  const gate = createGate(options.limits);
  try {
    for (;;) {
      const request = await readRequest(stream, options);
      if (request === null || request.command === COMMAND.disconnect) return;
      const payloadBytes = request.command === COMMAND.write ? request.lengthBytes : 0;
      if (payloadBytes > SERVER_BLOCK_SIZES.maximumBytes) {
        throw protocolError(`The NBD client sent a write of ${payloadBytes} bytes.`);
      }
      const isRead = request.command === COMMAND.read;
      const heldBytes =
        isRead && findRefusal(request, options) === null ? request.lengthBytes : payloadBytes;
      await gate.enter(heldBytes);
      const done = (): void => gate.leave(heldBytes);
      try {
        const payload = await stream.read(payloadBytes, options.limits.stallTimeoutMs);
        void serveOne(stream, request, payload, options)
          .catch((error: unknown) => stream.destroy(asFailure(error)))
          .finally(done);
      } catch (error) {
        done();
        throw error;
      }
    }
  } finally {
    await gate.idle();
  }
}

function asFailure(error: unknown): OperationError {
  if (error instanceof OperationError) return error;
  return new OperationError('internal', 'Serving an NBD request failed.', { cause: error });
}

async function readRequest(
  stream: ClientStream,
  options: TransmissionOptions,
): Promise<ServerRequest | null> {
  if (options.closing.aborted) return null;
  const closing = Promise.withResolvers<null>();
  const onClosing = (): void => closing.resolve(null);
  options.closing.addEventListener('abort', onClosing, { once: true });
  const reading = stream.read(REQUEST_HEADER_BYTES, options.limits.idleTimeoutMs);
  // When the server closes first, nobody waits for the bytes any more and the stream ends anyway.
  reading.catch(() => undefined);
  const bytes = await Promise.race([reading, closing.promise]);
  options.closing.removeEventListener('abort', onClosing);
  if (bytes === null) return null;
  const view = viewOf(bytes);
  if (view.getUint32(0) !== MAGIC.request) {
    throw protocolError('The NBD client sent a request with a wrong magic number.');
  }
  return {
    flags: view.getUint16(4),
    command: view.getUint16(6),
    cookie: view.getBigUint64(8),
    offset: readUint64(view, 16, 'offset'),
    lengthBytes: view.getUint32(24),
  };
}

/** Bounds requests and bytes under way; only the reading loop enters. */
function createGate(limits: NbdServerLimits): {
  enter(bytes: number): Promise<void>;
  leave(bytes: number): void;
  idle(): Promise<void>;
} {
  let requests = 0;
  let bytesHeld = 0;
  let wake: () => void = () => undefined;
  const until = async (open: () => boolean): Promise<void> => {
    while (!open()) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return {
    async enter(bytes) {
      await until(
        () =>
          requests === 0 ||
          (requests < limits.maxRequestsInFlight && bytesHeld + bytes <= limits.maxBytesInFlight),
      );
      requests += 1;
      bytesHeld += bytes;
    },
    leave(bytes) {
      requests -= 1;
      bytesHeld -= bytes;
      wake();
    },
    idle: () => until(() => requests === 0),
  };
}

/** What is wrong with a request before the export is asked, as an errno. */
function findRefusal(request: ServerRequest, options: TransmissionOptions): number | null {
  const { command, offset, lengthBytes } = request;
  const { target, baseAllocation } = options.agreement;
  const allowed = ALLOWED_FLAGS.get(command);
  if (allowed === undefined || (request.flags & ~allowed) !== 0) return ERRNO.EINVAL;
  if (command === COMMAND.flush) return offset === 0 && lengthBytes === 0 ? null : ERRNO.EINVAL;
  const changes = command !== COMMAND.read && command !== COMMAND.blockStatus;
  if (changes && !isWritable(target)) return ERRNO.EPERM;
  if (lengthBytes === 0) return ERRNO.EINVAL;
  if (offset + lengthBytes > target.sizeBytes) return changes ? ERRNO.ENOSPC : ERRNO.EINVAL;
  if (command === COMMAND.read && lengthBytes > SERVER_BLOCK_SIZES.maximumBytes) {
    return ERRNO.EOVERFLOW;
  }
  return command === COMMAND.blockStatus && !baseAllocation ? ERRNO.EINVAL : null;
}

async function serveOne(
  stream: ClientStream,
  request: ServerRequest,
  payload: Uint8Array,
  options: TransmissionOptions,
): Promise<void> {
  const { agreement, limits, logger } = options;
  const refusal = findRefusal(request, options);
  if (refusal !== null) {
    await stream.write(errorReply(request, agreement, refusal, ''), limits.stallTimeoutMs);
    return;
  }
  if (request.command === COMMAND.read) {
    await options.buffers.use(request.lengthBytes, async (buffer) => {
      const parts = await attempt(
        () => answerRead(request, agreement, buffer, stream.gone),
        request,
        options,
      );
      await stream.write(parts, limits.stallTimeoutMs);
    });
    return;
  }
  const parts = await attempt(
    async () => {
      if (request.command === COMMAND.blockStatus) return await answerStatus(request, agreement);
      await change(request, payload, options, stream.gone);
      return [simpleReply(request, 0)];
    },
    request,
    { agreement, logger },
  );
  await stream.write(parts, limits.stallTimeoutMs);
}

/** An export's failure is the client's answer, not the connection's end. */
async function attempt(
  answer: () => Promise<Uint8Array[]>,
  request: ServerRequest,
  options: Pick<TransmissionOptions, 'agreement' | 'logger'>,
): Promise<Uint8Array[]> {
  try {
    return await answer();
  } catch (error) {
    options.logger.warn(
      { err: error, command: request.command, offset: request.offset },
      `NBD export failed to ${describeRequest(request)}: ${describeThrown(error)}`,
    );
    const isExpected = error instanceof OperationError;
    return errorReply(request, options.agreement, errnoOf(error), isExpected ? error.message : '');
  }
}

function errnoOf(error: unknown): number {
  if (!(error instanceof OperationError)) return ERRNO.EIO;
  if (error.code === 'insufficient_space') return ERRNO.ENOSPC;
  if (error.code === 'permission_denied') return ERRNO.EPERM;
  return ERRNO.EIO;
}

async function change(
  request: ServerRequest,
  payload: Uint8Array,
  options: TransmissionOptions,
  signal: AbortSignal,
): Promise<void> {
  const { target } = options.agreement;
  const { command, offset, lengthBytes } = request;
  if (command === COMMAND.write) await target.write?.(offset, payload, signal);
  else if (command !== COMMAND.flush) {
    if (target.writeZeroes) await target.writeZeroes(offset, lengthBytes, signal);
    // TRIM is advice; what it discards may keep its content.
    else if (command === COMMAND.writeZeroes) {
      for (let done = 0; done < lengthBytes; done += MAX_ZEROES_AT_ONCE.length) {
        const zeroes = MAX_ZEROES_AT_ONCE.subarray(0, lengthBytes - done);
        await target.write?.(offset + done, zeroes, signal);
      }
    }
  }
  if (command === COMMAND.flush || (request.flags & COMMAND_FLAG.fua) !== 0) {
    await target.flush?.(signal);
  }
}
