import type { ErrorCode } from '../../shared/errors.ts';
import { OperationError } from '../../shared/errors.ts';
import { MIB } from '../../shared/byte-size.ts';

/**
 * Numbers of the NBD protocol, https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md.
 * All integers on the wire are big-endian.
 */
export const MAGIC = {
  init: 0x4e42444d41474943n, // "NBDMAGIC"
  option: 0x49484156454f5054n, // "IHAVEOPT"
  optionReply: 0x0003e889045565a9n,
  request: 0x25609513,
  simpleReply: 0x67446698,
  structuredReply: 0x668e33ef,
} as const;

export const HANDSHAKE_FLAG = { fixedNewstyle: 1, noZeroes: 2 } as const;

export const OPTION = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

export const REPLY = { ack: 1, server: 2, info: 3, metaContext: 4 } as const;

/** Bit 31 of an option reply's type marks an error. */
export const REPLY_ERROR = {
  unsupported: 0x80000001,
  policy: 0x80000002,
  invalid: 0x80000003,
  platform: 0x80000004,
  tlsRequired: 0x80000005,
  unknown: 0x80000006,
  shutdown: 0x80000007,
  blockSizeRequired: 0x80000008,
  tooBig: 0x80000009,
} as const;

export const INFO = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

export const EXPORT_FLAG = {
  hasFlags: 1,
  readOnly: 2,
  sendFlush: 4,
  sendFua: 8,
  sendTrim: 0x20,
  sendWriteZeroes: 0x40,
  sendDf: 0x80,
  canMultiConn: 0x100,
} as const;

export const COMMAND = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

export const COMMAND_FLAG = { fua: 1, noHole: 2, df: 4, reqOne: 8 } as const;

export const CHUNK_FLAG_DONE = 1;

export const CHUNK = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  error: 0x8001,
  errorOffset: 0x8002,
} as const;

/** Bit 15 of a chunk's type marks an error, also in types that we do not know. */
export const CHUNK_ERROR_BIT = 0x8000;

export const ERRNO = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;

export const BASE_ALLOCATION = 'base:allocation';
/** Bits of a `base:allocation` status. */
export const ALLOCATION = { hole: 1, zero: 2 } as const;

export const REQUEST_HEADER_BYTES = 28;
export const SIMPLE_REPLY_BYTES = 16;
export const CHUNK_HEADER_BYTES = 20;
export const OPTION_HEADER_BYTES = 16;
export const OPTION_REPLY_HEADER_BYTES = 20;

/** "A string MUST NOT be longer than 4096 bytes" (proto.md, "Values"). */
export const MAX_STRING_BYTES = 4096;
/** Option replies hold at most some strings; more is not honest. */
export const MAX_OPTION_BYTES = 64 * 1024;
/** What a client may assume without block size information (proto.md, "Block size constraints"). */
export const DEFAULT_MAX_BLOCK_BYTES = 32 * MIB;

export interface BlockSizes {
  readonly minimumBytes: number;
  readonly preferredBytes: number;
  readonly maximumBytes: number;
}

export function protocolError(message: string, cause?: unknown): OperationError {
  return new OperationError('protocol_error', message, cause === undefined ? {} : { cause });
}

/** A 64-bit wire value as a number; sizes and offsets beyond 2^53 do not exist in practice. */
export function readUint64(view: DataView, at: number, what: string): number {
  const high = view.getUint32(at);
  if (high >= 0x20_0000) throw protocolError(`The NBD peer sent an impossible ${what}.`);
  return high * 0x1_0000_0000 + view.getUint32(at + 4);
}

export function writeUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 0x1_0000_0000));
  view.setUint32(at + 4, value % 0x1_0000_0000);
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const strictText = new TextDecoder('utf-8', { fatal: true });
const lenientText = new TextDecoder('utf-8');

