import { OperationError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/waiting.ts';
import {
  namedRecordHeader,
  PAGE_BYTES,
  RAM_FLAG,
  ramSectionEnd,
  SECTION,
  sectionHeader,
  WINDOW_BYTES,
  writeWord,
} from './stream-format.ts';

export interface ContentReader {
  readonly lengthBytes: number;
  readInto(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void>;
  /** Data and zero ranges that cover the range asked for, in order. */
  extents(offset: number, lengthBytes: number): Promise<readonly ContentExtent[]>;
}

export interface ContentExtent {
  readonly offset: number;
  readonly lengthBytes: number;
  readonly zero: boolean;
}

export interface SynthesisInput {
  readonly remainder: ContentReader;
  readonly pagesAtRemainderOffset: number;
  readonly ramSectionId: number;
  readonly blocks: readonly { readonly name: string; readonly pages: ContentReader }[];
}

/** Extents are asked for in ranges of this size, so that their lists stay short. */
const EXTENT_RANGE_BYTES = 64 * WINDOW_BYTES;
const READS_AHEAD = 4;
const WORD_BYTES = 8;
const ZERO_RECORD_BYTES = 9;

/**
 * A valid migration stream from a parsed one: the pages as one more part of the RAM section,
 * put before everything that came after the section's start. Chunks are new buffers of up to 1 MiB
 * and a bit; the generator reads ahead of its consumer by a few MiB at most.
 */
export async function* synthesizeStream(
  input: SynthesisInput,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, void> {
  const { remainder, pagesAtRemainderOffset, ramSectionId, blocks } = input;
  if (pagesAtRemainderOffset > remainder.lengthBytes) {
    throw new OperationError(
      'snapshot_damaged',
      'The memory of this snapshot cannot be put together: its pages belong beyond its end.',
    );
  }
  yield* readRemainder(remainder, 0, pagesAtRemainderOffset, signal);
  yield sectionHeader(SECTION.part, ramSectionId);
  for (const block of blocks) yield* writeBlock(block.name, block.pages, signal);
  yield ramSectionEnd(ramSectionId);
  yield* readRemainder(remainder, pagesAtRemainderOffset, remainder.lengthBytes, signal);
}

/** How many bytes `synthesizeStream` will give, without reading any page. */
export async function measureSynthesizedStream(input: SynthesisInput): Promise<number> {
  let bytes = input.remainder.lengthBytes + sectionHeader(SECTION.part, 0).length;
  bytes += ramSectionEnd(0).length;
  for (const { name, pages } of input.blocks) {
    let pageCount = 0;
    let zeroCount = 0;
    for await (const { lengthBytes, zeroPages } of planPieces(pages)) {
      const count = lengthBytes / PAGE_BYTES;
      const zeroes = zeroPages === null ? count : zeroPages.reduce((sum, flag) => sum + flag, 0);
      zeroCount += zeroes;
      pageCount += count - zeroes;
    }
    bytes += pageCount * (WORD_BYTES + PAGE_BYTES) + zeroCount * ZERO_RECORD_BYTES;
    if (pageCount + zeroCount > 0) bytes += 1 + Buffer.byteLength(name, 'latin1');
  }
  return bytes;
}

async function* readRemainder(
  reader: ContentReader,
  from: number,
  to: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, void> {
  for (let offset = from; offset < to; offset += WINDOW_BYTES) {
    throwIfAborted(signal);
    const bytes = new Uint8Array(Math.min(WINDOW_BYTES, to - offset));
    await reader.readInto(offset, bytes, signal);
    yield bytes;
  }
}

/** A run of zero pages, or one window with content. */
interface PieceOfBlock {
  readonly offset: number;
  readonly lengthBytes: number;
  /** By page: 1 where the content is zero; null when all of it is. */
  readonly zeroPages: Uint8Array | null;
  /** Null when all of it is zero. */
  readonly content: Promise<Uint8Array> | null;
}

async function* writeBlock(
  name: string,
  pages: ContentReader,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, void> {
  const spare: Uint8Array[] = [];
  let blockName: string | null = name;
  for await (const piece of readAhead(pages, spare, signal)) {
    const content = piece.content === null ? null : await piece.content;
    throwIfAborted(signal);
    // Only a block's first record names it.
    yield formatRecords(piece, content, blockName);
    blockName = null;
    if (content !== null) spare.push(new Uint8Array(content.buffer, 0, WINDOW_BYTES));
  }
}

/**
 * Zero pages are sent, although fresh memory is zero: a device may write to its memory when the
 * receiving QEMU builds it (display adapters do), and 9 bytes a page cost little. QEMU leaves pages
 * alone that are zero already, so they take no memory of the host.
 */
function formatRecords(
  piece: PieceOfBlock,
  content: Uint8Array | null,
  blockName: string | null,
): Uint8Array {
  const { offset, lengthBytes, zeroPages } = piece;
  const isZero = (done: number): boolean => zeroPages?.[done / PAGE_BYTES] !== 0;
  const recordBytes = WORD_BYTES + (content === null ? 1 : PAGE_BYTES);
  const nameBytes = blockName === null ? 0 : 1 + Buffer.byteLength(blockName, 'latin1');
  const chunk = Buffer.allocUnsafe((lengthBytes / PAGE_BYTES) * recordBytes + nameBytes);
  let at = 0;
  for (let done = 0; done < lengthBytes; done += PAGE_BYTES) {
    const flags = isZero(done) ? RAM_FLAG.zero : RAM_FLAG.page;
    if (done === 0 && blockName !== null) {
      const header = namedRecordHeader(blockName, offset, flags);
      chunk.set(header, 0);
      at += header.length;
    } else {
      writeWord(chunk, at, offset + done, flags | RAM_FLAG.continue);
      at += WORD_BYTES;
    }
    if (content === null || isZero(done)) {
      chunk[at] = 0;
      at += 1;
    } else {
      chunk.set(content.subarray(done, done + PAGE_BYTES), at);
      at += PAGE_BYTES;
    }
  }
  return chunk.subarray(0, at);
}

/** Reads into buffers from `spare`, where the consumer puts them back. */
async function* readAhead(
  pages: ContentReader,
  spare: Uint8Array[],
  signal: AbortSignal | undefined,
): AsyncGenerator<PieceOfBlock, void, void> {
  const ahead: PieceOfBlock[] = [];
  for await (const { offset, lengthBytes, zeroPages } of planPieces(pages)) {
    throwIfAborted(signal);
    let content: Promise<Uint8Array> | null = null;
    if (zeroPages !== null) {
      const buffer = spare.pop() ?? new Uint8Array(WINDOW_BYTES);
      content = readContent(pages, offset, buffer.subarray(0, lengthBytes), signal);
      // A failure is thrown where the content is awaited; until then it must not count as unhandled.
      content.catch(() => undefined);
    }
    ahead.push({ offset, lengthBytes, zeroPages, content });
    const next = ahead.length > READS_AHEAD ? ahead.shift() : undefined;
    if (next !== undefined) yield next;
  }
  yield* ahead;
}

/** Windows with content one by one, windows without in runs. */
async function* planPieces(
  pages: ContentReader,
): AsyncGenerator<Omit<PieceOfBlock, 'content'>, void, void> {
  let zeroStart = 0;
  for (let offset = 0; offset < pages.lengthBytes; offset += EXTENT_RANGE_BYTES) {
    const rangeBytes = Math.min(EXTENT_RANGE_BYTES, pages.lengthBytes - offset);
    const zeroPages = new Uint8Array(rangeBytes / PAGE_BYTES);
    for (const extent of await wholeExtents(pages, offset, rangeBytes)) {
      const first = (extent.offset - offset) / PAGE_BYTES;
      if (extent.zero) zeroPages.fill(1, first, first + extent.lengthBytes / PAGE_BYTES);
    }
    for (let at = 0; at < rangeBytes; at += WINDOW_BYTES) {
      const windowPages = zeroPages.subarray(at / PAGE_BYTES, (at + WINDOW_BYTES) / PAGE_BYTES);
      if (!windowPages.includes(0)) continue;
      const start = offset + at;
      if (start > zeroStart) yield zeroPiece(zeroStart, start);
      zeroStart = start + windowPages.length * PAGE_BYTES;
      yield { offset: start, lengthBytes: zeroStart - start, zeroPages: windowPages };
    }
    const end = offset + rangeBytes;
    if (end > zeroStart) yield zeroPiece(zeroStart, end);
    zeroStart = end;
  }
}

function zeroPiece(offset: number, end: number): Omit<PieceOfBlock, 'content'> {
  return { offset, lengthBytes: end - offset, zeroPages: null };
}

async function readContent(
  pages: ContentReader,
  offset: number,
  target: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  await pages.readInto(offset, target, signal);
  return target;
}

async function wholeExtents(
  pages: ContentReader,
  offset: number,
  lengthBytes: number,
): Promise<readonly ContentExtent[]> {
  const extents = await pages.extents(offset, lengthBytes);
  let at = offset;
  for (const extent of extents) {
    const isAligned = extent.offset % PAGE_BYTES === 0 && extent.lengthBytes % PAGE_BYTES === 0;
    if (extent.offset !== at || !isAligned) throw brokenExtents();
    at += extent.lengthBytes;
  }
  if (at !== offset + lengthBytes) throw brokenExtents();
  return extents;
}

function brokenExtents(): RangeError {
  return new RangeError('extents of a memory block must be whole pages without gaps');
}
