import { MIB } from '../../shared/byte-size.ts';
import { OperationError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/waiting.ts';
import type { ChunkSource } from './chunk-source.ts';
import { StoredDataError } from './damage.ts';
import { DIGEST_BYTES } from './digest.ts';
import { DIGEST_WORDS, isZeroAt } from './digest-table.ts';
import { createTreeNodes, entryAt, type TreeNodes } from './node-reader.ts';
import type { Extent, TreeReader, TreeRef } from './repository.ts';
import type { RepositoryContext } from './repository-context.ts';
import { shapeOfRef, type TreeShape } from './tree-shape.ts';

/** Digests of the blocks that a range touches. */
interface RangeDigests {
  readonly firstBlock: number;
  readonly words: Int32Array;
}

/** One read loads at most this much at once, whatever the caller asks for. */
const READ_STEP_BYTES = 4 * MIB;
const READ_AHEAD_BYTES = 2 * MIB;

const ignore = (): void => undefined;

export function openTreeReader(
  context: Pick<RepositoryContext, 'layout' | 'readNode' | 'source'>,
  tree: TreeRef,
  name: string,
): TreeReader {
  const { source } = context;
  const shape = shapeOfRef(tree, context.layout);
  const nodes = createTreeNodes(tree, shape, context.readNode);
  let nextOffset = 0;
  let readAheadEnd = 0;

  const open: OpenTree = { name, shape, nodes, source };

  /** Reads in order find their next frames in the cache. */
  const readAhead = (end: number): void => {
    const from = Math.max(end, readAheadEnd);
    const to = Math.min(end + READ_AHEAD_BYTES, shape.lengthBytes);
    if (to - from < READ_AHEAD_BYTES / 2) return;
    readAheadEnd = to;
    planRead(open, { offset: from, lengthBytes: to - from }, undefined)
      .then(async ({ words }) => await source.visit({ words, onChunks: ignore, onMissing: ignore }))
      // Only a hint: the read that needs these bytes meets the same error and reports it.
      .catch(() => undefined);
  };

  return {
    lengthBytes: shape.lengthBytes,
    async readInto(offset, target, signal) {
      checkRange(shape, offset, target.length);
      const sequential = offset === nextOffset;
      nextOffset = offset + target.length;
      if (!sequential) readAheadEnd = 0;
      else if (offset > 0) readAhead(nextOffset);
      for (let at = 0; at < target.length; at += READ_STEP_BYTES) {
        throwIfAborted(signal);
        await readStep(open, offset + at, target.subarray(at, at + READ_STEP_BYTES), signal);
      }
    },
    async extents(offset, lengthBytes) {
      checkRange(shape, offset, lengthBytes);
      return await namingDamage(
        open,
        { offset, lengthBytes },
        async () => await listExtents(shape, nodes, offset, lengthBytes),
      );
    },
  };
}

interface OpenTree {
  readonly name: string;
  readonly shape: TreeShape;
  readonly nodes: TreeNodes;
  readonly source: ChunkSource;
}

interface ByteRange {
  readonly offset: number;
  readonly lengthBytes: number;
}

function damageError(name: string, range: ByteRange, reason: string): OperationError {
  const { offset, lengthBytes } = range;
  return new OperationError(
    'snapshot_damaged',
    `Of ${name}, ${lengthBytes} bytes at ${offset} are lost: ${reason}.`,
    { details: { part: name, offset, lengthBytes, reason } },
  );
}

async function namingDamage<T>(
  { name }: OpenTree,
  range: ByteRange,
  action: () => Promise<T>,
): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof StoredDataError) throw damageError(name, range, error.message);
    throw error;
  }
}

async function planRead(
  open: OpenTree,
  range: ByteRange,
  signal: AbortSignal | undefined,
): Promise<RangeDigests> {
  return await namingDamage(
    open,
    range,
    async () => await digestsOfRange(open.shape, open.nodes, range, signal),
  );
}

async function readStep(
  open: OpenTree,
  offset: number,
  target: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { blockSizeBytes } = open.shape;
  const range = { offset, lengthBytes: target.length };
  const { firstBlock, words } = await planRead(open, range, signal);
  /** Where the block at an index of the plan begins in the target; the first may begin before it. */
  const startOf = (index: number): number => (firstBlock + index) * blockSizeBytes - offset;
  fillZeroBlocks(words, startOf, target);
  let lost: { index: number; reason: string } | undefined;
  await open.source.visit({
    words,
    signal,
    onChunks(index, _count, bytes) {
      const start = startOf(index);
      const from = Math.max(0, -start);
      const to = Math.min(bytes.length, target.length - start);
      target.set(bytes.subarray(from, to), start + from);
    },
    onMissing(index, reason) {
      if (lost === undefined || index < lost.index) lost = { index, reason };
    },
  });
  if (lost === undefined) return;
  const from = Math.max(0, startOf(lost.index));
  const to = Math.min(target.length, startOf(lost.index + 1));
  throw damageError(open.name, { offset: offset + from, lengthBytes: to - from }, lost.reason);
}

