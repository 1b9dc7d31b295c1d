import { DIGEST_BYTES, digestHex, isZeroDigest } from './digest.ts';
import type { ChunkTaker } from './chunk-taker.ts';
import type { ReadNode } from './node-reader.ts';
import type { TreeRef } from './repository.ts';
import { decodeNode } from './tree-node.ts';
import { depthOf, entryCount, type TreeShape } from './tree-shape.ts';

/**
 * The digests of a tree that is being written. Leaves that are all zero take no memory; beyond a
 * budget, the leaves that were not touched for longest become nodes and only their digests stay.
 */
export interface TreeDigests {
  /** Entries of a leaf, to be changed in place before anything else is awaited. */
  leaf(leafIndex: number): Uint8Array | Promise<Uint8Array>;
  /** Makes a leaf what another tree has in its place; null for all zero. */
  setLeaf(leafIndex: number, digest: Uint8Array | null): void;
  finish(): Promise<TreeRef>;
}

const OPEN_LEAVES_MAX_BYTES = 8 * 1024 * 1024;

export function createTreeDigests(options: {
  shape: TreeShape;
  taker: ChunkTaker;
  readNode: ReadNode;
}): TreeDigests {
  const { shape, taker, readNode } = options;
  const leafBytes = (shape.entriesMax[0] ?? 1) * DIGEST_BYTES;
  const openMax = Math.max(16, Math.floor(OPEN_LEAVES_MAX_BYTES / leafBytes));
  const openLeaves = new Map<number, Uint8Array>();
  const upper = createUpperEntries(shape);

  const closeOldest = async (): Promise<void> => {
    const [oldest] = openLeaves;
    if (oldest === undefined) return;
    const [leafIndex, entries] = oldest;
    openLeaves.delete(leafIndex);
    upper.store(0, leafIndex, await taker.takeNode(0, entries));
  };

  const open = async (leafIndex: number): Promise<Uint8Array> => {
    const count = entryCount(shape, 0, leafIndex);
    const digest = upper.leafDigest(leafIndex);
    const entries =
      digest === null
        ? new Uint8Array(count * DIGEST_BYTES)
        : decodeNode(await readNode(digest), 0, count);
    while (openLeaves.size >= openMax) await closeOldest();
    openLeaves.set(leafIndex, entries);
    return entries;
  };

  return {
    leaf(leafIndex) {
      const entries = openLeaves.get(leafIndex);
      if (entries === undefined) return open(leafIndex);
      openLeaves.delete(leafIndex);
      openLeaves.set(leafIndex, entries);
      return entries;
    },
    setLeaf(leafIndex, digest) {
      openLeaves.delete(leafIndex);
      upper.store(0, leafIndex, digest);
    },
    async finish() {
      while (openLeaves.size > 0) await closeOldest();
      for (let level = 1; level <= depthOf(shape); level += 1) {
        for (let index = 0; index < (shape.nodeCounts[level] ?? 0); index += 1) {
          const entries = upper.take(level, index);
          if (entries) upper.store(level, index, await taker.takeNode(level, entries));
        }
      }
      const root = upper.take(depthOf(shape) + 1, 0);
      return {
        kind: shape.kind,
        root: root === undefined || isZeroDigest(root) ? null : digestHex(root),
        depth: depthOf(shape),
        blockSizeBytes: shape.blockSizeBytes,
        lengthBytes: shape.lengthBytes,
      };
    },
  };
}

/** Entries of the nodes above the leaves; one level above the root stands the root's digest. */
function createUpperEntries(shape: TreeShape): {
  store(level: number, index: number, digest: Uint8Array | null): void;
  leafDigest(leafIndex: number): Uint8Array | null;
  take(level: number, index: number): Uint8Array | undefined;
} {
  const nodes = new Map<string, Uint8Array>();
  const entriesMax = (level: number): number => shape.entriesMax[level] ?? 1;
  return {
    store(level, index, digest) {
      const max = entriesMax(level + 1);
      const key = `${level + 1}:${Math.floor(index / max)}`;
      let entries = nodes.get(key);
      if (entries === undefined) {
        if (digest === null) return;
        const count = entryCount(shape, level + 1, Math.floor(index / max));
        entries = new Uint8Array(Math.max(1, count) * DIGEST_BYTES);
        nodes.set(key, entries);
      }
      const at = (index % max) * DIGEST_BYTES;
      if (digest === null) entries.fill(0, at, at + DIGEST_BYTES);
      else entries.set(digest, at);
    },
    leafDigest(leafIndex) {
      const max = entriesMax(1);
      const entries = nodes.get(`1:${Math.floor(leafIndex / max)}`);
      const at = (leafIndex % max) * DIGEST_BYTES;
      const digest = entries?.slice(at, at + DIGEST_BYTES);
      return digest === undefined || isZeroDigest(digest) ? null : digest;
    },
    take(level, index) {
      const entries = nodes.get(`${level}:${index}`);
      nodes.delete(`${level}:${index}`);
      return entries;
    },
  };
}
