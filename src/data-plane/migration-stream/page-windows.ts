import { PAGE_BYTES, PAGES_PER_WINDOW, WINDOW_BYTES } from './stream-format.ts';

/** A buffer of exactly 1 MiB; the consumer may add what it needs to give it back. */
export interface PageBuffer {
  readonly bytes: Uint8Array;
}

export interface PageRun {
  readonly startBytes: number;
  readonly lengthBytes: number;
}

/**
 * Pages of one aligned 1 MiB window of a block. Run positions count from the window's start, in
 * the buffer and in the block alike. The buffer belongs to the consumer from here on.
 */
export interface PageWindow<B extends PageBuffer> {
  readonly block: string;
  readonly blockBytes: number;
  readonly windowOffset: number;
  readonly buffer: B;
  readonly runs: readonly PageRun[];
}

export interface PagedBlock {
  readonly name: string;
  readonly lengthBytes: number;
  readonly written: WrittenPages;
}

interface OpenWindow<B> {
  readonly block: PagedBlock;
  readonly offset: number;
  readonly buffer: B;
  readonly present: Uint8Array;
  lastUse: number;
}

/**
 * QEMU sends pages in order, but pages that the guest waits for jump the queue: a few windows
 * stay open so that such a page does not cut the sequential run.
 */
const OPEN_WINDOWS = 4;

/** Zero pages up to this many are written between two runs to make one of them. */
const BRIDGED_PAGES = 16;

export type PageWindows<B extends PageBuffer> = ReturnType<typeof createPageWindows<B>>;

export function createPageWindows<B extends PageBuffer>(handlers: {
  takeBuffer(): B | null;
  onPages(window: PageWindow<B>): void;
}) {
  const open: OpenWindow<B>[] = [];
  let uses = 0;
  let current: OpenWindow<B> | null = null;

  function flush(window: OpenWindow<B>): void {
    if (current === window) current = null;
    open.splice(open.indexOf(window), 1);
    const runs = planRuns(window.present, window.block.written, window.offset, window.buffer.bytes);
    const { block, offset, buffer } = window;
    const { name, lengthBytes } = block;
    handlers.onPages({ block: name, blockBytes: lengthBytes, windowOffset: offset, buffer, runs });
  }

  function flushAll(): void {
    while (open[0] !== undefined) flush(open[0]);
  }

  /** Null when there is no buffer; all open windows were handed over then, so that some return. */
  function openAt(block: PagedBlock, pageOffset: number): OpenWindow<B> | null {
    const offset = pageOffset - (pageOffset % WINDOW_BYTES);
    let window = open.find((each) => each.block === block && each.offset === offset);
    if (window === undefined) {
      if (open.length >= OPEN_WINDOWS)
        flush(open.reduce((a, b) => (a.lastUse < b.lastUse ? a : b)));
      const buffer = handlers.takeBuffer();
      if (buffer === null) {
        flushAll();
        return null;
      }
      if (buffer.bytes.length !== WINDOW_BYTES) throw new RangeError('a page buffer must be 1 MiB');
      window = { block, offset, buffer, present: new Uint8Array(PAGES_PER_WINDOW), lastUse: 0 };
      open.push(window);
    }
    uses += 1;
    window.lastUse = uses;
    current = window;
    return window;
  }

  function windowOf(block: PagedBlock, offset: number): OpenWindow<B> | null {
    if (current !== null && covers(current, block, offset)) return current;
    return openAt(block, offset);
  }

  return {
    /** The place for a page's bytes, which the caller fills before anything else happens; null: no buffer. */
    placePage(block: PagedBlock, offset: number): { bytes: Uint8Array; at: number } | null {
      const window = windowOf(block, offset);
      if (window === null) return null;
      const at = offset - window.offset;
      window.present[at / PAGE_BYTES] = 1;
      block.written.add(offset);
      return { bytes: window.buffer.bytes, at };
    },
    /** False: no buffer. A page that never had content is zero already. */
    zeroPage(block: PagedBlock, offset: number): boolean {
      if (!block.written.has(offset)) return true;
      const window = windowOf(block, offset);
      if (window === null) return false;
      const at = offset - window.offset;
      window.buffer.bytes.fill(0, at, at + PAGE_BYTES);
      window.present[at / PAGE_BYTES] = 1;
      block.written.delete(offset);
      return true;
    },
    flushAll,
  };
}

function covers(window: OpenWindow<PageBuffer>, block: PagedBlock, offset: number): boolean {
  return window.block === block && offset >= window.offset && offset < window.offset + WINDOW_BYTES;
}

function planRuns(
  present: Uint8Array,
  written: WrittenPages,
  windowOffset: number,
  bytes: Uint8Array,
): PageRun[] {
  const runs: { startBytes: number; lengthBytes: number }[] = [];
  let page = present.indexOf(1);
  while (page >= 0) {
    let end = present.indexOf(0, page);
    if (end < 0) end = PAGES_PER_WINDOW;
    const start = page * PAGE_BYTES;
    const last = runs.at(-1);
    const lastEnd = last === undefined ? 0 : last.startBytes + last.lengthBytes;
    if (last !== undefined && canBridge(lastEnd, start, written, windowOffset)) {
      bytes.fill(0, lastEnd, start);
      last.lengthBytes = end * PAGE_BYTES - last.startBytes;
    } else {
      runs.push({ startBytes: start, lengthBytes: end * PAGE_BYTES - start });
    }
    page = present.indexOf(1, end);
  }
  return runs;
}

/** A page with content that was handed over before must not be covered by the bridge. */
function canBridge(from: number, to: number, written: WrittenPages, windowOffset: number): boolean {
  if (to - from > BRIDGED_PAGES * PAGE_BYTES) return false;
  for (let at = from; at < to; at += PAGE_BYTES) {
    if (written.has(windowOffset + at)) return false;
  }
  return true;
}

/** Which pages hold content; memory grows with what was really written, not with the block's size. */
export interface WrittenPages {
  has(offset: number): boolean;
  add(offset: number): void;
  delete(offset: number): void;
}

const SEGMENT_PAGES = 32_768;

export function createWrittenPages(): WrittenPages {
  const segments = new Map<number, Uint8Array>();
  let cachedIndex = -1;
  let cached: Uint8Array | undefined;

  function segmentAt(page: number): Uint8Array | undefined {
    const index = Math.floor(page / SEGMENT_PAGES);
    if (index !== cachedIndex) {
      cachedIndex = index;
      cached = segments.get(index);
    }
    return cached;
  }

  return {
    has(offset) {
      const page = offset / PAGE_BYTES;
      const bit = page % SEGMENT_PAGES;
      return (((segmentAt(page)?.[bit >> 3] ?? 0) >> (bit & 7)) & 1) === 1;
    },
    add(offset) {
      const page = offset / PAGE_BYTES;
      const bit = page % SEGMENT_PAGES;
      let segment = segmentAt(page);
      if (segment === undefined) {
        segment = new Uint8Array(SEGMENT_PAGES / 8);
        segments.set(cachedIndex, segment);
        cached = segment;
      }
      segment[bit >> 3] = (segment[bit >> 3] ?? 0) | (1 << (bit & 7));
    },
    delete(offset) {
      const page = offset / PAGE_BYTES;
      const bit = page % SEGMENT_PAGES;
      const segment = segmentAt(page);
      if (segment !== undefined) segment[bit >> 3] = (segment[bit >> 3] ?? 0) & ~(1 << (bit & 7));
    },
  };
}
