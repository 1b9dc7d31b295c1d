import { MIB } from '../../shared/byte-size.ts';
import { OperationError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/waiting.ts';
import { type ChunkSource, isMissing } from './chunk-source.ts';
import { StoredDataError } from './damage.ts';
import { DIGEST_BYTES } from './digest.ts';
import { createTreeNodes, entryAt, type TreeNodes } from './node-reader.ts';
import type { Extent, TreeReader, TreeRef } from './repository.ts';
import type { RepositoryContext } from './repository-context.ts';
import { shapeOfRef, type TreeShape } from './tree-shape.ts';

/** A piece of a read: one block, or part of it. */
interface Piece {
  readonly digest: Uint8Array;
  readonly blockOffset: number;
  /** Part of the block that is wanted. */
  readonly from: number;
  readonly to: number;
  readonly targetOffset: number;
}

/** One read loads at most this much at once, whatever the caller asks for. */
const READ_STEP_BYTES = 4 * MIB;
const READ_AHEAD_BYTES = 2 * MIB;

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
      .then(async (pieces) => await source.load(pieces.map((piece) => piece.digest)))
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
): Promise<Piece[]> {
  return await namingDamage(
    open,
    range,
    async () => await planPieces(open.shape, open.nodes, range, signal),
  );
}

async function readStep(
  open: OpenTree,
  offset: number,
  target: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  const pieces = await planRead(open, { offset, lengthBytes: target.length }, signal);
  const digests = pieces.map((piece) => piece.digest);
  const chunks = await open.source.load(digests, signal);
  const covered = pieces.reduce((sum, piece) => sum + piece.to - piece.from, 0);
  if (covered < target.length) target.fill(0);
  for (const [index, piece] of pieces.entries()) {
    const chunk = chunks[index];
    if (chunk === undefined || isMissing(chunk)) {
      const range = { offset: piece.blockOffset + piece.from, lengthBytes: piece.to - piece.from };
      throw damageError(open.name, range, chunk?.reason ?? 'nothing was read');
    }
    target.set(chunk.subarray(piece.from, piece.to), piece.targetOffset);
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

/** The blocks of a range that are not all zero. */
async function planPieces(
  shape: TreeShape,
  nodes: TreeNodes,
  range: { offset: number; lengthBytes: number },
  signal: AbortSignal | undefined,
): Promise<Piece[]> {
  const { blockSizeBytes } = shape;
  const end = range.offset + range.lengthBytes;
  const leafEntries = shape.entriesMax[0] ?? 1;
  const pieces: Piece[] = [];
  let block = Math.floor(range.offset / blockSizeBytes);
  while (block * blockSizeBytes < end) {
    const leafIndex = Math.floor(block / leafEntries);
    const leafStart = leafIndex * leafEntries;
    const entries = await nodes.entries(0, leafIndex, signal);
    const stop = Math.min(leafStart + leafEntries, Math.ceil(end / blockSizeBytes));
    if (entries === null) {
      block = stop;
      continue;
    }
    for (; block < stop; block += 1) {
      const digest = entryAt(entries, block - leafStart);
      if (digest === null) continue;
      const blockOffset = block * blockSizeBytes;
      const from = Math.max(0, range.offset - blockOffset);
      const to = Math.min(blockSizeBytes, end - blockOffset);
      const targetOffset = blockOffset + from - range.offset;
      pieces.push({ digest, blockOffset, from, to, targetOffset });
    }
  }
  return pieces;
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
