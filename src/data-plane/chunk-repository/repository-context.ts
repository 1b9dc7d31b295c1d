import type { Clock } from '../../shared/clock.ts';
import type { Logger } from '../../shared/logger.ts';
import type { BlobStorage } from '../blob-storage/blob-storage.ts';
import type { ChunkIndex } from './chunk-index.ts';
import type { ChunkSource } from './chunk-source.ts';
import type { ComputePool } from './compute-pool.ts';
import type { Digester } from './digest.ts';
import type { FrameCache } from './frame-cache.ts';
import type { RepositoryLayout } from './layout.ts';
import type { ManifestContext } from './manifest-file.ts';
import type { ReadNode } from './node-reader.ts';
import type { PackBuilder } from './pack-builder.ts';

/** What the parts of one open repository share. */
export interface RepositoryContext {
  readonly id: string;
  readonly encrypted: boolean;
  readonly storage: BlobStorage;
  readonly index: ChunkIndex;
  readonly pool: ComputePool;
  readonly layout: RepositoryLayout;
  readonly digester: Digester;
  readonly packsKey: Uint8Array | null;
  readonly manifests: ManifestContext;
  readonly cache: FrameCache;
  readonly source: ChunkSource;
  readonly readNode: ReadNode;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Makes the index agree with the storage; calls at the same time share one run. */
  synchronize(): Promise<void>;
  /** The builder that is in use; a new one after the last one failed. */
  builder(): PackBuilder;
}
