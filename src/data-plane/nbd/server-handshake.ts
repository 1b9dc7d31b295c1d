import type { NbdExport, NbdExportDirectory, NbdServerLimits } from './exports.ts';
import {
  BASE_ALLOCATION,
  EXPORT_FLAG,
  HANDSHAKE_FLAG,
  INFO,
  MAGIC,
  MAX_OPTION_BYTES,
  MAX_STRING_BYTES,
  OPTION,
  OPTION_HEADER_BYTES,
  OPTION_REPLY_HEADER_BYTES,
  REPLY,
  REPLY_ERROR,
  concatBytes,
  decodeName,
  protocolError,
  uint16,
  uint32,
  viewOf,
  writeUint64,
} from './protocol.ts';
import type { ClientStream, NbdServerTls } from './server-stream.ts';

export const SERVER_BLOCK_SIZES = {
  minimumBytes: 1,
  preferredBytes: 64 * 1024,
  maximumBytes: 32 * 1024 * 1024,
} as const;

export const BASE_ALLOCATION_ID = 1;

export interface Agreement {
  readonly target: NbdExport;
  readonly structuredReplies: boolean;
  readonly baseAllocation: boolean;
}

export interface ServerHandshakeOptions {
  readonly exports: NbdExportDirectory;
  readonly tls: NbdServerTls | null;
  readonly limits: NbdServerLimits;
}

interface HandshakeState {
  readonly stream: ClientStream;
  readonly options: ServerHandshakeOptions;
  noZeroes: boolean;
  secured: boolean;
  structuredReplies: boolean;
  /** The export whose `base:allocation` the client asked for last. */
  allocationOf: string | null;
}

type Outcome = Agreement | 'again' | 'leave';

/** Null when the client went away without choosing an export. */
export async function negotiateWithClient(
  stream: ClientStream,
  options: ServerHandshakeOptions,
): Promise<Agreement | null> {
  const { limits } = options;
  const state: HandshakeState = {
    stream,
    options,
    noZeroes: false,
    secured: options.tls === null,
    structuredReplies: false,
    allocationOf: null,
  };
  const greeting = new Uint8Array(18);
  const view = viewOf(greeting);
  view.setBigUint64(0, MAGIC.init);
  view.setBigUint64(8, MAGIC.option);
  view.setUint16(16, HANDSHAKE_FLAG.fixedNewstyle | HANDSHAKE_FLAG.noZeroes);
  await stream.write([greeting], limits.handshakeTimeoutMs);
  const clientFlags = viewOf(await stream.read(4, limits.handshakeTimeoutMs)).getUint32(0);
  if ((clientFlags & ~(HANDSHAKE_FLAG.fixedNewstyle | HANDSHAKE_FLAG.noZeroes)) !== 0) {
    throw protocolError('The NBD client set unknown handshake flags.');
  }
  state.noZeroes = (clientFlags & HANDSHAKE_FLAG.noZeroes) !== 0;
  for (let count = 0; count < limits.maxOptions; count += 1) {
    const { option, data } = await readOption(state);
    const outcome = await answerOption(state, option, data);
    if (outcome === 'leave') return null;
    if (outcome !== 'again') return outcome;
  }
  throw protocolError(`The NBD client sent more than ${limits.maxOptions} options.`);
}

async function readOption(state: HandshakeState): Promise<{ option: number; data: Uint8Array }> {
  const { stream } = state;
  const timeoutMs = state.options.limits.handshakeTimeoutMs;
  const header = viewOf(await stream.read(OPTION_HEADER_BYTES, timeoutMs));
  if (header.getBigUint64(0) !== MAGIC.option) {
    throw protocolError('The NBD client sent an option with a wrong magic number.');
  }
  const option = header.getUint32(8);
  const lengthBytes = header.getUint32(12);
  if (lengthBytes > MAX_OPTION_BYTES) {
    await reply(state, option, REPLY_ERROR.tooBig);
    throw protocolError(`The NBD client sent an option of ${lengthBytes} bytes.`);
  }
  return { option, data: await stream.read(lengthBytes, timeoutMs) };
}

