import { OperationError } from '../../shared/errors.ts';
import type { ExportExtent, NbdExport } from './exports.ts';
import {
  ALLOCATION,
  CHUNK,
  CHUNK_FLAG_DONE,
  CHUNK_HEADER_BYTES,
  COMMAND_FLAG,
  MAGIC,
  SIMPLE_REPLY_BYTES,
  viewOf,
  writeUint64,
} from './protocol.ts';
import type { Agreement } from './server-handshake.ts';
import { BASE_ALLOCATION_ID } from './server-handshake.ts';

export interface ServerRequest {
  readonly flags: number;
  readonly command: number;
  /** The client's, echoed; any 64 bits. */
  readonly cookie: bigint;
  readonly offset: number;
  readonly lengthBytes: number;
}

/** A hole shorter than this costs more as a chunk of its own than as zeroes. */
const MIN_HOLE_BYTES = 4096;
const MAX_STATUS_ENTRIES = 65_536;
const MAX_REMARK_BYTES = 512;

/** Fills `buffer` and returns what to send; the parts refer to the buffer. */
export async function answerRead(
  request: ServerRequest,
  { target, structuredReplies }: Agreement,
  buffer: Uint8Array,
  signal: AbortSignal,
): Promise<Uint8Array[]> {
  const { offset, lengthBytes } = request;
  const extents = await readExtents(target, offset, lengthBytes);
  if (!structuredReplies || (request.flags & COMMAND_FLAG.df) !== 0 || extents.length === 1) {
    const isHole = extents.every((extent) => extent.zero);
    if (isHole && structuredReplies) return [holeChunk(request, offset, lengthBytes, true)];
    if (isHole) buffer.fill(0);
    else await target.readInto(offset, buffer, signal);
    const header = structuredReplies
      ? dataChunk(request, offset, lengthBytes, true)
      : simpleReply(request, 0);
    return [header, buffer];
  }
  const pieces = joinShortHoles(extents);
  const last = pieces.at(-1);
  const parts: Uint8Array[] = [];
  for (const piece of pieces) {
    const done = piece === last;
    if (piece.zero) {
      parts.push(holeChunk(request, piece.offset, piece.lengthBytes, done));
      continue;
    }
    const start = piece.offset - offset;
    const bytes = buffer.subarray(start, start + piece.lengthBytes);
    await target.readInto(piece.offset, bytes, signal);
    parts.push(dataChunk(request, piece.offset, piece.lengthBytes, done), bytes);
  }
  return parts;
}

export async function answerStatus(
  request: ServerRequest,
  { target }: Agreement,
): Promise<Uint8Array[]> {
  const extents = await readExtents(target, request.offset, request.lengthBytes);
  const limit = (request.flags & COMMAND_FLAG.reqOne) === 0 ? MAX_STATUS_ENTRIES : 1;
  const entries = extents.slice(0, limit);
  const payload = new Uint8Array(4 + 8 * entries.length);
  const view = viewOf(payload);
  view.setUint32(0, BASE_ALLOCATION_ID);
  for (const [index, extent] of entries.entries()) {
    view.setUint32(4 + 8 * index, extent.lengthBytes);
    view.setUint32(8 + 8 * index, extent.zero ? ALLOCATION.hole | ALLOCATION.zero : 0);
  }
  return [chunkHeader(request, CHUNK.blockStatus, payload.length, true), payload];
}

/** The export's extents, clipped to the range, equal neighbours merged, proven to be without gaps. */
async function readExtents(
  target: NbdExport,
  offset: number,
  lengthBytes: number,
): Promise<ExportExtent[]> {
  const merged: { offset: number; lengthBytes: number; zero: boolean }[] = [];
  const end = offset + lengthBytes;
  let position = offset;
  for (const extent of await target.extents(offset, lengthBytes)) {
    const extentEnd = Math.min(extent.offset + extent.lengthBytes, end);
    if (extentEnd <= position) continue;
    if (extent.offset > position) break;
    const last = merged.at(-1);
    if (last !== undefined && last.zero === extent.zero) last.lengthBytes += extentEnd - position;
    else merged.push({ offset: position, lengthBytes: extentEnd - position, zero: extent.zero });
    position = extentEnd;
  }
  if (position === end) return merged;
  throw new OperationError('internal', `The export does not know its content at ${position}.`);
}

function joinShortHoles(extents: readonly ExportExtent[]): ExportExtent[] {
  const joined: { offset: number; lengthBytes: number; zero: boolean }[] = [];
  for (const extent of extents) {
    const zero = extent.zero && extent.lengthBytes >= MIN_HOLE_BYTES;
    const last = joined.at(-1);
    if (last !== undefined && last.zero === zero) last.lengthBytes += extent.lengthBytes;
    else joined.push({ offset: extent.offset, lengthBytes: extent.lengthBytes, zero });
  }
  return joined;
}

function chunkHeader(
  request: ServerRequest,
  type: number,
  lengthBytes: number,
  done: boolean,
  extraBytes = 0,
): Uint8Array {
  const bytes = new Uint8Array(CHUNK_HEADER_BYTES + extraBytes);
  const view = viewOf(bytes);
  view.setUint32(0, MAGIC.structuredReply);
  view.setUint16(4, done ? CHUNK_FLAG_DONE : 0);
  view.setUint16(6, type);
  view.setBigUint64(8, request.cookie);
  view.setUint32(16, lengthBytes);
  return bytes;
}

function dataChunk(request: ServerRequest, offset: number, lengthBytes: number, done: boolean) {
  const bytes = chunkHeader(request, CHUNK.offsetData, 8 + lengthBytes, done, 8);
  writeUint64(viewOf(bytes), CHUNK_HEADER_BYTES, offset);
  return bytes;
}

function holeChunk(request: ServerRequest, offset: number, lengthBytes: number, done: boolean) {
  const bytes = chunkHeader(request, CHUNK.offsetHole, 12, done, 12);
  const view = viewOf(bytes);
  writeUint64(view, CHUNK_HEADER_BYTES, offset);
  view.setUint32(CHUNK_HEADER_BYTES + 8, lengthBytes);
  return bytes;
}

export function simpleReply(request: ServerRequest, errno: number): Uint8Array {
  const bytes = new Uint8Array(SIMPLE_REPLY_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, MAGIC.simpleReply);
  view.setUint32(4, errno);
  view.setBigUint64(8, request.cookie);
  return bytes;
}

export function errorReply(
  request: ServerRequest,
  { structuredReplies }: Agreement,
  errno: number,
  remark: string,
): Uint8Array[] {
  if (!structuredReplies) return [simpleReply(request, errno)];
  const text = new TextEncoder().encode(remark).subarray(0, MAX_REMARK_BYTES);
  const header = chunkHeader(request, CHUNK.error, 6 + text.length, true, 6);
  const view = viewOf(header);
  view.setUint32(CHUNK_HEADER_BYTES, errno);
  view.setUint16(CHUNK_HEADER_BYTES + 4, text.length);
  return [header, text];
}
