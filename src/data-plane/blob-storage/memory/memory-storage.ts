import { OperationError } from '../../../shared/errors.ts';
import { type Clock, systemClock } from '../../../shared/clock.ts';
import { parseBlobName, parseBlobPrefix } from '../blob-name.ts';
import type { BlobStorage } from '../blob-storage.ts';

interface StoredBlob {
  readonly bytes: Uint8Array;
  readonly modifiedAt: Date;
}

/** Blobs in this process's memory, for tests; `capacityBytes` makes it run out of room. */
export function createMemoryStorage(
  options: { clock?: Clock; capacityBytes?: number } = {},
): BlobStorage {
  const clock = options.clock ?? systemClock;
  const { capacityBytes } = options;
  const blobs = new Map<string, StoredBlob>();
  const freeBytes = (): number | null => {
    if (capacityBytes === undefined) return null;
    let used = 0;
    for (const blob of blobs.values()) used += blob.bytes.length;
    return Math.max(0, capacityBytes - used);
  };

  const find = (name: string): StoredBlob => {
    parseBlobName(name);
    const blob = blobs.get(name);
    if (blob === undefined) throw new OperationError('not_found', `There is no blob ${name}.`);
    return blob;
  };

  return {
    async put(name, parts, { replace = false } = {}) {
      parseBlobName(name);
      const bytes = Uint8Array.from(Buffer.concat(parts));
      if (!replace && blobs.has(name)) {
        throw new OperationError('name_taken', `A blob named ${name} exists already.`);
      }
      const free = freeBytes();
      if (free !== null && bytes.length > free) {
        throw new OperationError('insufficient_space', `No room for ${name} in memory.`);
      }
      blobs.set(name, { bytes, modifiedAt: clock.now() });
    },
    async get(name, range) {
      const { bytes } = find(name);
      if (range === undefined) return bytes.slice();
      return bytes.slice(range.offset, range.offset + range.lengthBytes);
    },
    async stat(name) {
      parseBlobName(name);
      const blob = blobs.get(name);
      return blob ? { sizeBytes: blob.bytes.length, modifiedAt: blob.modifiedAt } : null;
    },
    async list(prefix) {
      const segments = parseBlobPrefix(prefix);
      const folder = segments.length === 0 ? '' : `${segments.join('/')}/`;
      return [...blobs]
        .filter(([name]) => name.startsWith(folder))
        .map(([name, blob]) => ({ name, sizeBytes: blob.bytes.length }))
        .sort((left, right) => (left.name < right.name ? -1 : 1));
    },
    async delete(name) {
      parseBlobName(name);
      blobs.delete(name);
    },
    async sweep() {
      return 0;
    },
    async freeBytes() {
      return freeBytes();
    },
  };
}
