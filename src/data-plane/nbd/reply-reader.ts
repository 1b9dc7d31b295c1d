import type { OperationError } from '../../shared/errors.ts';
import type { ByteSink } from './wire.ts';
import {
  CHUNK,
  CHUNK_ERROR_BIT,
  CHUNK_FLAG_DONE,
  CHUNK_HEADER_BYTES,
  COMMAND,
  MAGIC,
  SIMPLE_REPLY_BYTES,
  decodeRemark,
  protocolError,
  readUint64,
  serverError,
  viewOf,
} from './protocol.ts';

export interface StatusEntry {
  readonly lengthBytes: number;
  readonly flags: number;
}

/** A request that the server has not answered completely. */
export interface PendingRequest {
  readonly command: number;
  readonly offset: number;
  readonly lengthBytes: number;
  /** Where read data goes; null once nobody wants it any more. */
  target: Uint8Array | null;
  /** Start and end of the ranges that arrived, ascending and merged. */
  readonly covered: [start: number, end: number][];
  readonly statuses: Map<number, StatusEntry[]>;
  failure: OperationError | null;
}

export interface ReplyReader extends ByteSink {
  /** The request whose target the kernel may be writing into right now. */
  filling(): PendingRequest | null;
}

export interface ReplyReaderOptions {
  readonly where: string;
  readonly structuredReplies: boolean;
  /** The numbers of the meta contexts that were agreed on. */
  readonly contextIds: ReadonlySet<number>;
  find(cookie: number): PendingRequest | undefined;
  /** The server has answered completely; `failure` says whether it succeeded. */
  finish(cookie: number, request: PendingRequest): void;
}

/** A chunk header and an offset: reading no further lets the data behind them land in its target. */
const HEAD_BYTES = CHUNK_HEADER_BYTES + 8;
/** A status entry takes 8 bytes; QEMU sends at most 2^17 of them at once. */
const MAX_PAYLOAD_BYTES = 4 * 1024 * 1024;
const MAX_ERROR_BYTES = 64 * 1024;
/** A server that scatters one answer further than this means harm. */
const MAX_PIECES = 4096;

const DISCARDED = new Uint8Array(256 * 1024);
const NOTHING = new Uint8Array(0);

interface Payload {
  /** Null: thrown away. */
  readonly into: Uint8Array | null;
  readonly lengthBytes: number;
  position: number;
  /** Set while `into` belongs to the caller. */
  readonly request: PendingRequest | null;
  readonly arrived: (bytes: Uint8Array) => void;
}

interface Chunk {
  readonly cookie: number;
  readonly request: PendingRequest;
  readonly type: number;
  readonly done: boolean;
  readonly lengthBytes: number;
}

interface ReaderState {
  readonly options: ReplyReaderOptions;
  readonly head: Uint8Array;
  readonly headView: DataView;
  headHave: number;
  payload: Payload | null;
}

export function createReplyReader(options: ReplyReaderOptions): ReplyReader {
  const head = new Uint8Array(HEAD_BYTES);
  const headWanted = options.structuredReplies ? HEAD_BYTES : SIMPLE_REPLY_BYTES;
  const state: ReaderState = { options, head, headView: viewOf(head), headHave: 0, payload: null };
  return {
    filling: () => state.payload?.request ?? null,
    nextBuffer() {
      const { payload } = state;
      if (payload === null) return head.subarray(state.headHave, headWanted);
      const missing = payload.lengthBytes - payload.position;
      return payload.into?.subarray(payload.position) ?? DISCARDED.subarray(0, missing);
    },
    filled(bytes) {
      const { payload } = state;
      if (payload === null) state.headHave += bytes;
      else {
        payload.position += bytes;
        if (payload.position < payload.lengthBytes) return;
        state.payload = null;
        payload.arrived(payload.into ?? NOTHING);
      }
      while (state.payload === null && parseHead(state));
    },
  };
}

function broken({ where }: ReplyReaderOptions, what: string): OperationError {
  return protocolError(`The NBD server at ${where} broke the protocol: ${what}.`);
}

/** Interprets one header; false when it has not arrived completely. */
function parseHead(state: ReaderState): boolean {
  if (state.headHave < 4) return false;
  const magic = state.headView.getUint32(0);
  if (magic === MAGIC.simpleReply) return parseSimple(state);
  if (magic !== MAGIC.structuredReply) {
    throw broken(state.options, 'a reply starts with a wrong magic number');
  }
  if (!state.options.structuredReplies) {
    throw broken(state.options, 'it sent structure that was not agreed on');
  }
  return parseChunk(state);
}

