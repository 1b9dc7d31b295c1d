import { type ByteFeed, type Starved, take, takeMore } from './byte-feed.ts';
import { NotUnderstood } from './not-understood.ts';
import {
  createWrittenPages,
  type PageBuffer,
  type PagedBlock,
  type PageWindows,
} from './page-windows.ts';
import { namedRecordHeader, PAGE_BYTES, RAM_FLAG, readUint32 } from './stream-format.ts';

const BLOCK_LIMIT = 4096;

export interface RamBlock {
  readonly name: string;
  readonly lengthBytes: number;
  /** Null when its pages stay in the remainder. */
  readonly paged: PagedBlock | null;
}

export interface RamProgress {
  /** Total of the block list; -1 before it came. */
  listedBytes: number;
  readonly blocks: Map<string, RamBlock>;
  /** The block that records with the continue flag mean. */
  lastBlock: RamBlock | null;
  pages: number;
  zeroPages: number;
}

/**
 * Reads the records of one RAM section up to and including its end mark, which stays the feed's
 * item. `emitRecord` gets the records of small blocks, each naming its block.
 */
export function* parseRamRecords<B extends PageBuffer>(options: {
  feed: ByteFeed;
  windows: PageWindows<B>;
  progress: RamProgress;
  pagedBlockMinBytes: number;
  emit: (bytes: Uint8Array) => void;
  emitRecord: (bytes: Uint8Array) => void;
}): Generator<Starved, void, void> {
  const { feed, windows, progress, emitRecord } = options;
  for (;;) {
    feed.begin(8);
    while (!feed.fill()) yield 'bytes';
    const word = feed.item();
    const low = readUint32(word, 4);
    const high = readUint32(word, 0);
    const flags = low & (PAGE_BYTES - 1);
    const offset = high * 0x1_0000_0000 + (low - flags);
    const kind = flags & ~RAM_FLAG.continue;
    if (kind === RAM_FLAG.page || kind === RAM_FLAG.zero) {
      if ((flags & RAM_FLAG.continue) === 0) progress.lastBlock = yield* parseBlockName(options);
      const block = progress.lastBlock;
      if (block === null) throw new NotUnderstood('a page of no block');
      if (offset + PAGE_BYTES > block.lengthBytes) {
        throw new NotUnderstood(`a page beyond the end of the block ${block.name}`);
      }
      if (kind === RAM_FLAG.zero) yield* parseZero(options, block, offset);
      else if (block.paged !== null) yield* copyPage(feed, windows, block.paged, offset);
      else {
        emitRecord(namedRecordHeader(block.name, offset, RAM_FLAG.page));
        emitRecord(yield* take(feed, PAGE_BYTES));
      }
      if (kind === RAM_FLAG.page) progress.pages += 1;
    } else if (flags === RAM_FLAG.endOfSection) {
      return;
    } else if (flags === RAM_FLAG.memSize) {
      yield* parseBlockList(options, offset);
    } else {
      throw new NotUnderstood(`RAM record flags 0x${flags.toString(16)}`);
    }
  }
}

function* parseBlockName(options: {
  feed: ByteFeed;
  progress: RamProgress;
}): Generator<Starved, RamBlock, void> {
  const { feed, progress } = options;
  const nameBytes = (yield* takeMore(feed, 1))[8] ?? 0;
  const bytes = yield* takeMore(feed, nameBytes);
  const name = Buffer.from(bytes.subarray(9)).toString('latin1');
  const block = progress.blocks.get(name);
  if (block === undefined) throw new NotUnderstood('a page of an unknown block');
  return block;
}

function* copyPage<B extends PageBuffer>(
  feed: ByteFeed,
  windows: PageWindows<B>,
  block: PagedBlock,
  offset: number,
): Generator<Starved, void, void> {
  let place = windows.placePage(block, offset);
  while (place === null) {
    yield 'buffer';
    place = windows.placePage(block, offset);
  }
  let done = feed.copyTo(place.bytes, place.at, PAGE_BYTES);
  while (done < PAGE_BYTES) {
    yield 'bytes';
    done += feed.copyTo(place.bytes, place.at + done, PAGE_BYTES - done);
  }
}

function* parseZero<B extends PageBuffer>(
  options: {
    feed: ByteFeed;
    windows: PageWindows<B>;
    progress: RamProgress;
    emitRecord: (bytes: Uint8Array) => void;
  },
  block: RamBlock,
  offset: number,
): Generator<Starved, void, void> {
  const { feed, windows, progress, emitRecord } = options;
  feed.extend(1);
  while (!feed.fill()) yield 'bytes';
  const record = feed.item();
  if (record[record.length - 1] !== 0) throw new NotUnderstood('a page filled with one byte');
  progress.zeroPages += 1;
  if (block.paged === null) {
    emitRecord(namedRecordHeader(block.name, offset, RAM_FLAG.zero));
    emitRecord(Uint8Array.of(0));
    return;
  }
  while (!windows.zeroPage(block.paged, offset)) yield 'buffer';
}

function* parseBlockList(
  options: {
    feed: ByteFeed;
    progress: RamProgress;
    pagedBlockMinBytes: number;
    emit: (bytes: Uint8Array) => void;
  },
  totalBytes: number,
): Generator<Starved, void, void> {
  const { feed, progress, pagedBlockMinBytes, emit } = options;
  if (progress.listedBytes >= 0) throw new NotUnderstood('a second list of blocks');
  if (!Number.isSafeInteger(totalBytes)) throw new NotUnderstood('RAM of that size');
  progress.listedBytes = totalBytes;
  emit(feed.item());
  let seenBytes = 0;
  while (seenBytes < totalBytes) {
    const nameBytes = (yield* take(feed, 1))[0] ?? 0;
    const bytes = yield* takeMore(feed, nameBytes + 8);
    const name = Buffer.from(bytes.subarray(1, 1 + nameBytes)).toString('latin1');
    const lengthBytes =
      readUint32(bytes, 1 + nameBytes) * 0x1_0000_0000 + readUint32(bytes, 5 + nameBytes);
    seenBytes += lengthBytes;
    // A list that holds more per block (postcopy, mapped-ram) does not add up and ends here too.
    if (seenBytes > totalBytes || lengthBytes % PAGE_BYTES !== 0 || progress.blocks.has(name)) {
      throw new NotUnderstood('a list of blocks that does not add up');
    }
    if (progress.blocks.size >= BLOCK_LIMIT) throw new NotUnderstood('too many blocks');
    const paged =
      lengthBytes >= pagedBlockMinBytes
        ? { name, lengthBytes, written: createWrittenPages() }
        : null;
    progress.blocks.set(name, { name, lengthBytes, paged });
    emit(bytes);
  }
}
