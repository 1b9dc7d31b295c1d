import type { Socket } from 'node:net';
import { describeThrown, OperationError } from '../../../../shared/errors.ts';
import type { Logger } from '../../../../shared/logger.ts';
import { type CallOptions, type CallShape, createCallTable } from './call-table.ts';
import { createEventHub, type EventHub } from './event-hub.ts';
import { createKeepalive, type KeepaliveSettings } from './keepalive.ts';
import { createPacketReader, MESSAGE_TYPE, type Packet } from './packet.ts';
import { PROGRAM, PROTOCOL_VERSION, REMOTE } from './procedures.ts';
import { createStreamTable, type StreamListener, type StreamPort } from './stream-table.ts';

const MAX_UNSENT_BYTES = 128 * 1024 * 1024;
const CLOSE_TIMEOUT_MS = 2000;

const CONNECT_CLOSE: CallShape<undefined> = {
  program: PROGRAM.remote,
  procedure: REMOTE.connectClose,
  name: 'virConnectClose',
  decode: () => undefined,
};

/** Whatever can carry a call: one connection, or one that is renewed behind the scenes. */
export interface LibvirtCaller {
  call<T>(shape: CallShape<T>, options?: CallOptions): Promise<T>;
}

export interface LibvirtConnection extends LibvirtCaller {
  /** Starts a call that goes on as a stream of bytes; `listen` gets our end before any byte can come. */
  openStream<T>(
    shape: CallShape<T>,
    listen: (port: StreamPort) => StreamListener,
    options?: CallOptions,
  ): Promise<T>;
  subscribe: EventHub['subscribe'];
  /** Resolves once written bytes left this process. */
  drained(): Promise<void>;
  isOpen(): boolean;
  /** Resolves when the connection ended: null when we closed it, else why it was lost. Never rejects. */
  readonly closed: Promise<OperationError | null>;
  /** Calls still pending are rejected. May be called twice. Never rejects. */
  close(): Promise<void>;
  /** Closes without a word, for when the other side is not to be waited for. */
  drop(): void;
}

export interface ConnectionSettings {
  readonly socket: Socket;
  readonly timeoutMs: number;
  readonly keepalive: KeepaliveSettings;
  readonly logger: Logger;
}

const lost = (reason: string, cause?: unknown): OperationError =>
  new OperationError('hypervisor_unreachable', `The connection to libvirt ${reason}.`, { cause });

interface Ending {
  readonly closed: Promise<OperationError | null>;
  reason(): OperationError | null;
  end(error: OperationError, isDeliberate: boolean): boolean;
}

function createEnding(): Ending {
  const { promise, resolve } = Promise.withResolvers<OperationError | null>();
  let reason: OperationError | null = null;
  return {
    closed: promise,
    reason: () => reason,
    end(error, isDeliberate) {
      if (reason) return false;
      reason = error;
      resolve(isDeliberate ? null : error);
      return true;
    },
  };
}

/** A call made after the end is refused as unreachable, whatever ended the connection. */
function refuseAfterEnd(reason: OperationError): OperationError {
  return reason.code === 'hypervisor_unreachable'
    ? reason
    : lost(`was given up: ${reason.message.replace(/\.$/, '')}`, reason);
}

function waitForDrain(socket: Socket): Promise<void> {
  if (socket.destroyed || !socket.writableNeedDrain) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done);
      socket.off('close', done);
      resolve();
    };
    socket.on('drain', done);
    socket.on('close', done);
  });
}