function parseSimple(state: ReaderState): boolean {
  if (state.headHave < SIMPLE_REPLY_BYTES) return false;
  const { options, headView } = state;
  const errno = headView.getUint32(4);
  const { cookie, request } = findRequest(state);
  const isRead = request.command === COMMAND.read;
  if (options.structuredReplies && isRead && errno === 0) {
    throw broken(options, 'it answered a read without structure');
  }
  if (request.command === COMMAND.blockStatus && errno === 0) {
    throw broken(options, 'it answered a status request with nothing');
  }
  if (request.covered.length > 0 || request.statuses.size > 0) {
    throw broken(options, 'it mixed kinds of replies');
  }
  consumeHead(state, SIMPLE_REPLY_BYTES);
  if (errno !== 0) request.failure ??= serverError(request, errno, '');
  if (errno !== 0 || !isRead) finish(state, cookie, request);
  else receiveData(state, { cookie, request, done: true }, request);
  return true;
}

function parseChunk(state: ReaderState): boolean {
  if (state.headHave < CHUNK_HEADER_BYTES) return false;
  const { options, headView } = state;
  const chunk: Chunk = {
    ...findRequest(state),
    done: (headView.getUint16(4) & CHUNK_FLAG_DONE) !== 0,
    type: headView.getUint16(6),
    lengthBytes: headView.getUint32(16),
  };
  if (chunk.type === CHUNK.offsetData) {
    if (chunk.lengthBytes <= 8) throw broken(options, 'it sent a data chunk without data');
    if (state.headHave < HEAD_BYTES) return false;
    const offset = readUint64(headView, CHUNK_HEADER_BYTES, 'offset');
    consumeHead(state, HEAD_BYTES);
    receiveData(state, chunk, { offset, lengthBytes: chunk.lengthBytes - 8 });
    return true;
  }
  checkPayloadLength(options, chunk);
  consumeHead(state, CHUNK_HEADER_BYTES);
  receive(state, {
    into: new Uint8Array(chunk.lengthBytes),
    lengthBytes: chunk.lengthBytes,
    request: null,
    arrived: (bytes) => {
      interpretChunk(options, chunk, bytes);
      if (chunk.done) finish(state, chunk.cookie, chunk.request);
    },
  });
  return true;
}

function findRequest({ options, headView }: ReaderState): {
  cookie: number;
  request: PendingRequest;
} {
  const cookie = readUint64(headView, 8, 'cookie');
  const request = options.find(cookie);
  if (request === undefined) throw broken(options, 'it answered a request that nobody made');
  return { cookie, request };
}

function consumeHead(state: ReaderState, bytes: number): void {
  state.head.copyWithin(0, bytes, state.headHave);
  state.headHave -= bytes;
}

function finish({ options }: ReaderState, cookie: number, request: PendingRequest): void {
  const [first, second] = request.covered;
  const coveredBytes = first === undefined || second !== undefined ? 0 : first[1] - first[0];
  const isComplete = request.command !== COMMAND.read || coveredBytes === request.lengthBytes;
  if (request.failure === null && !isComplete) {
    throw broken(options, 'it left out a part of the data');
  }
  options.finish(cookie, request);
}

/** Books a piece of a read; returns where it belongs, or null when nobody wants it any more. */
function cover(
  options: ReplyReaderOptions,
  request: PendingRequest,
  { offset, lengthBytes }: { offset: number; lengthBytes: number },
): Uint8Array | null {
  const start = offset - request.offset;
  if (request.command !== COMMAND.read) {
    throw broken(options, 'it sent data that nobody asked for');
  }
  if (lengthBytes === 0 || start < 0 || start + lengthBytes > request.lengthBytes) {
    throw broken(options, 'it sent data outside the range that was asked for');
  }
  if (!addRange(request.covered, offset, offset + lengthBytes)) {
    throw broken(options, 'it sent the same data twice');
  }
  if (request.covered.length > MAX_PIECES) {
    throw broken(options, 'it sent its answer in too many pieces');
  }
  return request.target?.subarray(start, start + lengthBytes) ?? null;
}

