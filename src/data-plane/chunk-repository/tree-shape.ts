import { OperationError } from '../../shared/errors.ts';
import type { RepositoryLayout } from './layout.ts';
import type { TreeKind, TreeRef } from './repository.ts';

/** Where the nodes of a tree are; it follows from kind, length and the repository's layout alone. */
export interface TreeShape {
  readonly kind: TreeKind;
  readonly lengthBytes: number;
  readonly blockSizeBytes: number;
  readonly blockCount: number;
  /** Entries of a full node, by level; level 0 are the leaves. */
  readonly entriesMax: readonly number[];
  /** Nodes on each level; the last level has one. Empty content has one leaf without entries. */
  readonly nodeCounts: readonly number[];
}

const LENGTH_MAX_BYTES = 2 ** 50;

export function shapeTree(
  kind: TreeKind,
  lengthBytes: number,
  layout: RepositoryLayout,
): TreeShape {
  if (!Number.isSafeInteger(lengthBytes) || lengthBytes < 0 || lengthBytes > LENGTH_MAX_BYTES) {
    throw new OperationError('invalid_input', `A tree cannot have ${lengthBytes} bytes.`);
  }
  const { blockSizeBytes, leafEntries } = layout.trees[kind];
  const blockCount = Math.ceil(lengthBytes / blockSizeBytes);
  const entriesMax = [leafEntries];
  const nodeCounts = [Math.max(1, Math.ceil(blockCount / leafEntries))];
  for (let nodes = nodeCounts[0] ?? 1; nodes > 1;) {
    nodes = Math.ceil(nodes / layout.fanOut);
    entriesMax.push(layout.fanOut);
    nodeCounts.push(nodes);
  }
  return { kind, lengthBytes, blockSizeBytes, blockCount, entriesMax, nodeCounts };
}

/** The shape of a tree that a manifest names; throws when the reference contradicts itself. */
export function shapeOfRef(tree: TreeRef, layout: RepositoryLayout): TreeShape {
  const shape = shapeTree(tree.kind, tree.lengthBytes, layout);
  if (tree.blockSizeBytes !== shape.blockSizeBytes || tree.depth !== depthOf(shape)) {
    throw new OperationError(
      'snapshot_damaged',
      `A ${tree.kind} tree of ${tree.lengthBytes} bytes cannot have blocks of ${tree.blockSizeBytes} bytes and depth ${tree.depth} in this repository.`,
    );
  }
  return shape;
}

export const depthOf = (shape: TreeShape): number => shape.nodeCounts.length - 1;

/** How many entries node `index` of `level` has: the last one of a level may be short. */
export function entryCount(shape: TreeShape, level: number, index: number): number {
  const entries = level === 0 ? shape.blockCount : (shape.nodeCounts[level - 1] ?? 0);
  const max = shape.entriesMax[level] ?? 1;
  return Math.max(0, Math.min(max, entries - index * max));
}

/** Blocks that one entry of a node covers. */
export function blocksPerEntry(shape: TreeShape, level: number): number {
  let blocks = 1;
  for (let below = 0; below < level; below += 1) blocks *= shape.entriesMax[below] ?? 1;
  return blocks;
}
