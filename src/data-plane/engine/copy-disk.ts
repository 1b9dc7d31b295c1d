import { MIB } from '../../shared/byte-size.ts';
import { throwIfAborted } from '../../shared/waiting.ts';
import type { RepositoryWriter, TreeRef, TreeWriter } from '../chunk-repository/repository.ts';

/** What copying needs of an NBD connection or pool; offsets and lengths are bytes. */
export interface BlockSource {
  readonly sizeBytes: number;
  readInto(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void>;
}

export interface ByteRange {
  readonly offset: number;
  readonly lengthBytes: number;
}

const WINDOW_BYTES = MIB;
/** Enough for the reads on two connections and a queue before the hashing threads; a memory needs buffers too. */
const WINDOWS_IN_FLIGHT = 20;

/** Rounds ranges out to whole blocks and joins those that then touch. Ranges come sorted. */
export function alignRanges(
  ranges: readonly ByteRange[],
  blockSizeBytes: number,
  totalBytes: number,
): ByteRange[] {
  const aligned: { offset: number; lengthBytes: number }[] = [];
  for (const range of ranges) {
    const start = Math.floor(range.offset / blockSizeBytes) * blockSizeBytes;
    const rawEnd = Math.ceil((range.offset + range.lengthBytes) / blockSizeBytes) * blockSizeBytes;
    const end = Math.min(rawEnd, totalBytes);
    if (end <= start) continue;
    const last = aligned.at(-1);
    if (last && start <= last.offset + last.lengthBytes) {
      last.lengthBytes = Math.max(last.lengthBytes, end - last.offset);
    } else aligned.push({ offset: start, lengthBytes: end - start });
  }
  return aligned;
}

/** The parts of [0, totalBytes) that sorted, joined ranges leave out. */
export function invertRanges(ranges: readonly ByteRange[], totalBytes: number): ByteRange[] {
  const gaps: ByteRange[] = [];
  let position = 0;
  for (const range of ranges) {
    if (range.offset > position)
      gaps.push({ offset: position, lengthBytes: range.offset - position });
    position = range.offset + range.lengthBytes;
  }
  if (position < totalBytes) gaps.push({ offset: position, lengthBytes: totalBytes - position });
  return gaps;
}

/** Splits ranges at multiples of the window size, so that every piece fits one shared buffer. */
function* splitIntoWindows(ranges: readonly ByteRange[]): Generator<ByteRange> {
  for (const range of ranges) {
    const end = range.offset + range.lengthBytes;
    let offset = range.offset;
    while (offset < end) {
      const boundary = (Math.floor(offset / WINDOW_BYTES) + 1) * WINDOW_BYTES;
      const next = Math.min(boundary, end);
      yield { offset, lengthBytes: next - offset };
      offset = next;
    }
  }
}

export interface CopyDiskRequest {
  readonly source: BlockSource;
  readonly writer: RepositoryWriter;
  /** Ranges to read, sorted; everything else is zero, or as in the parent when there is one. */
  readonly ranges: readonly ByteRange[];
  /** Parent tree for an incremental copy. */
  readonly parent: TreeRef | undefined;
  readonly blockSizeBytes: number;
  readonly onBytes: (lengthBytes: number) => void;
  readonly signal: AbortSignal;
}

/** Copies one disk's ranges into the repository; resolves with the tree of the whole disk. */
export async function copyDisk(request: CopyDiskRequest): Promise<TreeRef> {
  const { source, writer, parent } = request;
  const ranges = alignRanges(request.ranges, request.blockSizeBytes, source.sizeBytes);
  const tree = writer.createTree({ kind: 'disk', lengthBytes: source.sizeBytes, parent });
  if (parent) {
    for (const gap of invertRanges(ranges, source.sizeBytes)) {
      await tree.keepFromParent(gap.offset, gap.lengthBytes);
    }
  }
  await copyWindows(request, tree, splitIntoWindows(ranges));
  return await tree.finish();
}

async function copyWindows(
  request: CopyDiskRequest,
  tree: TreeWriter,
  windows: Iterator<ByteRange>,
): Promise<void> {
  const stop = new AbortController();
  const signal = AbortSignal.any([request.signal, stop.signal]);
  const copyNext = async (): Promise<void> => {
    for (;;) {
      throwIfAborted(signal);
      const step = windows.next();
      if (step.done) return;
      await copyWindow(request, tree, step.value, signal);
    }
  };
  const lanes = Array.from({ length: WINDOWS_IN_FLIGHT }, async () => {
    try {
      await copyNext();
    } catch (error) {
      stop.abort(error);
      throw error;
    }
  });
  const results = await Promise.allSettled(lanes);
  // The first failure stops the other lanes, so its own error is the one the abort carries.
  if (stop.signal.aborted) throw stop.signal.reason;
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

async function copyWindow(
  request: CopyDiskRequest,
  tree: TreeWriter,
  window: ByteRange,
  signal: AbortSignal,
): Promise<void> {
  const buffer = await request.writer.acquireBuffer(signal);
  try {
    const target = buffer.bytes.subarray(0, window.lengthBytes);
    await request.source.readInto(window.offset, target, signal);
    await tree.write(window.offset, target);
  } finally {
    buffer.release();
  }
  request.onBytes(window.lengthBytes);
}
