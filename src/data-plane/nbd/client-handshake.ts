import { OperationError } from '../../shared/errors.ts';
import { waitFor } from '../../shared/waiting.ts';
import type { BlockSizes } from './protocol.ts';
import {
  DEFAULT_MAX_BLOCK_BYTES,
  EXPORT_FLAG,
  HANDSHAKE_FLAG,
  INFO,
  MAGIC,
  MAX_OPTION_BYTES,
  MAX_STRING_BYTES,
  OPTION,
  OPTION_REPLY_HEADER_BYTES,
  REPLY,
  REPLY_ERROR,
  concatBytes,
  decodeName,
  decodeRemark,
  encodeName,
  encodeOption,
  protocolError,
  readUint64,
  uint16,
  uint32,
  viewOf,
} from './protocol.ts';
import type { HandshakeReader, NbdAddress, NbdTlsOptions, Wire } from './wire.ts';
import { connectWire, createHandshakeReader, describeAddress } from './wire.ts';

export interface NbdExportInfo {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly canFlush: boolean;
  readonly canFua: boolean;
  readonly canTrim: boolean;
  readonly canWriteZeroes: boolean;
  readonly canMultiConn: boolean;
  readonly structuredReplies: boolean;
  readonly blockSizes: BlockSizes;
}

