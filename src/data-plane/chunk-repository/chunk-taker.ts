import type { ChunkIndex, IndexedPack } from './chunk-index.ts';
import { DIGEST_BYTES, type Digester, digestKey } from './digest.ts';
import type { PackBuilder, StorageAccount } from './pack-builder.ts';
import type { WriteStatistics } from './repository.ts';
import { encodeNode } from './tree-node.ts';

/** Takes the chunks and nodes of one writer and stores those that the repository does not have. */
export interface ChunkTaker {
  takeBlock(digest: Uint8Array, bytes: Uint8Array): Promise<void> | undefined;
  /** Digest of the node; null when all its entries are zero. */
  takeNode(level: number, entries: Uint8Array): Promise<Uint8Array | null>;
  statistics(): WriteStatistics;
}

export function createChunkTaker(options: {
  index: ChunkIndex;
  builder: PackBuilder;
  digester: Digester;
  /** False for packs that a collection is about to delete. */
  accept: (pack: IndexedPack) => boolean;
}): ChunkTaker {
  const { index, builder, digester, accept } = options;
  const account: StorageAccount = { storedBytes: 0 };
  const counts = { bytesTaken: 0, bytesNew: 0, chunksNew: 0, chunksReused: 0 };

  const isKnown = (key: string, digest: Uint8Array): boolean =>
    builder.isPending(key) || index.locate(digest, accept) !== null;

  /** Returns a promise only when it must wait: most chunks are taken at once. */
  const add = (
    blockSizeBytes: number,
    key: string,
    digest: Uint8Array,
    bytes: Uint8Array,
  ): Promise<void> | undefined => {
    const chunk = { blockSizeBytes, key, digest, bytes, account };
    if (builder.tryAdd(chunk)) {
      if (blockSizeBytes > 0) {
        counts.chunksNew += 1;
        counts.bytesNew += bytes.length;
      }
      return undefined;
    }
    return builder.makeRoom(blockSizeBytes).then(async () => {
      if (!builder.isPending(key)) await add(blockSizeBytes, key, digest, bytes);
    });
  };

  return {
    takeBlock(digest, bytes) {
      const failure = builder.failure();
      if (failure !== null) throw failure;
      counts.bytesTaken += bytes.length;
      const key = digestKey(digest);
      if (isKnown(key, digest)) {
        counts.chunksReused += 1;
        return undefined;
      }
      return add(bytes.length, key, digest, bytes);
    },
    async takeNode(level, entries) {
      const encoded = encodeNode(level, entries);
      if (encoded === null) return null;
      const digest = digester.node(encoded);
      const key = digestKey(digest);
      if (!isKnown(key, digest)) await add(0, key, digest, encoded);
      return digest.subarray(0, DIGEST_BYTES);
    },
    statistics: () => ({ ...counts, bytesStored: account.storedBytes }),
  };
}