function fillZeroBlocks(
  words: Int32Array,
  startOf: (index: number) => number,
  target: Uint8Array,
): void {
  const count = words.length / DIGEST_WORDS;
  for (let index = 0; index < count; index += 1) {
    const first = index;
    while (index < count && isZeroAt(words, index * DIGEST_WORDS)) index += 1;
    if (index === first) continue;
    target.fill(0, Math.max(0, startOf(first)), Math.min(target.length, startOf(index)));
  }
}

function checkRange(shape: TreeShape, offset: number, lengthBytes: number): void {
  const inside =
    Number.isSafeInteger(offset) && offset >= 0 && offset + lengthBytes <= shape.lengthBytes;
  if (inside && lengthBytes >= 0) return;
  throw new OperationError(
    'invalid_input',
    `${lengthBytes} bytes at ${offset} reach past the end of ${shape.lengthBytes} bytes.`,
  );
}

async function digestsOfRange(
  shape: TreeShape,
  nodes: TreeNodes,
  range: ByteRange,
  signal: AbortSignal | undefined,
): Promise<RangeDigests> {
  const { blockSizeBytes } = shape;
  const leafEntries = shape.entriesMax[0] ?? 1;
  const firstBlock = Math.floor(range.offset / blockSizeBytes);
  const endBlock = Math.ceil((range.offset + range.lengthBytes) / blockSizeBytes);
  const words = new Int32Array((endBlock - firstBlock) * DIGEST_WORDS);
  const digests = new Uint8Array(words.buffer);
  for (let block = firstBlock; block < endBlock;) {
    const leafIndex = Math.floor(block / leafEntries);
    const leafStart = leafIndex * leafEntries;
    const stop = Math.min(leafStart + leafEntries, endBlock);
    const entries = await nodes.entries(0, leafIndex, signal);
    if (entries !== null) {
      const from = (block - leafStart) * DIGEST_BYTES;
      const to = (stop - leafStart) * DIGEST_BYTES;
      digests.set(entries.subarray(from, to), (block - firstBlock) * DIGEST_BYTES);
    }
    block = stop;
  }
  return { firstBlock, words };
}

async function listExtents(
  shape: TreeShape,
  nodes: TreeNodes,
  offset: number,
  lengthBytes: number,
): Promise<Extent[]> {
  const extents: { offset: number; lengthBytes: number; zero: boolean }[] = [];
  const end = offset + lengthBytes;
  const leafEntries = shape.entriesMax[0] ?? 1;
  const { blockSizeBytes } = shape;
  const add = (from: number, to: number, zero: boolean): void => {
    const start = Math.max(from, offset);
    const stop = Math.min(to, end);
    if (stop <= start) return;
    const last = extents.at(-1);
    if (last?.zero === zero) last.lengthBytes += stop - start;
    else extents.push({ offset: start, lengthBytes: stop - start, zero });
  };
  const leafBytes = leafEntries * blockSizeBytes;
  for (let leaf = Math.floor(offset / leafBytes); leaf * leafBytes < end;) {
    const leafStart = leaf * leafBytes;
    const above = await zeroNodeEnd(shape, nodes, leaf);
    if (above > leaf) {
      add(leafStart, above * leafBytes, true);
      leaf = above;
      continue;
    }
    const entries = await nodes.entries(0, leaf);
    const count = entries === null ? 0 : entries.length / DIGEST_BYTES;
    if (entries === null) add(leafStart, leafStart + leafBytes, true);
    for (let entry = 0; entry < count; entry += 1) {
      const start = leafStart + entry * blockSizeBytes;
      add(start, start + blockSizeBytes, entries === null || entryAt(entries, entry) === null);
    }
    leaf += 1;
  }
  return extents;
}

/** The first leaf after the node on level 1 when that node is zero; otherwise the leaf itself. */
async function zeroNodeEnd(shape: TreeShape, nodes: TreeNodes, leaf: number): Promise<number> {
  if (shape.nodeCounts.length < 2) return leaf;
  const max = shape.entriesMax[1] ?? 1;
  const index = Math.floor(leaf / max);
  return (await nodes.entries(1, index)) === null ? (index + 1) * max : leaf;
}