/** Speaks the protocol over a connected socket, which it owns from here on. */
export function createConnection(settings: ConnectionSettings): LibvirtConnection {
  const { socket, logger } = settings;
  const ending = createEnding();
  const send = (packet: Uint8Array): void => {
    if (ending.reason()) return;
    socket.write(packet);
    if (socket.writableLength > MAX_UNSENT_BYTES)
      fail(lost('takes no more data; check its daemon'));
  };
  const calls = createCallTable(send, settings.timeoutMs);
  const streams = createStreamTable(send);
  const keepalive = createKeepalive(settings.keepalive, send, () =>
    fail(lost('went silent; check that its daemon runs and answers')),
  );

  const fail = (error: OperationError, isDeliberate = false): void => {
    if (!ending.end(error, isDeliberate)) return;
    if (!isDeliberate) logger.warn({ err: error }, 'libvirt connection lost');
    keepalive.stop();
    socket.destroy();
    calls.failAll(error);
    streams.failAll(error);
  };
  const call: LibvirtConnection['call'] = async (shape, options = {}) => {
    const reason = ending.reason();
    if (reason) throw refuseAfterEnd(reason);
    return await calls.start(shape, options);
  };
  const drop = (): void => fail(lost('was closed by Komadori'), true);
  const events = createEventHub(call, logger);
  const dispatch = createDispatch({ calls, streams, keepalive, events });
  readSocket(socket, {
    noteTraffic: () => keepalive.noteTraffic(),
    dispatch,
    fail,
    isEnded: () => ending.reason() !== null,
  });

  return {
    call,
    async openStream(shape, listen, options = {}) {
      const reason = ending.reason();
      if (reason) throw refuseAfterEnd(reason);
      let port: StreamPort | null = null;
      return await calls.start(shape, options, {
        onSent(serial) {
          port = streams.open(serial, shape, listen);
        },
        onUnwantedSuccess: () => port?.abort(),
        onRefused: () => port?.release(),
      });
    },
    subscribe: (selection, listener, options) => events.subscribe(selection, listener, options),
    drained: () => waitForDrain(socket),
    isOpen: () => ending.reason() === null,
    closed: ending.closed,
    async close() {
      if (ending.reason()) return;
      const goodbye = call(CONNECT_CLOSE, { timeoutMs: CLOSE_TIMEOUT_MS });
      // The daemon cleans up by itself when the socket goes away.
      await goodbye.catch(() => undefined);
      drop();
    },
    drop,
  };
}

function readSocket(
  socket: Socket,
  target: {
    readonly noteTraffic: () => void;
    readonly dispatch: (packet: Packet) => void;
    readonly fail: (error: OperationError) => void;
    readonly isEnded: () => boolean;
  },
): void {
  const { noteTraffic, dispatch, fail, isEnded } = target;
  const reader = createPacketReader((packet) => {
    if (!isEnded()) dispatch(packet);
  });
  socket.on('data', (chunk: Buffer) => {
    noteTraffic();
    try {
      reader.push(chunk);
    } catch (error) {
      fail(
        error instanceof OperationError
          ? error
          : new OperationError(
              'internal',
              `Reading from libvirt failed: ${describeThrown(error)}.`,
              { cause: error },
            ),
      );
    }
  });
  socket.on('error', (error) =>
    fail(lost(`broke (${error.message}); check that its daemon runs`, error)),
  );
  socket.on('close', () => fail(lost('was closed by its daemon; check that it runs')));
}

interface DispatchTargets {
  readonly calls: { acceptReply(packet: Packet): void };
  readonly streams: { accept(packet: Packet): void };
  readonly keepalive: { accept(packet: Packet): void };
  readonly events: { accept(packet: Packet): void };
}

function createDispatch(targets: DispatchTargets): (packet: Packet) => void {
  return (packet) => {
    if (packet.version !== PROTOCOL_VERSION) {
      throw new OperationError(
        'protocol_error',
        `libvirt speaks protocol version ${packet.version}; Komadori speaks ${PROTOCOL_VERSION}.`,
      );
    }
    switch (packet.type) {
      case MESSAGE_TYPE.reply:
        targets.calls.acceptReply(packet);
        break;
      case MESSAGE_TYPE.stream:
      case MESSAGE_TYPE.streamHole:
        targets.streams.accept(packet);
        break;
      case MESSAGE_TYPE.event:
        if (packet.program === PROGRAM.keepalive) targets.keepalive.accept(packet);
        else targets.events.accept(packet);
        break;
      default:
        throw new OperationError(
          'protocol_error',
          `libvirt sent a message of the unexpected type ${packet.type}.`,
        );
    }
  };
}
