import { MIB } from '../../shared/byte-size.ts';
import { OperationError } from '../../shared/errors.ts';
import type {
  Extent,
  Repository,
  RepositoryWriter,
  TreeReader,
  TreeRef,
} from '../chunk-repository/repository.ts';

/** Content of unknown length is stored in parts of this size, since a tree's length is fixed when it begins. */
const PART_BYTES = 16 * MIB;
const WINDOW_BYTES = MIB;
/** Configuration parts are small; anything larger in their place is damage. */
const SMALL_BLOB_BYTES_MAX = 64 * MIB;

/** Stores bytes that are at hand as one tree. */
export async function storeBlob(
  writer: RepositoryWriter,
  content: Uint8Array,
  signal: AbortSignal,
): Promise<TreeRef> {
  const tree = writer.createTree({ kind: 'blob', lengthBytes: content.length });
  for (let offset = 0; offset < content.length; offset += WINDOW_BYTES) {
    const part = content.subarray(offset, offset + WINDOW_BYTES);
    const buffer = await writer.acquireBuffer(signal);
    try {
      buffer.bytes.set(part);
      await tree.write(offset, buffer.bytes.subarray(0, part.length));
    } finally {
      buffer.release();
    }
  }
  return await tree.finish();
}

export async function readBlob(
  repository: Repository,
  tree: TreeRef,
  name: string,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  if (tree.lengthBytes > SMALL_BLOB_BYTES_MAX) {
    throw new OperationError(
      'snapshot_damaged',
      `The ${name} of the snapshot is impossibly large.`,
    );
  }
  const content = new Uint8Array(tree.lengthBytes);
  await repository.openTree(tree, name).readInto(0, content, signal);
  return content;
}

/** Collects content of unknown length and stores it part by part. */
export interface PartsWriter {
  append(bytes: Uint8Array): void;
  /** Stores what is complete; call it between appends, so that memory stays bounded. */
  flush(): Promise<void>;
  finish(): Promise<TreeRef[]>;
}

export function createPartsWriter(writer: RepositoryWriter, signal: AbortSignal): PartsWriter {
  const parts: TreeRef[] = [];
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  const storePending = async (): Promise<void> => {
    const content = Buffer.concat(pending);
    pending = [];
    pendingBytes = 0;
    for (let offset = 0; offset < content.length; offset += PART_BYTES) {
      parts.push(await storeBlob(writer, content.subarray(offset, offset + PART_BYTES), signal));
    }
  };
  return {
    append(bytes) {
      pending.push(Buffer.from(bytes));
      pendingBytes += bytes.length;
    },
    async flush() {
      if (pendingBytes >= PART_BYTES) await storePending();
    },
    async finish() {
      await storePending();
      return parts;
    },
  };
}

/** Consecutive parts read as one content. */
export function openParts(
  repository: Repository,
  parts: readonly TreeRef[],
  name: string,
): TreeReader {
  const readers: { start: number; reader: TreeReader }[] = [];
  let lengthBytes = 0;
  for (const part of parts) {
    readers.push({ start: lengthBytes, reader: repository.openTree(part, name) });
    lengthBytes += part.lengthBytes;
  }
  const forEachPart = async (
    offset: number,
    length: number,
    visit: (part: { reader: TreeReader; start: number; from: number; to: number }) => Promise<void>,
  ): Promise<void> => {
    for (const { start, reader } of readers) {
      const from = Math.max(offset, start);
      const to = Math.min(offset + length, start + reader.lengthBytes);
      if (from < to) await visit({ reader, start, from, to });
    }
  };
  return {
    lengthBytes,
    async readInto(offset, target, signal) {
      await forEachPart(offset, target.length, async ({ reader, start, from, to }) => {
        await reader.readInto(from - start, target.subarray(from - offset, to - offset), signal);
      });
    },
    async extents(offset, length) {
      const found: Extent[] = [];
      await forEachPart(offset, length, async ({ reader, start, from, to }) => {
        const extents = await reader.extents(from - start, to - from);
        for (const extent of extents) found.push({ ...extent, offset: extent.offset + start });
      });
      return found;
    },
  };
}
