import type { AcceptPack, ChunkIndex, PlaceCursor } from './chunk-index.ts';
import { DIGEST_BYTES, type Digester } from './digest.ts';
import { DIGEST_WORDS, digestWords, isZeroAt } from './digest-table.ts';
import type { NewChunk, PackBuilder, StorageAccount } from './pack-builder.ts';
import type { WriteStatistics } from './repository.ts';
import { encodeNode } from './tree-node.ts';

/** Takes the chunks and nodes of one writer and stores those that the repository does not have. */
export interface ChunkTaker {
  /** Returns a promise only when it must wait for room: most runs are taken at once. */
  takeBlocks(blocks: NamedBlocks): Promise<void> | undefined;
  /** Digest of the node; null when all its entries are zero. */
  takeNode(level: number, entries: Uint8Array): Promise<Uint8Array | null>;
  statistics(): WriteStatistics;
}

/** Blocks one after the other with their digests; those with a zero digest are left out. */
export interface NamedBlocks {
  readonly blockSizeBytes: number;
  readonly count: number;
  readonly words: Int32Array;
  readonly bytes: Buffer;
}

export function createChunkTaker(options: {
  index: ChunkIndex;
  builder: PackBuilder;
  digester: Digester;
  /** False for packs that a collection is about to delete. */
  accept: AcceptPack;
}): ChunkTaker {
  const { index, builder, digester, accept } = options;
  const account: StorageAccount = { storedBytes: 0 };
  const counts = { bytesTaken: 0, bytesNew: 0, chunksNew: 0, chunksReused: 0 };
  const cursor: PlaceCursor = { segment: null, slot: 0 };

  const isKnown = (words: Int32Array, at: number): boolean =>
    builder.isPending(words, at) || index.find(words, at, cursor, accept);

  const takeFrom = (blocks: NamedBlocks, first: number): Promise<void> | undefined => {
    const failure = builder.failure();
    if (failure !== null) throw failure;
    const { blockSizeBytes, count, words, bytes } = blocks;
    for (let block = first; block < count; block += 1) {
      const at = block * DIGEST_WORDS;
      if (isZeroAt(words, at)) continue;
      const from = block * blockSizeBytes;
      if (isKnown(words, at)) counts.chunksReused += 1;
      else {
        const to = from + blockSizeBytes;
        if (!builder.tryAdd({ blockSizeBytes, words, at, bytes, from, to, account })) {
          return builder.makeRoom(blockSizeBytes).then(() => takeFrom(blocks, block));
        }
        counts.chunksNew += 1;
        counts.bytesNew += blockSizeBytes;
      }
      counts.bytesTaken += blockSizeBytes;
    }
    return undefined;
  };

  return {
    takeBlocks: (blocks) => takeFrom(blocks, 0),
    async takeNode(level, entries) {
      const encoded = encodeNode(level, entries);
      if (encoded === null) return null;
      const digest = digester.node(encoded);
      const words = digestWords(digest);
      const node: NewChunk = {
        blockSizeBytes: 0,
        words,
        at: 0,
        bytes: encoded,
        from: 0,
        to: encoded.length,
        account,
      };
      while (!isKnown(words, 0) && !builder.tryAdd(node)) await builder.makeRoom(0);
      return digest.subarray(0, DIGEST_BYTES);
    },
    statistics: () => ({ ...counts, bytesStored: account.storedBytes }),
  };
}
