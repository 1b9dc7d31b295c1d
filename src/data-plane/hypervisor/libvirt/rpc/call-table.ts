import { OperationError } from '../../../../shared/errors.ts';
import { abortReason, throwIfAborted } from '../../../../shared/waiting.ts';
import { decodeErrorReport, LibvirtError } from './libvirt-error.ts';
import {
  formatPacket,
  MAX_PAYLOAD_BYTES,
  MESSAGE_STATUS,
  MESSAGE_TYPE,
  type Packet,
} from './packet.ts';
import { PROTOCOL_VERSION } from './procedures.ts';
import { createXdrDecoder, createXdrEncoder, type XdrDecoder, type XdrEncoder } from './xdr.ts';

/**
 * libvirtd stops reading a client, pings included, while `max_client_requests` (5 by default)
 * of its calls run. One fewer keeps keepalive alive however long the calls take.
 */
const MAX_IN_FLIGHT = 4;
const MAX_QUEUED_CALLS = 1024;
const MAX_QUEUED_BYTES = 64 * 1024 * 1024;

/** One procedure: where it goes and how its arguments and result look on the wire. */
export interface CallShape<T> {
  readonly program: number;
  readonly procedure: number;
  /** The public API's name, for messages and logs. */
  readonly name: string;
  readonly encode?: (encoder: XdrEncoder) => void;
  /** Runs as soon as the reply arrives, before any later packet is looked at. */
  readonly decode: (decoder: XdrDecoder) => T;
}

export interface CallOptions {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface CallHooks {
  /** The call is about to be written; its stream packets will carry this serial. */
  onSent(serial: number): void;
  /** The caller gave up before libvirt agreed, and then it did agree. */
  onUnwantedSuccess(serial: number): void;
  /** libvirt said no, or the call was never sent. */
  onRefused(): void;
}

export interface CallTable {
  start<T>(shape: CallShape<T>, options: CallOptions, hooks?: CallHooks): Promise<T>;
  acceptReply(packet: Packet): void;
  failAll(error: OperationError): void;
}

interface Entry {
  readonly payloadBytes: number;
  write(serial: number): void;
  deliver(packet: Packet, serial: number): void;
  reject(error: unknown): void;
}

function decodeReply<T>(shape: CallShape<T>, packet: Packet): T {
  if (packet.program !== shape.program || packet.procedure !== shape.procedure) {
    throw new OperationError(
      'protocol_error',
      `libvirt answered ${shape.name} with a reply to something else.`,
    );
  }
  if (packet.status === MESSAGE_STATUS.error) {
    throw new LibvirtError(shape.name, decodeErrorReport(packet.payload));
  }
  if (packet.status !== MESSAGE_STATUS.ok) {
    throw new OperationError(
      'protocol_error',
      `libvirt answered ${shape.name} with the unknown status ${packet.status}.`,
    );
  }
  const decoder = createXdrDecoder(packet.payload);
  const value = shape.decode(decoder);
  decoder.finish();
  return value;
}

/** Rejects and lets go of the call when its time is up or its signal aborts. */
function limitWait(
  name: string,
  timeoutMs: number,
  signal: AbortSignal | undefined,
  giveUp: (error: OperationError) => void,
): () => void {
  const onAbort = (): void => {
    if (signal) giveUp(abortReason(signal));
  };
  const timer = setTimeout(() => {
    giveUp(
      new OperationError(
        'timed_out',
        `libvirt did not answer ${name} within ${timeoutMs} ms; it may still be working on it.`,
      ),
    );
  }, timeoutMs);
  signal?.addEventListener('abort', onAbort, { once: true });
  return () => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  };
}

function encodeArguments<T>(shape: CallShape<T>): Uint8Array {
  const encoder = createXdrEncoder();
  shape.encode?.(encoder);
  const payload = encoder.finish();
  if (payload.length > MAX_PAYLOAD_BYTES) {
    throw new OperationError(
      'payload_too_large',
      `The arguments of ${shape.name} take ${payload.length} bytes; libvirt accepts ${MAX_PAYLOAD_BYTES}.`,
    );
  }
  return payload;
}

