import { KIB, MIB } from '../../shared/byte-size.ts';
import type { TreeKind } from './repository.ts';

/** Sizes that stand in a repository's configuration; docs/repository-format.md has the measurements. */
export interface BlockLayout {
  readonly blockSizeBytes: number;
  /** Digests in one leaf node. */
  readonly leafEntries: number;
}

export interface RepositoryLayout {
  readonly trees: Readonly<Record<TreeKind, BlockLayout>>;
  /** Children of an inner node. */
  readonly fanOut: number;
  /** Plain bytes of one frame at most. */
  readonly frameSizeBytes: number;
  /** A pack is closed when it has at least this many bytes. */
  readonly packSizeBytes: number;
  readonly compressionLevel: number;
}

export const DEFAULT_LAYOUT: RepositoryLayout = {
  trees: {
    disk: { blockSizeBytes: 64 * KIB, leafEntries: 128 },
    memory: { blockSizeBytes: 4 * KIB, leafEntries: 64 },
    blob: { blockSizeBytes: 64 * KIB, leafEntries: 64 },
  },
  fanOut: 256,
  frameSizeBytes: 256 * KIB,
  packSizeBytes: 16 * MIB,
  compressionLevel: 1,
};

/** One write carries at most this much; also the size of a shared buffer. */
export const WRITE_SIZE_MAX_BYTES = MIB;
export const BLOCK_SIZE_MIN_BYTES = 4 * KIB;
export const BLOCK_SIZE_MAX_BYTES = 256 * KIB;
export const FRAME_SIZE_MAX_BYTES = MIB;
export const FRAME_CHUNKS_MAX = 256;
/** Bounds a table of contents, and the time one index transaction takes. */
export const PACK_CHUNKS_MAX = 32_768;
/** Above this a pack is not ours: readers refuse to allocate for it. */
export const PACK_SIZE_MAX_BYTES = 256 * MIB;
