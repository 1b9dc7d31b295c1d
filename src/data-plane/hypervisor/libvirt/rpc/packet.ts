import assert from 'node:assert/strict';
import { OperationError } from '../../../../shared/errors.ts';

/** Longest message body (VIR_NET_MESSAGE_MAX); the length word is not part of it. */
export const MAX_MESSAGE_BYTES = 32 * 1024 * 1024;
const LENGTH_BYTES = 4;
const HEADER_BYTES = 24;
export const MAX_PAYLOAD_BYTES = MAX_MESSAGE_BYTES - HEADER_BYTES;

export const MESSAGE_TYPE = {
  call: 0,
  reply: 1,
  event: 2,
  stream: 3,
  callWithFds: 4,
  replyWithFds: 5,
  streamHole: 6,
} as const;

export const MESSAGE_STATUS = { ok: 0, error: 1, continue: 2 } as const;

export interface PacketHeader {
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
  readonly type: number;
  readonly serial: number;
  readonly status: number;
}

export interface Packet extends PacketHeader {
  /** Valid during the callback only as far as memory goes: copy what is kept for long. */
  readonly payload: Uint8Array;
}

/** The length word counts itself (virnetprotocol.x). */
export function formatPacket(header: PacketHeader, payload: Uint8Array): Uint8Array {
  assert(payload.length <= MAX_PAYLOAD_BYTES);
  const packet = Buffer.allocUnsafe(LENGTH_BYTES + HEADER_BYTES + payload.length);
  packet.writeUInt32BE(packet.length, 0);
  packet.writeUInt32BE(header.program, 4);
  packet.writeUInt32BE(header.version, 8);
  packet.writeUInt32BE(header.procedure, 12);
  packet.writeUInt32BE(header.type, 16);
  packet.writeUInt32BE(header.serial, 20);
  packet.writeUInt32BE(header.status, 24);
  packet.set(payload, LENGTH_BYTES + HEADER_BYTES);
  return packet;
}

function parsePacket(packet: Buffer): Packet {
  return {
    program: packet.readUInt32BE(4),
    version: packet.readUInt32BE(8),
    procedure: packet.readUInt32BE(12),
    type: packet.readUInt32BE(16),
    serial: packet.readUInt32BE(20),
    status: packet.readUInt32BE(24),
    payload: packet.subarray(LENGTH_BYTES + HEADER_BYTES),
  };
}

function readLength(bytes: Buffer): number {
  const length = bytes.readUInt32BE(0);
  if (length < LENGTH_BYTES + HEADER_BYTES || length > LENGTH_BYTES + MAX_MESSAGE_BYTES) {
    throw new OperationError(
      'protocol_error',
      `The libvirt socket sent a message length of ${length}, which cannot be: is it libvirt?`,
    );
  }
  return length;
}

/**
 * Cuts a byte stream into packets; throws `protocol_error` as soon as a length cannot be true.
 * Memory follows the bytes that really arrived, not the length that was announced.
 */
export function createPacketReader(onPacket: (packet: Packet) => void): {
  push(chunk: Buffer): void;
} {
  let assembly = Buffer.alloc(0);
  let assembledBytes = 0;
  let wantedBytes = LENGTH_BYTES;

  const append = (bytes: Buffer): void => {
    const totalBytes = assembledBytes + bytes.length;
    if (totalBytes > assembly.length) {
      const grown = Buffer.allocUnsafe(Math.max(totalBytes, assembly.length * 2));
      assembly.copy(grown, 0, 0, assembledBytes);
      assembly = grown;
    }
    assembly.set(bytes, assembledBytes);
    assembledBytes = totalBytes;
  };
  const completeAssembly = (): void => {
    if (wantedBytes === LENGTH_BYTES) {
      wantedBytes = readLength(assembly);
      return;
    }
    const packet = assembly.subarray(0, assembledBytes);
    assembly = Buffer.alloc(0);
    assembledBytes = 0;
    wantedBytes = LENGTH_BYTES;
    onPacket(parsePacket(packet));
  };

  return {
    push(chunk) {
      let rest = chunk;
      while (rest.length > 0) {
        if (assembledBytes === 0 && rest.length >= LENGTH_BYTES) {
          const length = readLength(rest);
          if (rest.length >= length) {
            const packet = rest.subarray(0, length);
            rest = rest.subarray(length);
            onPacket(parsePacket(packet));
            continue;
          }
        }
        const taken = rest.subarray(0, wantedBytes - assembledBytes);
        rest = rest.subarray(taken.length);
        append(taken);
        if (assembledBytes === wantedBytes) completeAssembly();
      }
    },
  };
}