export interface HandshakeOptions {
  readonly address: NbdAddress;
  readonly tls?: NbdTlsOptions | undefined;
  readonly connectTimeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A connection on which options can be haggled. */
export interface Negotiation {
  readonly wire: Wire;
  readonly structuredReplies: boolean;
  listExports(): Promise<{ name: string; description: string }[]>;
  /** Which of the contexts exist for this export; with no queries, all of them. */
  listMetaContexts(exportName: string, queries: readonly string[]): Promise<string[]>;
  /** Name to id, for the contexts the server accepted. */
  setMetaContexts(exportName: string, names: readonly string[]): Promise<Map<string, number>>;
  info(exportName: string): Promise<NbdExportInfo>;
  /** Ends the handshake: requests may follow. */
  go(exportName: string): Promise<NbdExportInfo>;
  abort(): Promise<void>;
}

const MAX_EXPORTS = 65_536;
const MAX_CONTEXTS = 4096;
const MAX_INFOS = 256;
const DEFAULT_CONNECT_TIMEOUT_MS = 15_000;

interface OptionReply {
  readonly type: number;
  readonly data: Uint8Array;
}

interface Channel {
  readonly where: string;
  readonly wire: Wire;
  readonly reader: HandshakeReader;
}

/** Runs `negotiate` on a new connection; whatever goes wrong or takes too long closes it. */
export async function withNegotiation<T>(
  options: HandshakeOptions,
  negotiate: (negotiation: Negotiation) => Promise<T>,
): Promise<T> {
  const timeoutMs = options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS;
  const { signal } = options;
  const wire = await connectWire(options.address, {
    timeoutMs,
    encrypted: options.tls !== undefined,
    signal,
  });
  try {
    return await waitFor(
      openNegotiation(wire, options, timeoutMs).then((negotiation) => negotiate(negotiation)),
      { timeoutMs, what: `The handshake with ${describeAddress(options.address)}`, signal },
    );
  } catch (error) {
    const reason =
      error instanceof OperationError ? error : protocolError('The NBD handshake failed.', error);
    wire.destroy(reason);
    throw reason;
  }
}

async function openNegotiation(
  wire: Wire,
  options: HandshakeOptions,
  timeoutMs: number,
): Promise<Negotiation> {
  const reader = createHandshakeReader(wire);
  const channel: Channel = { wire, reader, where: describeAddress(options.address) };
  wire.setSink(reader);
  await exchangeGreeting(channel);
  if (options.tls !== undefined) {
    await startTls(channel, options.tls, timeoutMs, options.signal);
  }
  const structuredReplies = await askStructuredReplies(channel);
  return {
    wire,
    structuredReplies,
    listExports: () => listExports(channel),
    listMetaContexts: async (exportName, queries) =>
      structuredReplies
        ? [...(await metaContexts(channel, OPTION.listMetaContext, exportName, queries)).keys()]
        : [],
    setMetaContexts: async (exportName, names) =>
      structuredReplies && names.length > 0
        ? await metaContexts(channel, OPTION.setMetaContext, exportName, names)
        : new Map(),
    info: (exportName) => askInfo(channel, OPTION.info, exportName, structuredReplies),
    async go(exportName) {
      const info = await askInfo(channel, OPTION.go, exportName, structuredReplies);
      if (reader.leftover() > 0) {
        throw protocolError(`The NBD server at ${channel.where} sent replies before any request.`);
      }
      return info;
    },
    async abort() {
      wire.write([encodeOption(OPTION.abort, new Uint8Array(0))]);
      await wire.end(1000);
    },
  };
}

async function exchangeGreeting({ reader, wire, where }: Channel): Promise<void> {
  const greeting = viewOf(await reader.read(18));
  if (greeting.getBigUint64(0) !== MAGIC.init || greeting.getBigUint64(8) !== MAGIC.option) {
    throw protocolError(`What listens at ${where} is not an NBD server of the newstyle protocol.`);
  }
  const flags = greeting.getUint16(16);
  if ((flags & HANDSHAKE_FLAG.fixedNewstyle) === 0) {
    throw protocolError(`The NBD server at ${where} is too old: it lacks the fixed newstyle.`);
  }
  wire.write([uint32(flags & (HANDSHAKE_FLAG.fixedNewstyle | HANDSHAKE_FLAG.noZeroes))]);
}

async function startTls(
  channel: Channel,
  tls: NbdTlsOptions,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<void> {
  const { wire, reader, where } = channel;
  wire.write([encodeOption(OPTION.startTls, new Uint8Array(0))]);
  const reply = await readReply(channel, OPTION.startTls);
  if (reply.type !== REPLY.ack) {
    throw new OperationError(
      'permission_denied',
      `The NBD server at ${where} does not offer TLS, which is required here.`,
    );
  }
  // Anything sent in the clear after the acknowledgement could come from somebody in between.
  if (reader.leftover() > 0) {
    throw protocolError(`The NBD server at ${where} sent plain bytes after it agreed to TLS.`);
  }
  await wire.startTls(tls, timeoutMs, signal);
}

async function askStructuredReplies(channel: Channel): Promise<boolean> {
  channel.wire.write([encodeOption(OPTION.structuredReply, new Uint8Array(0))]);
  const reply = await readReply(channel, OPTION.structuredReply);
  if (reply.type === REPLY_ERROR.tlsRequired) throw refusal(channel, reply, 'any export');
  return reply.type === REPLY.ack;
}

async function readReply({ reader, where }: Channel, option: number): Promise<OptionReply> {
  const header = viewOf(await reader.read(OPTION_REPLY_HEADER_BYTES));
  if (header.getBigUint64(0) !== MAGIC.optionReply) {
    throw protocolError(`The NBD server at ${where} answered an option with a wrong magic number.`);
  }
  if (header.getUint32(8) !== option) {
    throw protocolError(`The NBD server at ${where} answered another option than was asked.`);
  }
  const lengthBytes = header.getUint32(16);
  if (lengthBytes > MAX_OPTION_BYTES) {
    throw protocolError(`The NBD server at ${where} sent an option reply of ${lengthBytes} bytes.`);
  }
  return { type: header.getUint32(12), data: await reader.read(lengthBytes) };
}

function refusal({ where }: Channel, reply: OptionReply, what: string): OperationError {
  const remark = reply.data.length === 0 ? '' : ` It says: ${decodeRemark(reply.data)}.`;
  const refused = `The NBD server at ${where} refuses ${what}`;
  switch (reply.type) {
    case REPLY_ERROR.unknown:
      return new OperationError('not_found', `${refused}: it has no such export.${remark}`);
    case REPLY_ERROR.tlsRequired:
      return new OperationError('permission_denied', `${refused} without TLS.${remark}`);
    case REPLY_ERROR.policy:
      return new OperationError('permission_denied', `${refused} by policy.${remark}`);
    case REPLY_ERROR.shutdown:
      return new OperationError('unreachable', `${refused}: it is shutting down.${remark}`);
    default:
      return protocolError(`${refused} (reply type ${reply.type.toString(16)}).${remark}`);
  }
}

/** Collects replies up to the acknowledgement, at most `limit`. */
async function collectReplies(
  channel: Channel,
  option: number,
  limit: { type: number; count: number; what: string },
): Promise<Uint8Array[]> {
  const collected: Uint8Array[] = [];
  for (;;) {
    const reply = await readReply(channel, option);
    if (reply.type === REPLY.ack) return collected;
    if (reply.type !== limit.type) throw refusal(channel, reply, limit.what);
    if (collected.push(reply.data) > limit.count) {
      throw protocolError(
        `The NBD server at ${channel.where} answers without end when asked for ${limit.what}.`,
      );
    }
  }
}

async function listExports(channel: Channel): Promise<{ name: string; description: string }[]> {
  channel.wire.write([encodeOption(OPTION.list, new Uint8Array(0))]);
  const replies = await collectReplies(channel, OPTION.list, {
    type: REPLY.server,
    count: MAX_EXPORTS,
    what: 'the list of exports',
  });
  return replies.map((data) => {
    const nameBytes = data.length >= 4 ? viewOf(data).getUint32(0) : Number.POSITIVE_INFINITY;
    if (nameBytes > data.length - 4) {
      throw protocolError(`The NBD server at ${channel.where} sent a broken list of exports.`);
    }
    return {
      name: decodeName(data.subarray(4, 4 + nameBytes)),
      description: decodeRemark(data.subarray(4 + nameBytes)),
    };
  });
}

async function metaContexts(
  channel: Channel,
  option: number,
  exportName: string,
  queries: readonly string[],
): Promise<Map<string, number>> {
  const name = encodeName(exportName, 'export name');
  const parts = [uint32(name.length), name, uint32(queries.length)];
  for (const query of queries) {
    const bytes = encodeName(query, 'meta context');
    parts.push(uint32(bytes.length), bytes);
  }
  channel.wire.write([encodeOption(option, concatBytes(parts))]);
  const replies = await collectReplies(channel, option, {
    type: REPLY.metaContext,
    count: MAX_CONTEXTS,
    what: `the meta contexts of export "${exportName}"`,
  });
  const contexts = new Map<string, number>();
  for (const data of replies) {
    if (data.length < 4) {
      throw protocolError(`The NBD server at ${channel.where} sent a broken meta context.`);
    }
    contexts.set(decodeName(data.subarray(4)), viewOf(data).getUint32(0));
  }
  if (option === OPTION.setMetaContext && new Set(contexts.values()).size !== contexts.size) {
    throw protocolError(
      `The NBD server at ${channel.where} gave one number to several meta contexts.`,
    );
  }
  return contexts;
}

async function askInfo(
  channel: Channel,
  option: number,
  exportName: string,
  structuredReplies: boolean,
): Promise<NbdExportInfo> {
  const name = encodeName(exportName, 'export name');
  const request = concatBytes([uint32(name.length), name, uint16(1), uint16(INFO.blockSize)]);
  channel.wire.write([encodeOption(option, request)]);
  const replies = await collectReplies(channel, option, {
    type: REPLY.info,
    count: MAX_INFOS,
    what: `export "${exportName.slice(0, MAX_STRING_BYTES)}"`,
  });
  return decodeInfos(channel.where, replies, structuredReplies);
}

function decodeInfos(
  where: string,
  replies: readonly Uint8Array[],
  structuredReplies: boolean,
): NbdExportInfo {
  let size: { sizeBytes: number; flags: number } | null = null;
  let blockSizes: BlockSizes = {
    minimumBytes: 1,
    preferredBytes: 4096,
    maximumBytes: DEFAULT_MAX_BLOCK_BYTES,
  };
  for (const data of replies) {
    const view = viewOf(data);
    const kind = data.length >= 2 ? view.getUint16(0) : -1;
    if (kind === INFO.export && data.length === 12) {
      size = { sizeBytes: readUint64(view, 2, 'export size'), flags: view.getUint16(10) };
    } else if (kind === INFO.blockSize && data.length === 14) {
      blockSizes = decodeBlockSizes(where, view);
    } else if (kind === -1 || kind === INFO.export || kind === INFO.blockSize) {
      throw protocolError(`The NBD server at ${where} sent broken export information.`);
    }
  }
  if (size === null) throw protocolError(`The NBD server at ${where} did not tell the size.`);
  const flags = (size.flags & EXPORT_FLAG.hasFlags) === 0 ? 0 : size.flags;
  const has = (flag: number): boolean => (flags & flag) !== 0;
  return {
    sizeBytes: size.sizeBytes,
    readOnly: has(EXPORT_FLAG.readOnly),
    canFlush: has(EXPORT_FLAG.sendFlush),
    canFua: has(EXPORT_FLAG.sendFua),
    canTrim: has(EXPORT_FLAG.sendTrim),
    canWriteZeroes: has(EXPORT_FLAG.sendWriteZeroes),
    canMultiConn: has(EXPORT_FLAG.canMultiConn),
    structuredReplies,
    blockSizes,
  };
}

function decodeBlockSizes(where: string, view: DataView): BlockSizes {
  const minimumBytes = view.getUint32(2);
  const preferredBytes = view.getUint32(6);
  const maximumBytes = Math.min(view.getUint32(10), DEFAULT_MAX_BLOCK_BYTES);
  const isPowerOfTwo = minimumBytes > 0 && (minimumBytes & (minimumBytes - 1)) === 0;
  if (!isPowerOfTwo || minimumBytes > 65_536 || maximumBytes < 4096) {
    throw protocolError(`The NBD server at ${where} announced impossible block sizes.`);
  }
  return {
    minimumBytes,
    preferredBytes,
    // Whole minimum blocks, so that the pieces of a split request stay aligned.
    maximumBytes: maximumBytes - (maximumBytes % minimumBytes),
  };
}
