import { OperationError } from '../../shared/errors.ts';
import type { ChunkTaker } from './chunk-taker.ts';
import type { ComputePool } from './compute-pool.ts';
import { StoredDataError } from './damage.ts';
import { DIGEST_BYTES, type Digester } from './digest.ts';
import { digestWords } from './digest-table.ts';
import { WRITE_SIZE_MAX_BYTES } from './layout.ts';
import { createTreeNodes, entryAt, type ReadNode, type TreeNodes } from './node-reader.ts';
import type { TreeRef, TreeWriter } from './repository.ts';
import { createTreeDigests, type TreeDigests } from './tree-digests.ts';
import { entryCount, type TreeShape } from './tree-shape.ts';

export interface TreeWriterOptions {
  readonly shape: TreeShape;
  readonly parent: TreeRef | undefined;
  /** Settles whether the parent may be built upon; called before its first use. */
  readonly checkParent: (parent: TreeRef) => Promise<void>;
  readonly pool: ComputePool;
  readonly taker: ChunkTaker;
  readonly digester: Digester;
  readonly readNode: ReadNode;
}

/** Blocks whose digests are known, in one slot of the arena. */
interface HashedBlocks {
  readonly blockCount: number;
  /** One digest per block; zeroes for all-zero blocks. */
  readonly digests: Uint8Array;
  readonly bytes: Buffer;
  readonly release: () => void;
}

export function createTreeWriter(options: TreeWriterOptions): TreeWriter {
  const { shape, parent, taker } = options;
  const { blockSizeBytes } = shape;
  const digests = createTreeDigests(options);
  let parentNodes: Promise<TreeNodes> | undefined;
  /** Changes are made in the order of the calls, so that the last write of a block wins. */
  let turn: Promise<void> = Promise.resolve();
  let finished = false;

  const inTurn = async (change: () => Promise<void>): Promise<void> => {
    const changed = turn.then(change);
    turn = changed.catch(() => undefined);
    await changed;
  };

  const writePiece = async (offset: number, data: Uint8Array): Promise<void> => {
    const hashing = hashPiece(options, data);
    // The turn below is where the error arrives; until then it must not count as unhandled.
    hashing.catch(() => undefined);
    await inTurn(async () => {
      const hashed = await hashing;
      try {
        await storeBlocks({ shape, digests, taker }, offset / blockSizeBytes, hashed);
      } finally {
        hashed.release();
      }
    });
  };

  const assertOpen = (): void => {
    if (finished) throw new OperationError('internal', 'The tree is finished already.');
  };

  return {
    async write(offset, data) {
      assertOpen();
      checkRange(shape, offset, data.length);
      const pieces: Promise<void>[] = [];
      for (let at = 0; at < data.length; at += WRITE_SIZE_MAX_BYTES) {
        pieces.push(writePiece(offset + at, data.subarray(at, at + WRITE_SIZE_MAX_BYTES)));
      }
      const results = await Promise.allSettled(pieces);
      for (const result of results) if (result.status === 'rejected') throw result.reason;
    },
    async keepFromParent(offset, keptBytes) {
      assertOpen();
      checkRange(shape, offset, keptBytes);
      if (parent === undefined) {
        throw new OperationError('internal', 'The tree was created without a parent.');
      }
      parentNodes ??= openParent(options, parent);
      const opening = parentNodes;
      await inTurn(async () => {
        const first = offset / blockSizeBytes;
        const end = Math.ceil((offset + keptBytes) / blockSizeBytes);
        try {
          await keepBlocks(shape, digests, await opening, { first, end });
        } catch (error) {
          throw describeParentDamage(error);
        }
      });
    },
    async finish() {
      assertOpen();
      finished = true;
      await turn;
      return await digests.finish();
    },
  };
}

function checkRange(shape: TreeShape, offset: number, length: number): void {
  const { blockSizeBytes, lengthBytes } = shape;
  const end = offset + length;
  const aligned = offset % blockSizeBytes === 0;
  const whole = end % blockSizeBytes === 0 || end === lengthBytes;
  if (aligned && whole && offset >= 0 && length >= 0 && end <= lengthBytes) return;
  throw new OperationError(
    'internal',
    `A write of ${length} bytes at ${offset} does not fit a tree of ${lengthBytes} bytes in blocks of ${blockSizeBytes}.`,
  );
}

async function openParent(options: TreeWriterOptions, ref: TreeRef): Promise<TreeNodes> {
  const { shape } = options;
  if (ref.kind !== shape.kind || ref.lengthBytes !== shape.lengthBytes) {
    throw new OperationError('internal', 'A parent tree must have the same kind and length.');
  }
  await options.checkParent(ref);
  return createTreeNodes(ref, shape, options.readNode);
}