function receiveData(
  state: ReaderState,
  answer: { cookie: number; request: PendingRequest; done: boolean },
  range: { offset: number; lengthBytes: number },
): void {
  receive(state, {
    into: cover(state.options, answer.request, range),
    lengthBytes: range.lengthBytes,
    request: answer.request,
    arrived: () => {
      if (answer.done) finish(state, answer.cookie, answer.request);
    },
  });
}

/** Begins a payload, of which the first bytes may have come with the header. */
function receive(state: ReaderState, next: Omit<Payload, 'position'>): void {
  const position = Math.min(next.lengthBytes, state.headHave);
  next.into?.set(state.head.subarray(0, position));
  consumeHead(state, position);
  if (position === next.lengthBytes) next.arrived(next.into ?? NOTHING);
  else state.payload = { ...next, position };
}

function checkPayloadLength(options: ReplyReaderOptions, chunk: Chunk): void {
  const { type, lengthBytes } = chunk;
  if ((type & CHUNK_ERROR_BIT) !== 0) {
    if (lengthBytes < 6 || lengthBytes > MAX_ERROR_BYTES) {
      throw broken(options, 'an error has a wrong length');
    }
  } else if (type === CHUNK.none) {
    if (lengthBytes !== 0 || !chunk.done) {
      throw broken(options, 'an empty chunk is not empty or not the last');
    }
  } else if (type === CHUNK.offsetHole) {
    if (lengthBytes !== 12) throw broken(options, 'a hole has a wrong length');
  } else if (type === CHUNK.blockStatus) {
    if (lengthBytes < 12 || lengthBytes % 8 !== 4 || lengthBytes > MAX_PAYLOAD_BYTES) {
      throw broken(options, 'a block status has a wrong length');
    }
  } else throw broken(options, `it sent a chunk of the unknown type ${type}`);
}

function interpretChunk(options: ReplyReaderOptions, chunk: Chunk, bytes: Uint8Array): void {
  const { request } = chunk;
  const view = viewOf(bytes);
  if ((chunk.type & CHUNK_ERROR_BIT) !== 0) {
    const errno = view.getUint32(0);
    const remarkEnd = 6 + view.getUint16(4);
    if (errno === 0 || remarkEnd > bytes.length) throw broken(options, 'it sent a broken error');
    request.failure ??= serverError(request, errno, decodeRemark(bytes.subarray(6, remarkEnd)));
  } else if (chunk.type === CHUNK.offsetHole) {
    const hole = { offset: readUint64(view, 0, 'offset'), lengthBytes: view.getUint32(8) };
    cover(options, request, hole)?.fill(0);
  } else if (chunk.type === CHUNK.blockStatus) {
    if (request.command !== COMMAND.blockStatus) {
      throw broken(options, 'it sent a block status that nobody asked for');
    }
    const context = view.getUint32(0);
    if (!options.contextIds.has(context)) throw broken(options, 'it made up a meta context');
    if (request.statuses.has(context)) throw broken(options, 'it sent one block status twice');
    request.statuses.set(context, decodeStatus(options, view, request));
  }
}

function decodeStatus(
  options: ReplyReaderOptions,
  view: DataView,
  request: PendingRequest,
): StatusEntry[] {
  const entries: StatusEntry[] = [];
  let total = 0;
  for (let at = 4; at < view.byteLength; at += 8) {
    const lengthBytes = view.getUint32(at);
    // Only the last entry may reach beyond the range (proto.md, NBD_REPLY_TYPE_BLOCK_STATUS).
    if (lengthBytes === 0 || total >= request.lengthBytes) {
      throw broken(options, 'a block status is off range');
    }
    entries.push({
      lengthBytes: Math.min(lengthBytes, request.lengthBytes - total),
      flags: view.getUint32(at + 4),
    });
    total += lengthBytes;
  }
  return entries;
}

/** Adds [start, end) to ascending merged ranges; false when it overlaps one of them. */
function addRange(ranges: [number, number][], start: number, end: number): boolean {
  let at = ranges.length;
  while (at > 0 && (ranges[at - 1]?.[0] ?? 0) >= start) at -= 1;
  const before = ranges[at - 1];
  const after = ranges[at];
  if ((before !== undefined && before[1] > start) || (after !== undefined && after[0] < end)) {
    return false;
  }
  if (before !== undefined && before[1] === start) {
    before[1] = end;
    if (after !== undefined && after[0] === end) {
      before[1] = after[1];
      ranges.splice(at, 1);
    }
  } else if (after !== undefined && after[0] === end) after[0] = start;
  else ranges.splice(at, 0, [start, end]);
  return true;
}
