import { OperationError } from '../../../../shared/errors.ts';

/** libvirt's own limit for one string (REMOTE_STRING_MAX). */
export const MAX_STRING_BYTES = 4 * 1024 * 1024;

/** XDR, RFC 4506: big-endian, everything padded to 4 bytes. */
export interface XdrEncoder {
  int32(value: number): void;
  uint32(value: number): void;
  int64(value: bigint): void;
  uint64(value: bigint): void;
  double(value: number): void;
  bool(value: boolean): void;
  string(value: string): void;
  optionalString(value: string | null): void;
  fixedOpaque(value: Uint8Array): void;
  opaque(value: Uint8Array): void;
  array<T>(values: readonly T[], encodeItem: (value: T) => void): void;
  finish(): Uint8Array;
}

export interface XdrDecoder {
  int32(): number;
  uint32(): number;
  int64(): bigint;
  uint64(): bigint;
  /** An unsigned hyper that must fit a JavaScript number. */
  safeUint64(): number;
  double(): number;
  bool(): boolean;
  string(maxBytes?: number): string;
  optionalString(): string | null;
  fixedOpaque(lengthBytes: number): Uint8Array;
  opaque(maxBytes: number): Uint8Array;
  array<T>(maxItems: number, decodeItem: () => T): T[];
  /** Throws when bytes are left over: then the shape was not what we believed. */
  finish(): void;
}

const damaged = (what: string): OperationError =>
  new OperationError('protocol_error', `libvirt sent a message that cannot be read: ${what}.`);

const unfit = (what: string): OperationError =>
  new OperationError('invalid_input', `A call to libvirt cannot be written: ${what}.`);

const padding = (lengthBytes: number): number => (4 - (lengthBytes % 4)) % 4;

function isInRange(value: number, lowest: number, highest: number): boolean {
  return Number.isInteger(value) && value >= lowest && value <= highest;
}

interface GrowingBuffer {
  /** Calls `fill` with room for that many bytes. */
  append(lengthBytes: number, fill: (buffer: Buffer, start: number) => void): void;
  written(): Buffer;
}

function createGrowingBuffer(): GrowingBuffer {
  let buffer = Buffer.allocUnsafe(256);
  let used = 0;
  return {
    append(lengthBytes, fill) {
      const start = used;
      used += lengthBytes;
      if (used > buffer.length) {
        const grown = Buffer.allocUnsafe(Math.max(used, buffer.length * 2));
        buffer.copy(grown, 0, 0, start);
        buffer = grown;
      }
      fill(buffer, start);
    },
    written: () => buffer.subarray(0, used),
  };
}

export function createXdrEncoder(): XdrEncoder {
  const output = createGrowingBuffer();
  const uint32 = (value: number): void => {
    if (!isInRange(value, 0, 0xffffffff)) throw unfit(`${value} is not a 32-bit unsigned number`);
    output.append(4, (buffer, start) => buffer.writeUInt32BE(value, start));
  };
  const fixedOpaque = (value: Uint8Array): void => {
    const paddedBytes = value.length + padding(value.length);
    output.append(paddedBytes, (buffer, start) => {
      buffer.set(value, start);
      buffer.fill(0, start + value.length, start + paddedBytes);
    });
  };
  const opaque = (value: Uint8Array): void => {
    uint32(value.length);
    fixedOpaque(value);
  };
  const string = (value: string): void => {
    // The peer reads C strings: what follows a NUL would silently be lost.
    if (value.includes('\0')) throw unfit('a text contains a NUL character');
    const bytes = Buffer.from(value, 'utf8');
    if (bytes.length > MAX_STRING_BYTES) {
      throw unfit(`a text of ${bytes.length} bytes is longer than ${MAX_STRING_BYTES}`);
    }
    opaque(bytes);
  };

  return {
    uint32,
    string,
    opaque,
    fixedOpaque,
    int32(value) {
      if (!isInRange(value, -0x80000000, 0x7fffffff)) {
        throw unfit(`${value} is not a 32-bit number`);
      }
      output.append(4, (buffer, start) => buffer.writeInt32BE(value, start));
    },
    int64(value) {
      if (BigInt.asIntN(64, value) !== value) throw unfit(`${value} is not a 64-bit number`);
      output.append(8, (buffer, start) => buffer.writeBigInt64BE(value, start));
    },
    uint64(value) {
      if (BigInt.asUintN(64, value) !== value) {
        throw unfit(`${value} is not a 64-bit unsigned number`);
      }
      output.append(8, (buffer, start) => buffer.writeBigUInt64BE(value, start));
    },
    double(value) {
      output.append(8, (buffer, start) => buffer.writeDoubleBE(value, start));
    },
    bool: (value) => uint32(value ? 1 : 0),
    optionalString(value) {
      uint32(value === null ? 0 : 1);
      if (value !== null) string(value);
    },
    array(values, encodeItem) {
      uint32(values.length);
      for (const value of values) encodeItem(value);
    },
    finish: () => output.written(),
  };
}

export function createXdrDecoder(bytes: Uint8Array): XdrDecoder {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let position = 0;

  const take = (lengthBytes: number): number => {
    const start = position;
    if (lengthBytes > buffer.length - start) {
      throw damaged(`${lengthBytes} bytes wanted, ${buffer.length - start} left`);
    }
    position += lengthBytes;
    return start;
  };
  const uint32 = (): number => buffer.readUInt32BE(take(4));
  const uint64 = (): bigint => buffer.readBigUInt64BE(take(8));
  const bool = (): boolean => {
    const value = uint32();
    if (value > 1) throw damaged(`${value} where only 0 or 1 can be`);
    return value === 1;
  };
  const bytesOf = (lengthBytes: number): Buffer => {
    const start = take(lengthBytes + padding(lengthBytes));
    return buffer.subarray(start, start + lengthBytes);
  };
  const limitedLength = (maxBytes: number): number => {
    const lengthBytes = uint32();
    if (lengthBytes > maxBytes) throw damaged(`${lengthBytes} bytes, more than ${maxBytes}`);
    return lengthBytes;
  };
  const string = (maxBytes = MAX_STRING_BYTES): string =>
    bytesOf(limitedLength(maxBytes)).toString('utf8');

  return {
    uint32,
    uint64,
    bool,
    string,
    int32: () => buffer.readInt32BE(take(4)),
    int64: () => buffer.readBigInt64BE(take(8)),
    safeUint64() {
      const value = uint64();
      if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged(`the number ${value} is too big`);
      return Number(value);
    },
    double: () => buffer.readDoubleBE(take(8)),
    optionalString: () => (bool() ? string() : null),
    // Copied, so that a small field does not keep the whole packet in memory.
    fixedOpaque: (lengthBytes) => Uint8Array.from(bytesOf(lengthBytes)),
    opaque: (maxBytes) => Uint8Array.from(bytesOf(limitedLength(maxBytes))),
    array(maxItems, decodeItem) {
      const count = uint32();
      // Every item takes at least 4 bytes, so a bigger count is a lie that would only cost time.
      if (count > maxItems || count * 4 > buffer.length - position) {
        throw damaged(`a list of ${count} items`);
      }
      const items = [];
      for (let index = 0; index < count; index += 1) items.push(decodeItem());
      return items;
    },
    finish() {
      if (position !== buffer.length) throw damaged(`${buffer.length - position} bytes left over`);
    },
  };
}
