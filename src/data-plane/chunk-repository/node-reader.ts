import type { ChunkSource } from './chunk-source.ts';
import { isMissing } from './chunk-source.ts';
import { StoredDataError } from './damage.ts';
import { DIGEST_BYTES, digestFromHex, isZeroDigest } from './digest.ts';
import type { TreeRef } from './repository.ts';
import { decodeNode } from './tree-node.ts';
import { depthOf, entryCount, type TreeShape } from './tree-shape.ts';

/** Encoded bytes of a node; throws StoredDataError when it cannot be had. */
export type ReadNode = (digest: Uint8Array, signal?: AbortSignal) => Promise<Uint8Array>;

export function createReadNode(source: ChunkSource): ReadNode {
  return async (digest, signal) => {
    const [node] = await source.load([digest], signal);
    if (node === undefined || isMissing(node)) {
      throw new StoredDataError(`a tree node is lost: ${node?.reason ?? 'nothing was read'}`);
    }
    return node;
  };
}

/** The nodes of one tree, read on demand and remembered while they are near. */
export interface TreeNodes {
  /** Entries of a node, 32 bytes each; null when the whole node is zero. */
  entries(level: number, index: number, signal?: AbortSignal): Promise<Uint8Array | null>;
}

/** Enough for a walk in order, and for several readers of one tree that are apart. */
const REMEMBERED_NODES_MAX = 64;

export function createTreeNodes(tree: TreeRef, shape: TreeShape, readNode: ReadNode): TreeNodes {
  const remembered = new Map<string, Promise<Uint8Array | null>>();
  const rootLevel = depthOf(shape);

  const digestOf = async (
    level: number,
    index: number,
    signal: AbortSignal | undefined,
  ): Promise<Uint8Array | null> => {
    if (level === rootLevel) return tree.root === null ? null : digestFromHex(tree.root);
    const max = shape.entriesMax[level + 1] ?? 1;
    const parent = await entries(level + 1, Math.floor(index / max), signal);
    return parent === null ? null : entryAt(parent, index % max);
  };

  const read = async (
    level: number,
    index: number,
    signal: AbortSignal | undefined,
  ): Promise<Uint8Array | null> => {
    const digest = await digestOf(level, index, signal);
    if (digest === null) return null;
    return decodeNode(await readNode(digest, signal), level, entryCount(shape, level, index));
  };

  const entries = async (
    level: number,
    index: number,
    signal?: AbortSignal,
  ): Promise<Uint8Array | null> => {
    const key = `${level}:${index}`;
    const known = remembered.get(key);
    if (known !== undefined) return await known;
    const reading = read(level, index, signal);
    remembered.set(key, reading);
    for (const oldest of remembered.keys()) {
      if (remembered.size <= REMEMBERED_NODES_MAX) break;
      remembered.delete(oldest);
    }
    try {
      return await reading;
    } catch (error) {
      remembered.delete(key);
      throw error;
    }
  };

  return { entries };
}

/** One entry of a node; null when it is zero. */
export function entryAt(entries: Uint8Array, index: number): Uint8Array | null {
  const digest = entries.subarray(index * DIGEST_BYTES, (index + 1) * DIGEST_BYTES);
  return isZeroDigest(digest) ? null : digest;
}
