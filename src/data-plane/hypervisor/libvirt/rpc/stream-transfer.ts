import { OperationError, toOperationError } from '../../../../shared/errors.ts';
import { abortReason, throwIfAborted } from '../../../../shared/waiting.ts';
import type { CallShape } from './call-table.ts';
import type { LibvirtConnection } from './connection.ts';
import { decodeErrorReport, LibvirtError } from './libvirt-error.ts';
import { MESSAGE_STATUS, MESSAGE_TYPE, type Packet } from './packet.ts';
import { MAX_STREAM_PACKET_BYTES, type StreamPort } from './stream-table.ts';

export interface TransferOptions {
  /** For the transfer as a whole. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

interface Transfer {
  readonly finished: Promise<undefined>;
  readonly signal: AbortSignal;
  attach(port: StreamPort): void;
  succeed(): void;
  /** The stream is over on libvirt's side as well. */
  failEnded(error: OperationError): void;
  /** We give up: libvirt is told to stop. */
  abort(error: OperationError): void;
}

/** One outcome, told once, with the stream released or aborted accordingly. */
function createTransfer(name: string, options: TransferOptions): Transfer {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  // Whoever sends may look at the outcome only later; that is no unhandled rejection.
  promise.catch(() => undefined);
  const limit = AbortSignal.timeout(options.timeoutMs);
  const signal = options.signal ? AbortSignal.any([limit, options.signal]) : limit;
  let port: StreamPort | null = null;
  let isSettled = false;
  const settle = (act: () => void): void => {
    if (isSettled) return;
    isSettled = true;
    signal.removeEventListener('abort', onAbort);
    act();
  };
  const abort = (error: OperationError): void =>
    settle(() => {
      port?.abort();
      reject(error);
    });
  const onAbort = (): void => {
    const reason = abortReason(signal);
    abort(
      reason.code === 'timed_out'
        ? new OperationError(
            'timed_out',
            `The data of ${name} did not pass within ${options.timeoutMs} ms.`,
          )
        : reason,
    );
  };
  signal.addEventListener('abort', onAbort, { once: true });
  return {
    finished: promise,
    signal,
    attach: (attached) => {
      port = attached;
    },
    succeed: () =>
      settle(() => {
        port?.release();
        resolve(undefined);
      }),
    failEnded: (error) =>
      settle(() => {
        port?.release();
        reject(error);
      }),
    abort,
  };
}

/** True when the packet carries data; the two ways for a stream to end are dealt with here. */
function isData(packet: Packet, name: string, transfer: Transfer): boolean {
  if (packet.status === MESSAGE_STATUS.error) {
    transfer.failEnded(new LibvirtError(name, decodeErrorReport(packet.payload)));
    return false;
  }
  if (packet.status === MESSAGE_STATUS.ok) {
    transfer.succeed();
    return false;
  }
  if (packet.type === MESSAGE_TYPE.streamHole) {
    transfer.abort(
      new OperationError('protocol_error', `libvirt sent holes for ${name} without being asked.`),
    );
    return false;
  }
  return true;
}

/**
 * Starts a call and hands on the bytes that libvirt sends for it. `onData` must be quick: it runs
 * while packets are read. More than `maxBytes` is `payload_too_large`.
 */
export async function receiveStream<T>(
  connection: LibvirtConnection,
  shape: CallShape<T>,
  target: { maxBytes: number; onData: (bytes: Uint8Array) => void },
  options: TransferOptions,
): Promise<T> {
  throwIfAborted(options.signal);
  const transfer = createTransfer(shape.name, options);
  let receivedBytes = 0;
  const listen = (port: StreamPort) => {
    transfer.attach(port);
    return {
      onPacket(packet: Packet) {
        if (!isData(packet, shape.name, transfer)) return;
        if (packet.payload.length === 0) {
          // An empty packet is libvirt's end of data; it wants a finish and answers with one.
          port.sendFinish();
          return;
        }
        receivedBytes += packet.payload.length;
        if (receivedBytes > target.maxBytes) {
          const message = `libvirt sent more than ${target.maxBytes} bytes for ${shape.name}.`;
          transfer.abort(new OperationError('payload_too_large', message));
          return;
        }
        try {
          target.onData(packet.payload);
        } catch (error) {
          transfer.abort(toOperationError(error));
        }
      },
      onLost: (error: OperationError) => transfer.failEnded(error),
    };
  };
  const result = await connection.openStream(shape, listen, {
    timeoutMs: options.timeoutMs,
    signal: transfer.signal,
  });
  await transfer.finished;
  return result;
}

/** Starts a call and sends it bytes until the source ends. */
export async function sendStream<T>(
  connection: LibvirtConnection,
  shape: CallShape<T>,
  source: AsyncIterable<Uint8Array>,
  options: TransferOptions,
): Promise<T> {
  throwIfAborted(options.signal);
  const transfer = createTransfer(shape.name, options);
  const { promise: opened, resolve: open } = Promise.withResolvers<StreamPort>();
  const listen = (port: StreamPort) => {
    transfer.attach(port);
    open(port);
    return {
      onPacket: (packet: Packet) => {
        isData(packet, shape.name, transfer);
      },
      onLost: (error: OperationError) => transfer.failEnded(error),
    };
  };
  const result = await connection.openStream(shape, listen, {
    timeoutMs: options.timeoutMs,
    signal: transfer.signal,
  });
  const port = await opened;
  try {
    await pump(source, transfer, (bytes) => {
      port.sendData(bytes);
      return connection.drained();
    });
    port.sendFinish();
  } catch (error) {
    transfer.abort(toOperationError(error));
  }
  await transfer.finished;
  return result;
}

async function pump(
  source: AsyncIterable<Uint8Array>,
  transfer: Transfer,
  send: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      // A source that hangs must not outlive the stream.
      const step = await Promise.race([iterator.next(), transfer.finished]);
      if (step === undefined || step.done === true) return;
      for (let start = 0; start < step.value.length; start += MAX_STREAM_PACKET_BYTES) {
        await Promise.race([
          send(step.value.subarray(start, start + MAX_STREAM_PACKET_BYTES)),
          transfer.finished,
        ]);
      }
    }
  } finally {
    // Not awaited: a source that hangs in next() would hang here as well.
    iterator.return?.().catch(() => undefined);
  }
}
