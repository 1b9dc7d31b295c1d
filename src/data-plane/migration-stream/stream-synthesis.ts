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
  extents(
    offset: number,
    lengthBytes: number,
  ): Promise<readonly { offset: number; lengthBytes: number; zero: boolean }[]>;
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
const ZERO_CHUNK_PAGES = 32_768;

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
    for await (const extent of pageExtents(pages)) {
      if (extent.zero) zeroCount += extent.lengthBytes / PAGE_BYTES;
      else pageCount += extent.lengthBytes / PAGE_BYTES;
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

interface PieceOfBlock {
  readonly zero: boolean;
  readonly offset: number;
  readonly lengthBytes: number;
  /** Null for zeroes. */
  readonly content: Promise<Uint8Array> | null;
}

async function* writeBlock(
  name: string,
  pages: ContentReader,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, void> {
  let isFirst = true;
  for await (const piece of readAhead(pages, signal)) {
    // Only a block's first record names it; the record that follows would otherwise have to.
    const nameLength = isFirst ? 1 + Buffer.byteLength(name, 'latin1') : 0;
    const content = piece.content === null ? null : await piece.content;
    throwIfAborted(signal);
    const chunk =
      content === null ? zeroRecords(piece, nameLength) : pageRecords(piece, content, nameLength);
    if (isFirst) {
      const flags = piece.zero ? RAM_FLAG.zero : RAM_FLAG.page;
      chunk.set(namedRecordHeader(name, piece.offset, flags), 0);
      isFirst = false;
    }
    yield chunk;
  }
}

/** Leaves room of `nameLength` bytes after the first word, for the block's name. */
function pageRecords(piece: PieceOfBlock, content: Uint8Array, nameLength: number): Uint8Array {
  const pageCount = piece.lengthBytes / PAGE_BYTES;
  const chunk = Buffer.allocUnsafe(pageCount * (WORD_BYTES + PAGE_BYTES) + nameLength);
  let at = 0;
  for (let done = 0; done < piece.lengthBytes; done += PAGE_BYTES) {
    writeWord(chunk, at, piece.offset + done, RAM_FLAG.page | RAM_FLAG.continue);
    at += WORD_BYTES + (done === 0 ? nameLength : 0);
    chunk.set(content.subarray(done, done + PAGE_BYTES), at);
    at += PAGE_BYTES;
  }
  return chunk;
}

/**
 * Zero pages are sent, although fresh memory is zero: a device may write to its memory when the
 * receiving QEMU builds it (display adapters do), and 9 bytes a page cost little. QEMU leaves pages
 * alone that are zero already, so they take no memory of the host.
 */
function zeroRecords(piece: PieceOfBlock, nameLength: number): Uint8Array {
  const pageCount = piece.lengthBytes / PAGE_BYTES;
  const chunk = Buffer.alloc(pageCount * ZERO_RECORD_BYTES + nameLength);
  let at = 0;
  for (let done = 0; done < piece.lengthBytes; done += PAGE_BYTES) {
    writeWord(chunk, at, piece.offset + done, RAM_FLAG.zero | RAM_FLAG.continue);
    at += ZERO_RECORD_BYTES + (done === 0 ? nameLength : 0);
  }
  return chunk;
}

async function* readAhead(
  pages: ContentReader,
  signal: AbortSignal | undefined,
): AsyncGenerator<PieceOfBlock, void, void> {
  const ahead: PieceOfBlock[] = [];
  for await (const extent of pageExtents(pages)) {
    throwIfAborted(signal);
    const stepBytes = extent.zero ? ZERO_CHUNK_PAGES * PAGE_BYTES : WINDOW_BYTES;
    const end = extent.offset + extent.lengthBytes;
    for (let offset = extent.offset; offset < end; offset += stepBytes) {
      const lengthBytes = Math.min(stepBytes, end - offset);
      const content = extent.zero ? null : readContent(pages, offset, lengthBytes, signal);
      ahead.push({ zero: extent.zero, offset, lengthBytes, content });
      const next = ahead.length > READS_AHEAD ? ahead.shift() : undefined;
      if (next !== undefined) yield next;
    }
  }
  yield* ahead;
}

function readContent(
  pages: ContentReader,
  offset: number,
  lengthBytes: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const read = async (): Promise<Uint8Array> => {
    const bytes = Buffer.allocUnsafe(lengthBytes);
    await pages.readInto(offset, bytes, signal);
    return bytes;
  };
  const promise = read();
  // A failure is thrown where the content is awaited; until then it must not count as unhandled.
  promise.catch(() => undefined);
  return promise;
}

async function* pageExtents(
  pages: ContentReader,
): AsyncGenerator<{ offset: number; lengthBytes: number; zero: boolean }, void, void> {
  for (let offset = 0; offset < pages.lengthBytes; offset += EXTENT_RANGE_BYTES) {
    const lengthBytes = Math.min(EXTENT_RANGE_BYTES, pages.lengthBytes - offset);
    let at = offset;
    for (const extent of await pages.extents(offset, lengthBytes)) {
      const isAligned = extent.offset % PAGE_BYTES === 0 && extent.lengthBytes % PAGE_BYTES === 0;
      if (extent.offset !== at || !isAligned) throw brokenExtents();
      yield extent;
      at += extent.lengthBytes;
    }
    if (at !== offset + lengthBytes) throw brokenExtents();
  }
}

function brokenExtents(): RangeError {
  return new RangeError('extents of a memory block must be whole pages without gaps');
}