async function reply(
  state: HandshakeState,
  option: number,
  type: number,
  data: Uint8Array = new Uint8Array(0),
): Promise<void> {
  const header = new Uint8Array(OPTION_REPLY_HEADER_BYTES);
  const view = viewOf(header);
  view.setBigUint64(0, MAGIC.optionReply);
  view.setUint32(8, option);
  view.setUint32(12, type);
  view.setUint32(16, data.length);
  await state.stream.write([header, data], state.options.limits.handshakeTimeoutMs);
}

async function answerOption(
  state: HandshakeState,
  option: number,
  data: Uint8Array,
): Promise<Outcome> {
  const { stream, options } = state;
  if (option === OPTION.abort) {
    await reply(state, option, REPLY.ack);
    return 'leave';
  }
  if (option === OPTION.startTls) {
    if (options.tls === null || state.secured || data.length > 0) {
      const isRepeated = options.tls !== null || data.length > 0;
      await reply(state, option, isRepeated ? REPLY_ERROR.invalid : REPLY_ERROR.unsupported);
      return 'again';
    }
    await reply(state, option, REPLY.ack);
    await stream.startTls(options.tls, options.limits.handshakeTimeoutMs);
    state.secured = true;
    return 'again';
  }
  if (!state.secured) {
    if (option === OPTION.exportName) return 'leave';
    await reply(state, option, REPLY_ERROR.tlsRequired);
    return 'again';
  }
  switch (option) {
    case OPTION.exportName:
      return await answerExportName(state, data);
    case OPTION.list:
      return await answerList(state, data);
    case OPTION.structuredReply:
      state.structuredReplies ||= data.length === 0;
      await reply(state, option, data.length === 0 ? REPLY.ack : REPLY_ERROR.invalid);
      return 'again';
    case OPTION.info:
    case OPTION.go:
      return await answerInfo(state, option, data);
    case OPTION.listMetaContext:
    case OPTION.setMetaContext:
      return await answerMetaContext(state, option, data);
    default:
      await reply(state, option, REPLY_ERROR.unsupported);
      return 'again';
  }
}

function agree(state: HandshakeState, name: string, target: NbdExport): Agreement {
  return {
    target,
    structuredReplies: state.structuredReplies,
    baseAllocation: state.structuredReplies && state.allocationOf === name,
  };
}

/** NBD_OPT_EXPORT_NAME has no way to say no but to hang up. */
async function answerExportName(state: HandshakeState, data: Uint8Array): Promise<Outcome> {
  if (data.length > MAX_STRING_BYTES) return 'leave';
  const name = decodeName(data);
  const target = await state.options.exports.open(name);
  if (target === null) return 'leave';
  await state.stream.write(
    [describeExport(target), new Uint8Array(state.noZeroes ? 0 : 124)],
    state.options.limits.handshakeTimeoutMs,
  );
  return agree(state, name, target);
}

async function answerList(state: HandshakeState, data: Uint8Array): Promise<Outcome> {
  if (data.length > 0) {
    await reply(state, OPTION.list, REPLY_ERROR.invalid);
    return 'again';
  }
  for (const name of await state.options.exports.list()) {
    const bytes = new TextEncoder().encode(name);
    await reply(state, OPTION.list, REPLY.server, concatBytes([uint32(bytes.length), bytes]));
  }
  await reply(state, OPTION.list, REPLY.ack);
  return 'again';
}

async function answerInfo(
  state: HandshakeState,
  option: number,
  data: Uint8Array,
): Promise<Outcome> {
  const asked = decodeInfoRequest(data);
  if (asked === null) {
    await reply(state, option, REPLY_ERROR.invalid);
    return 'again';
  }
  const target = await state.options.exports.open(asked.name);
  if (target === null) {
    await reply(state, option, REPLY_ERROR.unknown);
    return 'again';
  }
  await reply(
    state,
    option,
    REPLY.info,
    concatBytes([uint16(INFO.export), describeExport(target)]),
  );
  const sizes = SERVER_BLOCK_SIZES;
  await reply(
    state,
    option,
    REPLY.info,
    concatBytes([
      uint16(INFO.blockSize),
      uint32(sizes.minimumBytes),
      uint32(sizes.preferredBytes),
      uint32(sizes.maximumBytes),
    ]),
  );
  if (asked.infos.has(INFO.name)) {
    const name = new TextEncoder().encode(asked.name);
    await reply(state, option, REPLY.info, concatBytes([uint16(INFO.name), name]));
  }
  await reply(state, option, REPLY.ack);
  return option === OPTION.go ? agree(state, asked.name, target) : 'again';
}

