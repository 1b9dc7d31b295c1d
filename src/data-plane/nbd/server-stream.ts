import type { Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { OperationError, describeThrown } from '../../shared/errors.ts';
import { protocolError } from './protocol.ts';

export interface NbdServerTls {
  /** PEM of the server's certificate chain and its key. */
  readonly cert: string;
  readonly key: string;
  /** PEM of the authorities for client certificates; given, clients must have one. */
  readonly clientCa?: string;
}

/** One client's bytes, pulled: what is not asked for stays in the kernel and slows the client. */
export interface ClientStream {
  /** Rejects when the client is gone or silent for too long, which also closes the stream. */
  read(lengthBytes: number, timeoutMs: number): Promise<Uint8Array>;
  /** Resolves when the kernel has taken everything; the buffers are free again then. */
  write(parts: readonly Uint8Array[], timeoutMs: number): Promise<void>;
  startTls(tls: NbdServerTls, timeoutMs: number): Promise<void>;
  end(): void;
  destroy(reason: OperationError): void;
  /** Aborts when the client is gone. */
  readonly gone: AbortSignal;
}

interface StreamState {
  readonly plain: Socket;
  /** The TLS layer once there is one. */
  socket: Socket;
  readonly gone: AbortController;
  ended: boolean;
  wake: () => void;
}

export function createClientStream(plain: Socket): ClientStream {
  const state: StreamState = {
    plain,
    socket: plain,
    gone: new AbortController(),
    ended: false,
    wake: () => undefined,
  };
  watch(state, plain);
  const onReadable = (): void => state.wake();
  plain.on('readable', onReadable);
  return {
    gone: state.gone.signal,
    read: (lengthBytes, timeoutMs) => readBytes(state, lengthBytes, timeoutMs),
    write: (parts, timeoutMs) => writeParts(state, parts, timeoutMs),
    async startTls(tls, timeoutMs) {
      // Plain bytes behind the request for TLS could come from somebody in between.
      if (plain.readableLength > 0) throw protocolError('The NBD client did not wait for TLS.');
      plain.removeListener('readable', onReadable);
      await secure(state, tls, timeoutMs);
      state.socket.on('readable', onReadable);
    },
    end() {
      state.socket.end();
      // What it still sends has no reader; without reading, its end would never be seen.
      state.socket.removeListener('readable', onReadable);
      state.socket.resume();
    },
    destroy: (reason) => destroy(state, reason),
  };
}

function destroy(state: StreamState, reason: OperationError): void {
  state.plain.destroy();
  state.socket.destroy();
  if (!state.gone.signal.aborted) state.gone.abort(reason);
  state.wake();
}

function watch(state: StreamState, socket: Socket): void {
  socket.on('error', (error) => destroy(state, clientGone(describeThrown(error))));
  socket.on('close', () => destroy(state, clientGone('it closed the connection')));
  socket.on('end', () => {
    state.ended = true;
    state.wake();
  });
}

function limit(state: StreamState, timeoutMs: number, what: string): NodeJS.Timeout {
  const late = (): void =>
    destroy(state, new OperationError('timed_out', `The NBD client did not ${what} in time.`));
  return setTimeout(late, timeoutMs);
}

async function readBytes(
  state: StreamState,
  lengthBytes: number,
  timeoutMs: number,
): Promise<Uint8Array> {
  if (state.gone.signal.aborted) throw reasonOf(state.gone.signal);
  const atOnce = takeNow(state, lengthBytes);
  if (atOnce !== null) return atOnce;
  const timer = limit(state, timeoutMs, 'send anything');
  try {
    for (;;) {
      if (state.gone.signal.aborted) throw reasonOf(state.gone.signal);
      const bytes = takeNow(state, lengthBytes);
      if (bytes !== null) return bytes;
      if (state.ended) throw clientGone('it closed the connection');
      await new Promise<void>((resolve) => {
        state.wake = resolve;
      });
    }
  } finally {
    clearTimeout(timer);
  }
}

function takeNow({ socket }: StreamState, lengthBytes: number): Uint8Array | null {
  if (lengthBytes === 0) return new Uint8Array(0);
  const bytes: unknown = socket.read(lengthBytes);
  return bytes instanceof Uint8Array && bytes.length === lengthBytes ? bytes : null;
}

async function writeParts(
  state: StreamState,
  parts: readonly Uint8Array[],
  timeoutMs: number,
): Promise<void> {
  const { socket } = state;
  if (state.gone.signal.aborted || socket.writableEnded) return;
  const { signal } = state.gone;
  const timer = limit(state, timeoutMs, 'take a reply');
  await new Promise<void>((resolve) => {
    const settle = (): void => {
      signal.removeEventListener('abort', settle);
      resolve();
    };
    // Node does not promise the callback of a write that destroy() interrupts.
    signal.addEventListener('abort', settle);
    socket.cork();
    for (const [index, part] of parts.entries()) {
      // An error reaches the 'error' listener too; here only the buffers matter.
      socket.write(part, index === parts.length - 1 ? settle : undefined);
    }
    socket.uncork();
  });
  clearTimeout(timer);
}

async function secure(state: StreamState, tls: NbdServerTls, timeoutMs: number): Promise<void> {
  // Only a tls.Server judges client certificates; this one never listens, it is handed the socket.
  const acceptor = createTlsServer({
    cert: tls.cert,
    key: tls.key,
    minVersion: 'TLSv1.2',
    handshakeTimeout: timeoutMs,
    ...(tls.clientCa !== undefined && {
      ca: tls.clientCa,
      requestCert: true,
      rejectUnauthorized: true,
    }),
  });
  const { signal } = state.gone;
  const secured = await new Promise<TLSSocket>((resolve, reject) => {
    acceptor.once('secureConnection', resolve);
    acceptor.once('tlsClientError', (cause) =>
      reject(
        new OperationError(
          'permission_denied',
          `TLS with an NBD client failed: ${describeThrown(cause)}.`,
          { cause },
        ),
      ),
    );
    signal.addEventListener('abort', () => reject(reasonOf(signal)), { once: true });
    acceptor.emit('connection', state.plain);
  });
  state.socket = secured;
  watch(state, secured);
}

function reasonOf(signal: AbortSignal): OperationError {
  const reason: unknown = signal.reason;
  return reason instanceof OperationError ? reason : clientGone('it was disconnected');
}

function clientGone(why: string): OperationError {
  return new OperationError('unreachable', `The NBD client is gone: ${why}.`);
}