interface EntryContext {
  readonly send: (packet: Uint8Array) => void;
  readonly timeoutMs: number;
  /** Takes the entry out of the queue; false when it was sent already. */
  readonly unqueue: (entry: Entry) => boolean;
  readonly begin: (entry: Entry) => void;
}

function startEntry<T>(
  shape: CallShape<T>,
  payload: Uint8Array,
  signal: AbortSignal | undefined,
  hooks: CallHooks | undefined,
  context: EntryContext,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  let isWanted = true;
  const settle = (act: () => void): void => {
    if (!isWanted) return;
    isWanted = false;
    stopWaiting();
    act();
  };
  const entry: Entry = {
    payloadBytes: payload.length,
    write(serial) {
      hooks?.onSent(serial);
      const { program, procedure } = shape;
      const header = { program, version: PROTOCOL_VERSION, procedure, serial };
      const kind = { type: MESSAGE_TYPE.call, status: MESSAGE_STATUS.ok };
      context.send(formatPacket({ ...header, ...kind }, payload));
    },
    deliver(packet, serial) {
      try {
        const value = decodeReply(shape, packet);
        if (!isWanted) hooks?.onUnwantedSuccess(serial);
        settle(() => resolve(value));
      } catch (error) {
        hooks?.onRefused();
        settle(() => reject(error instanceof Error ? error : new Error(String(error))));
      }
    },
    reject: (error) => settle(() => reject(error instanceof Error ? error : new Error('failed'))),
  };
  const stopWaiting = limitWait(shape.name, context.timeoutMs, signal, (error) => {
    if (context.unqueue(entry)) hooks?.onRefused();
    entry.reject(error);
  });
  context.begin(entry);
  return promise;
}

export function createCallTable(
  send: (packet: Uint8Array) => void,
  defaultTimeoutMs: number,
): CallTable {
  const inFlight = new Map<number, Entry>();
  const queue: Entry[] = [];
  let queuedBytes = 0;
  let lastSerial = 0;

  const sendQueued = (): void => {
    while (inFlight.size < MAX_IN_FLIGHT) {
      const entry = queue.shift();
      if (!entry) return;
      queuedBytes -= entry.payloadBytes;
      // A serial is in use for as long as its reply may still come; 0 belongs to events.
      do lastSerial = (lastSerial % 0xffffffff) + 1;
      while (inFlight.has(lastSerial));
      inFlight.set(lastSerial, entry);
      entry.write(lastSerial);
    }
  };
  const unqueue = (entry: Entry): boolean => {
    const index = queue.indexOf(entry);
    if (index < 0) return false;
    queue.splice(index, 1);
    queuedBytes -= entry.payloadBytes;
    return true;
  };

  return {
    async start(shape, options, hooks) {
      throwIfAborted(options.signal);
      const payload = encodeArguments(shape);
      if (queue.length >= MAX_QUEUED_CALLS || queuedBytes + payload.length > MAX_QUEUED_BYTES) {
        throw new OperationError(
          'limit_reached',
          `Too many libvirt calls are waiting (${queue.length}); try again when some are done.`,
        );
      }
      const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
      const begin = (entry: Entry): void => {
        queue.push(entry);
        queuedBytes += entry.payloadBytes;
        sendQueued();
      };
      const context = { send, timeoutMs, unqueue, begin };
      return await startEntry(shape, payload, options.signal, hooks, context);
    },
    acceptReply(packet) {
      const entry = inFlight.get(packet.serial);
      if (!entry) {
        throw new OperationError(
          'protocol_error',
          `libvirt answered call number ${packet.serial}, which was never made.`,
        );
      }
      inFlight.delete(packet.serial);
      entry.deliver(packet, packet.serial);
      sendQueued();
    },
    failAll(error) {
      const entries = [...inFlight.values(), ...queue.splice(0)];
      inFlight.clear();
      queuedBytes = 0;
      for (const entry of entries) entry.reject(error);
    },
  };
}