function decodeInfoRequest(data: Uint8Array): { name: string; infos: Set<number> } | null {
  const view = viewOf(data);
  const nameBytes = data.length >= 6 ? view.getUint32(0) : Number.POSITIVE_INFINITY;
  if (nameBytes > MAX_STRING_BYTES || nameBytes > data.length - 6) return null;
  const count = view.getUint16(4 + nameBytes);
  if (data.length !== 6 + nameBytes + 2 * count) return null;
  const infos = new Set<number>();
  for (let at = 6 + nameBytes; at < data.length; at += 2) infos.add(view.getUint16(at));
  return { name: decodeName(data.subarray(4, 4 + nameBytes)), infos };
}

/** Size and transmission flags, as in NBD_INFO_EXPORT and in the answer to NBD_OPT_EXPORT_NAME. */
function describeExport(target: NbdExport): Uint8Array {
  const writable = isWritable(target);
  const flags =
    EXPORT_FLAG.hasFlags |
    EXPORT_FLAG.sendFlush |
    EXPORT_FLAG.sendDf |
    EXPORT_FLAG.canMultiConn |
    (writable
      ? EXPORT_FLAG.sendFua | EXPORT_FLAG.sendTrim | EXPORT_FLAG.sendWriteZeroes
      : EXPORT_FLAG.readOnly);
  const bytes = new Uint8Array(10);
  const view = viewOf(bytes);
  writeUint64(view, 0, target.sizeBytes);
  view.setUint16(8, flags);
  return bytes;
}

export function isWritable(target: NbdExport): boolean {
  return !target.readOnly && target.write !== undefined;
}

async function answerMetaContext(
  state: HandshakeState,
  option: number,
  data: Uint8Array,
): Promise<Outcome> {
  const asked = state.structuredReplies ? decodeContextRequest(data) : null;
  if (option === OPTION.setMetaContext) state.allocationOf = null;
  if (asked === null) {
    await reply(state, option, REPLY_ERROR.invalid);
    return 'again';
  }
  if ((await state.options.exports.open(asked.name)) === null) {
    await reply(state, option, REPLY_ERROR.unknown);
    return 'again';
  }
  const isList = option === OPTION.listMetaContext;
  const matches =
    asked.queries.includes(BASE_ALLOCATION) ||
    (isList && (asked.queries.length === 0 || asked.queries.includes('base:')));
  if (matches) {
    if (!isList) state.allocationOf = asked.name;
    const name = new TextEncoder().encode(BASE_ALLOCATION);
    const id = uint32(isList ? 0 : BASE_ALLOCATION_ID);
    await reply(state, option, REPLY.metaContext, concatBytes([id, name]));
  }
  await reply(state, option, REPLY.ack);
  return 'again';
}

function decodeContextRequest(data: Uint8Array): { name: string; queries: string[] } | null {
  const view = viewOf(data);
  let at = 0;
  const takeNumber = (): number | null => {
    at += 4;
    return at > data.length ? null : view.getUint32(at - 4);
  };
  const takeText = (): string | null => {
    const lengthBytes = takeNumber();
    if (lengthBytes === null || lengthBytes > MAX_STRING_BYTES) return null;
    at += lengthBytes;
    return at > data.length ? null : decodeName(data.subarray(at - lengthBytes, at));
  };
  const name = takeText();
  const count = takeNumber();
  if (name === null || count === null) return null;
  const queries: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const query = takeText();
    if (query === null) return null;
    queries.push(query);
  }
  return at === data.length ? { name, queries } : null;
}
