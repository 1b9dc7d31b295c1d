import { connect as connectSocket, isIP } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { ConnectionOptions } from 'node:tls';
import { OperationError, describeThrown } from '../../shared/errors.ts';
import { abortReason, throwIfAborted, waitFor } from '../../shared/waiting.ts';
import { protocolError } from './protocol.ts';

export type NbdAddress =
  | { readonly socketPath: string }
  | { readonly host: string; readonly port: number };

export interface NbdTlsOptions {
  /** PEM of the authorities that may vouch for the server. */
  readonly ca: string;
  /** The name or IP address that the server's certificate must carry. */
  readonly serverName: string;
  /** PEM of a client certificate and its key, where the server asks for one. */
  readonly cert?: string;
  readonly key?: string;
}

/**
 * Says where the next bytes go, so that payload lands in its final place without a copy. What
 * `nextBuffer` returns may change only in reaction to `filled`: the kernel may already be
 * writing to the buffer that was handed out before.
 */
export interface ByteSink {
  nextBuffer(): Uint8Array;
  /** `bytes` more bytes stand in the buffer handed out last. Throws OperationError on nonsense. */
  filled(bytes: number): void;
}

export interface Wire {
  setSink(sink: ByteSink): void;
  /** The bytes must not change until the peer has answered or the wire is closed. */
  write(parts: readonly Uint8Array[]): void;
  startTls(options: NbdTlsOptions, timeoutMs: number, signal?: AbortSignal): Promise<void>;
  /** Sends what was written, then closes; cuts off a peer that does not take it in time. */
  end(timeoutMs: number): Promise<void>;
  /** No byte is read into or sent from any buffer once this returns. */
  destroy(reason: OperationError): void;
  /** Resolves, never rejects, with the reason once the wire is dead. */
  readonly closed: Promise<OperationError>;
}

const FALLBACK_BUFFER = new Uint8Array(64 * 1024);

export function describeAddress(address: NbdAddress): string {
  return 'socketPath' in address ? address.socketPath : `${address.host}:${address.port}`;
}

export async function connectWire(
  address: NbdAddress,
  options: { timeoutMs: number; encrypted: boolean; signal?: AbortSignal | undefined },
): Promise<Wire> {
  throwIfAborted(options.signal);
  const where = describeAddress(address);
  const feed = createFeed();
  const socket = openSocket(address, options.encrypted ? null : feed);
  const wire = createWire(socket, feed, where, options.encrypted);
  const connected = new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    void wire.closed.then(reject);
  });
  try {
    await waitFor(connected, {
      timeoutMs: options.timeoutMs,
      what: `Connecting to the NBD server at ${where}`,
      signal: options.signal,
    });
  } catch (error) {
    wire.destroy(
      error instanceof OperationError ? error : unreachable(where, 'connecting failed', error),
    );
    throw error;
  }
  return wire;
}

/** Node can read a socket straight into our buffers, but not the socket below a TLS connection. */
function openSocket(address: NbdAddress, feed: Feed | null): Socket {
  const onread = feed && {
    buffer: () => feed.nextBuffer(),
    callback: (bytes: number, buffer: Uint8Array) => {
      feed.filled(bytes, buffer);
      return true;
    },
  };
  return connectSocket({
    ...('socketPath' in address
      ? { path: address.socketPath }
      : { host: address.host, port: address.port, noDelay: true, keepAlive: true }),
    ...(onread && { onread }),
  });
}

interface Feed {
  sink: ByteSink | null;
  fail: (reason: OperationError) => void;
  nextBuffer(): Uint8Array;
  filled(bytes: number, buffer: Uint8Array): void;
  push(bytes: Uint8Array): void;
}

function createFeed(): Feed {
  let handedTo: ByteSink | null = null;
  const guard = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      feed.sink = null;
      feed.fail(error instanceof OperationError ? error : brokenReader(error));
    }
  };
  const feed: Feed = {
    sink: null,
    fail: () => undefined,
    nextBuffer() {
      handedTo = feed.sink;
      return handedTo?.nextBuffer() ?? FALLBACK_BUFFER;
    },
    filled(bytes, buffer) {
      const sink = feed.sink;
      if (sink !== null && sink === handedTo) guard(() => sink.filled(bytes));
      else feed.push(buffer.subarray(0, bytes));
    },
    push(bytes) {
      guard(() => {
        let rest = bytes;
        while (rest.length > 0 && feed.sink !== null) {
          const room = feed.sink.nextBuffer();
          const piece = rest.subarray(0, room.length);
          room.set(piece);
          feed.sink.filled(piece.length);
          rest = rest.subarray(piece.length);
        }
      });
    },
  };
  return feed;
}

