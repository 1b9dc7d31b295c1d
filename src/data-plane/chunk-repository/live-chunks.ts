import { describeThrown, OperationError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/waiting.ts';
import type { ChunkPlace, IndexedPack } from './chunk-index.ts';
import { StoredDataError } from './damage.ts';
import { DIGEST_BYTES, digestFromHex, isZeroDigest } from './digest.ts';
import { readManifest, treesOfManifest } from './manifest-file.ts';
import type { TreeRef } from './repository.ts';
import type { RepositoryContext } from './repository-context.ts';
import { decodeNode } from './tree-node.ts';
import { depthOf, entryCount, shapeOfRef, type TreeShape } from './tree-shape.ts';

/** What manifests refer to: one bit per chunk of every pack. */
export interface LiveChunks {
  /** Marks the trees of manifests that were not marked yet. */
  mark(snapshotIds: readonly string[], signal?: AbortSignal): Promise<void>;
  liveCount(pack: IndexedPack): number;
  isLive(place: ChunkPlace): boolean;
  /** From now on copies in these packs count only when there is no other; those are in `neededAnyway`. */
  condemn(packs: readonly IndexedPack[]): void;
  readonly neededAnyway: ReadonlySet<number>;
  /** What could not be read; while there is any, nobody knows what is live. */
  readonly damages: readonly string[];
}

export function createLiveChunks(context: RepositoryContext): LiveChunks {
  const { index } = context;
  const bitmaps = new Map<number, Uint8Array>();
  const marked = new Set<string>();
  const condemned = new Set<number>();
  const neededAnyway = new Set<number>();
  const damages: string[] = [];

  /** True when the chunk was not marked before; null when no pack has it. */
  const markDigest = (digest: Uint8Array): boolean | null => {
    const place =
      index.locate(digest, (pack) => !condemned.has(pack.number)) ?? index.locate(digest);
    if (place === null) return null;
    if (condemned.has(place.pack.number)) neededAnyway.add(place.pack.number);
    return setBit(bitmaps, place);
  };

  const markTree = async (tree: TreeRef, part: string, signal?: AbortSignal): Promise<void> => {
    if (tree.root === null) return;
    const shape = shapeOfRef(tree, context.layout);
    const markNode = async (digest: Uint8Array, level: number, at: number): Promise<void> => {
      throwIfAborted(signal);
      const isNew = markDigest(digest);
      if (isNew === null) throw new StoredDataError('a tree node is in no pack');
      // What is below a node that was marked before is marked as well.
      if (!isNew) return;
      const entries = decodeNode(
        await context.readNode(digest, signal),
        level,
        entryCount(shape, level, at),
      );
      if (level === 0) markBlocks(entries, part);
      else await markChildren(entries, { shape, level, at }, markNode);
    };
    await markNode(digestFromHex(tree.root), depthOf(shape), 0);
  };

  /** A lost block does not hide others, so it is no reason to stop. */
  const markBlocks = (entries: Uint8Array, part: string): void => {
    let lost = 0;
    for (let at = 0; at < entries.length; at += DIGEST_BYTES) {
      const digest = entries.subarray(at, at + DIGEST_BYTES);
      if (!isZeroDigest(digest) && markDigest(digest) === null) lost += 1;
    }
    if (lost > 0) context.logger.warn({ part, lost }, 'A snapshot refers to chunks that are lost.');
  };

  return {
    neededAnyway,
    damages,
    async mark(snapshotIds, signal) {
      for (const snapshotId of snapshotIds) {
        if (marked.has(snapshotId)) continue;
        marked.add(snapshotId);
        try {
          const manifest = await readManifest(context.manifests, snapshotId);
          for (const { part, tree } of treesOfManifest(manifest)) {
            await markTree(tree, `${snapshotId} ${part}`, signal);
          }
        } catch (error) {
          const gone = error instanceof OperationError && error.code === 'not_found';
          if (gone) continue;
          if (!isDamage(error)) throw error;
          damages.push(`Snapshot ${snapshotId}: ${describeThrown(error)}`);
        }
      }
    },
    liveCount: (pack) => countBits(bitmaps.get(pack.number)),
    isLive: ({ pack, slot }) => hasBit(bitmaps.get(pack.number), slot),
    condemn(packs) {
      for (const { number } of packs) condemned.add(number);
    },
  };
}

async function markChildren(
  entries: Uint8Array,
  { shape, level, at }: { shape: TreeShape; level: number; at: number },
  markNode: (digest: Uint8Array, level: number, at: number) => Promise<void>,
): Promise<void> {
  const first = at * (shape.entriesMax[level] ?? 1);
  for (let entry = 0; entry * DIGEST_BYTES < entries.length; entry += 1) {
    const digest = entries.subarray(entry * DIGEST_BYTES, (entry + 1) * DIGEST_BYTES);
    if (!isZeroDigest(digest)) await markNode(digest, level - 1, first + entry);
  }
}

const isDamage = (error: unknown): boolean =>
  error instanceof StoredDataError ||
  (error instanceof OperationError && error.code === 'snapshot_damaged');

function setBit(bitmaps: Map<number, Uint8Array>, { pack, slot }: ChunkPlace): boolean {
  let bitmap = bitmaps.get(pack.number);
  if (bitmap === undefined) {
    bitmap = new Uint8Array(Math.ceil(pack.chunkCount / 8));
    bitmaps.set(pack.number, bitmap);
  }
  if (hasBit(bitmap, slot)) return false;
  bitmap[slot >> 3] = (bitmap[slot >> 3] ?? 0) | (1 << (slot & 7));
  return true;
}

const hasBit = (bitmap: Uint8Array | undefined, slot: number): boolean =>
  ((bitmap?.[slot >> 3] ?? 0) & (1 << (slot & 7))) !== 0;

function countBits(bitmap: Uint8Array | undefined): number {
  let count = 0;
  for (let byte of bitmap ?? []) for (; byte !== 0; byte &= byte - 1) count += 1;
  return count;
}
