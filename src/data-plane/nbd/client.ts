import { OperationError } from '../../shared/errors.ts';
import type { AskStatus, ExtentOptions, NbdExtent } from './block-status.ts';
import { missingContext, statusExtents } from './block-status.ts';
import type { HandshakeOptions, NbdExportInfo } from './client-handshake.ts';
import { withNegotiation } from './client-handshake.ts';
import { COMMAND, COMMAND_FLAG, protocolError } from './protocol.ts';
import type { RequestQueue, RequestSpec } from './request-queue.ts';
import { createRequestQueue } from './request-queue.ts';
import { describeAddress } from './wire.ts';

export interface NbdClientOptions extends HandshakeOptions {
  readonly exportName: string;
  /** Meta contexts to agree on, e.g. `base:allocation`; those the server lacks are left out. */
  readonly metaContexts?: readonly string[] | undefined;
  /** A server silent for longer is given up: the connection closes. */
  readonly requestTimeoutMs?: number | undefined;
  /** QEMU works on 16 requests per connection. */
  readonly maxRequestsInFlight?: number | undefined;
}

export interface WriteOptions {
  /** Resolves only once the data is durable. */
  readonly fua?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * One NBD export. Requests run side by side; ranges of any length are split to what the server
 * takes. When a request rejects, its buffer is the caller's again. A server that breaks the
 * protocol or a request that times out closes the connection; a server's error does not.
 */
export interface NbdClient {
  readonly info: NbdExportInfo;
  /** The meta contexts that the server agreed to. */
  readonly metaContexts: readonly string[];
  /** Fills the whole target, which may be shared memory. */
  readInto(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void>;
  /** `data` must not change before this settles. */
  write(offset: number, data: Uint8Array, options?: WriteOptions): Promise<void>;
  writeZeroes(
    offset: number,
    lengthBytes: number,
    options?: WriteOptions & { noHole?: boolean },
  ): Promise<void>;
  trim(offset: number, lengthBytes: number, options?: WriteOptions): Promise<void>;
  flush(signal?: AbortSignal): Promise<void>;
  /** Covers the range without gaps, neighbours with equal flags merged. */
  blockStatus(
    offset: number,
    lengthBytes: number,
    context: string,
    signal?: AbortSignal,
  ): Promise<NbdExtent[]>;
  /** The same for a whole export (or a part of it), as it comes. */
  extents(context: string, options?: ExtentOptions): AsyncGenerator<NbdExtent, void, void>;
  /** Resolves with the reason once the connection is gone, also after close(). */
  readonly closed: Promise<OperationError>;
  /** Lets requests under way finish, within a limit. */
  close(): Promise<void>;
}

/** A client that knows how busy it is; what a pool is made of. */
export interface NbdConnection extends NbdClient {
  load(): number;
}

const DEFAULT_REQUEST_TIMEOUT_MS = 60_000;
const DEFAULT_REQUESTS_IN_FLIGHT = 16;
const CLOSE_TIMEOUT_MS = 5000;
/** Measured with QEMU: its buffers of 512 KiB and more come fresh from the kernel, 5 times slower. */
const MAX_READ_BYTES = 256 * 1024;
/** TRIM and WRITE_ZEROES carry no payload, so the server's payload limit does not bind them. */
const MAX_RANGE_BYTES = 1024 * 1024 * 1024;
const MAX_BLOCK_STATUS_EXTENTS = 1024 * 1024;

export async function openNbdClient(options: NbdClientOptions): Promise<NbdConnection> {
  return await withNegotiation(options, async (negotiation) => {
    const wanted = options.metaContexts ?? [];
    const contexts = await negotiation.setMetaContexts(options.exportName, wanted);
    const info = await negotiation.go(options.exportName);
    const queue = createRequestQueue(negotiation.wire, {
      where: describeAddress(options.address),
      structuredReplies: info.structuredReplies,
      contextIds: new Set(contexts.values()),
      maxRequestsInFlight: options.maxRequestsInFlight ?? DEFAULT_REQUESTS_IN_FLIGHT,
      requestTimeoutMs: options.requestTimeoutMs ?? DEFAULT_REQUEST_TIMEOUT_MS,
    });
    return createClient(queue, { info, contexts, closed: negotiation.wire.closed });
  });
}

export async function listNbdExports(
  options: HandshakeOptions,
): Promise<{ name: string; description: string }[]> {
  return await withNegotiation(options, async (negotiation) => {
    const exports = await negotiation.listExports();
    await negotiation.abort();
    return exports;
  });
}

/** What an export is and which meta contexts it offers, without opening it. */
export async function describeNbdExport(
  options: HandshakeOptions & { exportName: string; contextQueries?: readonly string[] },
): Promise<{ info: NbdExportInfo; metaContexts: string[] }> {
  return await withNegotiation(options, async (negotiation) => {
    const info = await negotiation.info(options.exportName);
    const metaContexts = await negotiation.listMetaContexts(
      options.exportName,
      options.contextQueries ?? [],
    );
    await negotiation.abort();
    return { info, metaContexts };
  });
}

interface Agreed {
  readonly info: NbdExportInfo;
  readonly contexts: ReadonlyMap<string, number>;
  readonly closed: Promise<OperationError>;
}

function createClient(queue: RequestQueue, agreed: Agreed): NbdConnection {
  const { info, contexts, closed } = agreed;
  return {
    info,
    metaContexts: [...contexts.keys()],
    closed,
    load: () => queue.load(),
    async readInto(offset, target, signal) {
      const maxBytes = Math.min(info.blockSizes.maximumBytes, MAX_READ_BYTES);
      await submitPieces(
        queue,
        info,
        { offset, lengthBytes: target.length, maxBytes },
        (piece) => ({
          command: COMMAND.read,
          flags: 0,
          target: target.subarray(piece.start, piece.end),
          signal,
        }),
      );
    },
    ...createWriting(queue, info),
    ...createMapping(queue, agreed),
    close: () => queue.close(CLOSE_TIMEOUT_MS),
  };
}

function createWriting(
  queue: RequestQueue,
  info: NbdExportInfo,
): Pick<NbdClient, 'write' | 'writeZeroes' | 'trim' | 'flush'> {
  const checkWritable = (): void => {
    if (info.readOnly) {
      throw new OperationError('permission_denied', 'The NBD export is read-only.');
    }
  };
  const fuaFlag = (options: WriteOptions | undefined): number => {
    if (options?.fua !== true) return 0;
    requireSupport(info.canFua, 'write-through (FUA)');
    return COMMAND_FLAG.fua;
  };
  return {
    async write(offset, data, options) {
      checkWritable();
      const flags = fuaFlag(options);
      const maxBytes = info.blockSizes.maximumBytes;
      await submitPieces(queue, info, { offset, lengthBytes: data.length, maxBytes }, (piece) => ({
        command: COMMAND.write,
        flags,
        payload: data.subarray(piece.start, piece.end),
        signal: options?.signal,
      }));
    },
    async writeZeroes(offset, lengthBytes, options) {
      checkWritable();
      requireSupport(info.canWriteZeroes, 'writing zeroes');
      const flags = fuaFlag(options) | (options?.noHole === true ? COMMAND_FLAG.noHole : 0);
      const range = { offset, lengthBytes, maxBytes: MAX_RANGE_BYTES };
      await submitPieces(queue, info, range, () => ({
        command: COMMAND.writeZeroes,
        flags,
        signal: options?.signal,
      }));
    },
    async trim(offset, lengthBytes, options) {
      checkWritable();
      requireSupport(info.canTrim, 'discarding');
      const flags = fuaFlag(options);
      const range = { offset, lengthBytes, maxBytes: MAX_RANGE_BYTES };
      await submitPieces(queue, info, range, () => ({
        command: COMMAND.trim,
        flags,
        signal: options?.signal,
      }));
    },
    async flush(signal) {
      requireSupport(info.canFlush, 'flushing');
      await queue.submit({ command: COMMAND.flush, flags: 0, offset: 0, lengthBytes: 0, signal });
    },
  };
}

function createMapping(
  queue: RequestQueue,
  { info, contexts }: Agreed,
): Pick<NbdClient, 'blockStatus' | 'extents'> {
  const extents: NbdClient['extents'] = (context, options = {}) => {
    const offset = options.offset ?? 0;
    const lengthBytes = options.lengthBytes ?? info.sizeBytes - offset;
    checkRange(info, offset, lengthBytes);
    const id = contexts.get(context);
    if (id === undefined) throw missingContext(context, [...contexts.keys()]);
    const ask: AskStatus = async (at, bytes, signal) => {
      const request = { command: COMMAND.blockStatus, flags: 0, offset: at, lengthBytes: bytes };
      const answered = await queue.submit({ ...request, signal });
      const entries = answered.statuses.get(id);
      if (entries !== undefined) return entries;
      throw protocolError(`The NBD server left out the status of "${context}".`);
    };
    return statusExtents(ask, { offset, lengthBytes }, options);
  };
  return {
    extents,
    async blockStatus(offset, lengthBytes, context, signal) {
      return await Array.fromAsync(
        extents(context, { offset, lengthBytes, signal, maxExtents: MAX_BLOCK_STATUS_EXTENTS }),
      );
    },
  };
}

/** Splits a range; rejects only when no piece is under way any more. */
async function submitPieces(
  queue: RequestQueue,
  info: NbdExportInfo,
  range: { offset: number; lengthBytes: number; maxBytes: number },
  pieceOf: (piece: { start: number; end: number }) => Omit<RequestSpec, 'offset' | 'lengthBytes'>,
): Promise<void> {
  const { offset, lengthBytes, maxBytes } = range;
  checkRange(info, offset, lengthBytes);
  if (lengthBytes === 0) return;
  if (lengthBytes <= maxBytes) {
    await queue.submit({ offset, lengthBytes, ...pieceOf({ start: 0, end: lengthBytes }) });
    return;
  }
  const pieces: Promise<unknown>[] = [];
  for (let start = 0; start < lengthBytes; start += maxBytes) {
    const end = Math.min(start + maxBytes, lengthBytes);
    const place = { offset: offset + start, lengthBytes: end - start };
    pieces.push(queue.submit({ ...place, ...pieceOf({ start, end }) }));
  }
  for (const outcome of await Promise.allSettled(pieces)) {
    if (outcome.status === 'rejected') throw outcome.reason;
  }
}

function requireSupport(supported: boolean, what: string): void {
  if (!supported) {
    throw new OperationError('host_incapable', `The NBD export does not support ${what}.`);
  }
}

function checkRange(info: NbdExportInfo, offset: number, lengthBytes: number): void {
  const minimum = info.blockSizes.minimumBytes;
  const inside =
    Number.isSafeInteger(offset) &&
    Number.isSafeInteger(lengthBytes) &&
    offset >= 0 &&
    lengthBytes >= 0 &&
    offset + lengthBytes <= info.sizeBytes;
  if (!inside) {
    throw new OperationError(
      'invalid_input',
      `The range of ${lengthBytes} bytes at ${offset} is not inside the NBD export of ${info.sizeBytes} bytes.`,
    );
  }
  if (offset % minimum !== 0 || lengthBytes % minimum !== 0) {
    throw new OperationError(
      'invalid_input',
      `The range of ${lengthBytes} bytes at ${offset} is not aligned to the export's ${minimum}-byte blocks.`,
    );
  }
}