export function decodeName(bytes: Uint8Array): string {
  if (bytes.length > MAX_STRING_BYTES) {
    throw protocolError('The NBD peer sent a name longer than 4096 bytes.');
  }
  try {
    return strictText.decode(bytes);
  } catch (cause) {
    throw protocolError('The NBD peer sent a name that is not UTF-8.', cause);
  }
}

/** Text of a peer that only goes into messages: shortened, without control characters. */
export function decodeRemark(bytes: Uint8Array): string {
  return lenientText.decode(bytes.subarray(0, 400)).replaceAll(/\p{Cc}+/gu, ' ');
}

export function encodeName(name: string, what: string): Uint8Array {
  const bytes = new TextEncoder().encode(name);
  if (bytes.length > MAX_STRING_BYTES || name.includes('\0')) {
    throw new OperationError(
      'invalid_input',
      `The ${what} is longer than 4096 bytes or contains a NUL; NBD cannot transport it.`,
    );
  }
  return bytes;
}

export interface RequestHeader {
  readonly flags: number;
  readonly command: number;
  /** Echoed by the server; ours count from 1 and never leave 2^53. */
  readonly cookie: number;
  readonly offset: number;
  readonly lengthBytes: number;
}

export function encodeRequest(request: RequestHeader): Uint8Array {
  const bytes = new Uint8Array(REQUEST_HEADER_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, MAGIC.request);
  view.setUint16(4, request.flags);
  view.setUint16(6, request.command);
  writeUint64(view, 8, request.cookie);
  writeUint64(view, 16, request.offset);
  view.setUint32(24, request.lengthBytes);
  return bytes;
}

export function encodeOption(option: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(OPTION_HEADER_BYTES + data.length);
  const view = viewOf(bytes);
  view.setBigUint64(0, MAGIC.option);
  view.setUint32(8, option);
  view.setUint32(12, data.length);
  bytes.set(data, OPTION_HEADER_BYTES);
  return bytes;
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts);
}

export function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setUint32(0, value);
  return bytes;
}

export function uint16(value: number): Uint8Array {
  const bytes = new Uint8Array(2);
  viewOf(bytes).setUint16(0, value);
  return bytes;
}

const ERRNO_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(ERRNO).map(([name, number]) => [number, name]),
);

export function errnoName(errno: number): string {
  return ERRNO_NAMES.get(errno) ?? `errno ${errno}`;
}

const ERRNO_CODES: ReadonlyMap<number, ErrorCode> = new Map<number, ErrorCode>([
  [ERRNO.EPERM, 'permission_denied'],
  [ERRNO.ENOSPC, 'insufficient_space'],
  [ERRNO.ESHUTDOWN, 'unreachable'],
]);

const COMMAND_VERBS: ReadonlyMap<number, string> = new Map([
  [COMMAND.read, 'read'],
  [COMMAND.write, 'write'],
  [COMMAND.flush, 'flush'],
  [COMMAND.trim, 'discard'],
  [COMMAND.writeZeroes, 'zero'],
  [COMMAND.blockStatus, 'map'],
]);

export function describeRequest(
  request: Pick<RequestHeader, 'command' | 'offset' | 'lengthBytes'>,
) {
  const verb = COMMAND_VERBS.get(request.command) ?? `command ${request.command}`;
  if (request.command === COMMAND.flush) return verb;
  return `${verb} ${request.lengthBytes} bytes at ${request.offset}`;
}

/** The server did its part of the protocol and says that it cannot do the request. */
export function serverError(
  request: Pick<RequestHeader, 'command' | 'offset' | 'lengthBytes'>,
  errno: number,
  remark: string,
): OperationError {
  const name = errnoName(errno);
  return new OperationError(
    ERRNO_CODES.get(errno) ?? 'hypervisor_failed',
    `The NBD server could not ${describeRequest(request)}: ${name}${remark === '' ? '' : ` (${remark})`}.`,
    { details: { errno: name, offset: request.offset, lengthBytes: request.lengthBytes } },
  );
}