function createWire(first: Socket, feed: Feed, where: string, encrypted: boolean): Wire {
  let socket = first;
  let failure: OperationError | null = null;
  const dead = Promise.withResolvers<OperationError>();

  const destroy = (reason: OperationError): void => {
    failure ??= reason;
    feed.sink = null;
    first.destroy();
    socket.destroy();
    dead.resolve(failure);
  };
  feed.fail = destroy;

  const watch = (watched: Socket): void => {
    watched.on('error', (error) => destroy(unreachable(where, describeThrown(error), error)));
    watched.on('end', () => destroy(unreachable(where, 'the server closed the connection')));
    watched.on('close', () => destroy(unreachable(where, 'the connection was closed')));
  };
  const onData = (bytes: Uint8Array): void => feed.push(bytes);
  watch(socket);
  if (encrypted) socket.on('data', onData);

  return {
    closed: dead.promise,
    setSink(sink) {
      if (failure === null) feed.sink = sink;
    },
    write(parts) {
      if (failure !== null || socket.writableEnded) return;
      socket.cork();
      for (const part of parts) socket.write(part);
      socket.uncork();
    },
    async startTls(options, timeoutMs, signal) {
      socket.removeListener('data', onData);
      const secured = connectTls({ socket: first, ...tlsOptions(options) });
      socket = secured;
      watch(secured);
      const ready = new Promise<void>((resolve, reject) => {
        secured.once('secureConnect', resolve);
        secured.once('error', (error) => reject(notTrusted(where, options, error)));
        void dead.promise.then(reject);
      });
      await waitFor(ready, { timeoutMs, what: `TLS with the NBD server at ${where}`, signal });
      secured.on('data', onData);
    },
    async end(timeoutMs) {
      if (failure !== null) return;
      socket.end();
      const ended = unreachable(where, 'we closed the connection');
      await waitFor(dead.promise, { timeoutMs, what: 'Closing the NBD connection' }).catch(() =>
        // The peer does not read: nothing is lost by cutting it off, every request was answered.
        destroy(ended),
      );
    },
    destroy,
  };
}

function tlsOptions(options: NbdTlsOptions): ConnectionOptions {
  return {
    ca: options.ca,
    host: options.serverName,
    // Server Name Indication carries host names only (RFC 6066 section 3).
    ...(isIP(options.serverName) === 0 && { servername: options.serverName }),
    ...(options.cert !== undefined && { cert: options.cert }),
    ...(options.key !== undefined && { key: options.key }),
    minVersion: 'TLSv1.2',
    rejectUnauthorized: true,
  };
}

function notTrusted(where: string, options: NbdTlsOptions, cause: unknown): OperationError {
  return new OperationError(
    'permission_denied',
    `TLS with the NBD server at ${where} failed: ${describeThrown(cause)}. Check the CA, that the server's certificate names ${options.serverName}, and the client certificate.`,
    { cause },
  );
}

export function unreachable(where: string, reason: string, cause?: unknown): OperationError {
  const refused =
    cause instanceof Error &&
    'code' in cause &&
    (cause.code === 'EACCES' || cause.code === 'EPERM');
  return new OperationError(
    refused ? 'permission_denied' : 'unreachable',
    `The NBD server at ${where} cannot be used: ${reason}.`,
    cause === undefined ? {} : { cause },
  );
}

function brokenReader(cause: unknown): OperationError {
  return new OperationError('internal', 'Reading from an NBD server failed inside Komadori.', {
    cause,
  });
}

export interface HandshakeReader extends ByteSink {
  read(lengthBytes: number): Promise<Uint8Array>;
  /** Bytes that came without being asked for. */
  leftover(): number;
}

/** Larger than one option reply and one read of a socket together, so that it never runs full. */
const HANDSHAKE_BUFFER_BYTES = 256 * 1024;

export function createHandshakeReader(wire: Wire, signal?: AbortSignal): HandshakeReader {
  const buffer = new Uint8Array(HANDSHAKE_BUFFER_BYTES);
  let start = 0;
  let end = 0;
  let wanted: { lengthBytes: number; resolve: (bytes: Uint8Array) => void } | null = null;

  const serve = (): void => {
    if (wanted === null || end - start < wanted.lengthBytes) return;
    const { resolve, lengthBytes } = wanted;
    wanted = null;
    const bytes = buffer.slice(start, start + lengthBytes);
    start += lengthBytes;
    resolve(bytes);
  };

  return {
    nextBuffer() {
      if (start === end || end > buffer.length / 2) {
        buffer.copyWithin(0, start, end);
        end -= start;
        start = 0;
      }
      if (end === buffer.length) {
        throw protocolError('The NBD server sent more than anybody asked for.');
      }
      return buffer.subarray(end);
    },
    filled(bytes) {
      end += bytes;
      serve();
    },
    leftover: () => end - start,
    async read(lengthBytes) {
      if (signal?.aborted) throw abortReason(signal);
      return await new Promise<Uint8Array>((resolve, reject) => {
        wanted = { lengthBytes, resolve };
        void wire.closed.then(reject);
        serve();
      });
    },
  };
}