async function storeBlocks(
  target: { shape: TreeShape; digests: TreeDigests; taker: ChunkTaker },
  firstBlock: number,
  hashed: HashedBlocks,
): Promise<void> {
  const { shape, digests, taker } = target;
  const leafEntries = shape.entriesMax[0] ?? 1;
  const { blockSizeBytes } = shape;
  const { blockCount: count, bytes } = hashed;
  const taking = taker.takeBlocks({
    blockSizeBytes,
    count,
    words: digestWords(hashed.digests),
    bytes,
  });
  if (taking !== undefined) await taking;
  for (let index = 0; index < count;) {
    const block = firstBlock + index;
    const inLeaf = block % leafEntries;
    const stop = Math.min(count, index + leafEntries - inLeaf);
    const leaf = digests.leaf(Math.floor(block / leafEntries));
    const entries = leaf instanceof Uint8Array ? leaf : await leaf;
    const run = hashed.digests.subarray(index * DIGEST_BYTES, stop * DIGEST_BYTES);
    entries.set(run, inLeaf * DIGEST_BYTES);
    index = stop;
  }
}

async function keepBlocks(
  shape: TreeShape,
  digests: TreeDigests,
  parent: TreeNodes,
  { first, end }: { first: number; end: number },
): Promise<void> {
  const leafEntries = shape.entriesMax[0] ?? 1;
  const hasLevelAbove = shape.nodeCounts.length > 1;
  const max = shape.entriesMax[1] ?? 1;
  let above: { index: number; entries: Uint8Array | null } | undefined;
  for (let block = first; block < end;) {
    const leafIndex = Math.floor(block / leafEntries);
    const leafStart = leafIndex * leafEntries;
    const leafEnd = leafStart + entryCount(shape, 0, leafIndex);
    const stop = Math.min(end, leafEnd);
    if (hasLevelAbove && block === leafStart && stop === leafEnd) {
      const index = Math.floor(leafIndex / max);
      if (above?.index !== index) above = { index, entries: await parent.entries(1, index) };
      const digest = above.entries === null ? null : entryAt(above.entries, leafIndex % max);
      digests.setLeaf(leafIndex, digest);
    } else {
      const kept = await parent.entries(0, leafIndex);
      const entries = await digests.leaf(leafIndex);
      const start = (block - leafStart) * DIGEST_BYTES;
      if (kept === null) entries.fill(0, start, (stop - leafStart) * DIGEST_BYTES);
      else entries.set(kept.subarray(start, (stop - leafStart) * DIGEST_BYTES), start);
    }
    block = stop;
  }
}

/** Gets data of up to 1 MiB hashed by a thread; data from elsewhere is copied into the arena first. */
async function hashPiece(options: TreeWriterOptions, data: Uint8Array): Promise<HashedBlocks> {
  const { pool, shape } = options;
  const { blockSizeBytes } = shape;
  if (data.length % blockSizeBytes !== 0) return await hashShortPiece(options, data);
  const own = pool.slotOf(data);
  if (own !== null) return await hashInSlot(options, own, data.length);
  const slot = await pool.copySlots.acquire();
  try {
    new Uint8Array(pool.arena).set(data, pool.inputPlace(slot).data);
    const hashed = await hashInSlot(options, { slot, offset: 0 }, data.length);
    return { ...hashed, release: () => pool.copySlots.release(slot) };
  } catch (error) {
    pool.copySlots.release(slot);
    throw error;
  }
}

async function hashInSlot(
  { pool, shape }: TreeWriterOptions,
  { slot, offset }: { slot: number; offset: number },
  lengthBytes: number,
): Promise<HashedBlocks> {
  const { blockSizeBytes } = shape;
  const place = pool.inputPlace(slot);
  await pool.hash({ place, offset, lengthBytes, blockSizeBytes });
  const blockCount = lengthBytes / blockSizeBytes;
  const first = Math.floor(offset / blockSizeBytes);
  const digests = new Uint8Array(
    pool.arena,
    place.digests + first * DIGEST_BYTES,
    blockCount * DIGEST_BYTES,
  ).slice();
  const bytes = Buffer.from(pool.arena, place.data + offset, lengthBytes);
  return { blockCount, digests, bytes, release: () => undefined };
}

/** The last block of a content may be short: it is padded with zeroes and hashed right here. */
async function hashShortPiece(options: TreeWriterOptions, data: Uint8Array): Promise<HashedBlocks> {
  const { digester, shape } = options;
  const { blockSizeBytes } = shape;
  const wholeBytes = data.length - (data.length % blockSizeBytes);
  const blockCount = wholeBytes / blockSizeBytes + 1;
  const bytes = Buffer.alloc(blockCount * blockSizeBytes);
  bytes.set(data);
  const digests = Buffer.alloc(blockCount * DIGEST_BYTES);
  digester.chunks({ bytes, start: 0, count: blockCount, blockSizeBytes }, digests, 0);
  return { blockCount, digests, bytes, release: () => undefined };
}

const describeParentDamage = (error: unknown): unknown =>
  error instanceof StoredDataError
    ? new OperationError('snapshot_damaged', `The parent snapshot is damaged: ${error.message}`, {
        cause: error,
      })
    : error;
