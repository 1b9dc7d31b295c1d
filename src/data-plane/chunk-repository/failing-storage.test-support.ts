import type { BlobStorage } from '../blob-storage/blob-storage.ts';

export class StoppedError extends Error {}

/**
 * Stops like a killed process: the n-th changing call and all calls after it fail; whether that
 * call itself took effect is a choice.
 */
export function createStoppingStorage(
  storage: BlobStorage,
  stop: { atCall: number; applied: boolean },
): { storage: BlobStorage; changes(): number } {
  let changes = 0;
  const change = async (action: () => Promise<void>): Promise<void> => {
    changes += 1;
    if (changes < stop.atCall) {
      await action();
      return;
    }
    if (changes === stop.atCall && stop.applied) await action();
    throw new StoppedError(`stopped at change ${changes}`);
  };
  const look = async <T>(action: () => Promise<T>): Promise<T> => {
    if (changes >= stop.atCall) throw new StoppedError('stopped');
    return await action();
  };
  return {
    changes: () => changes,
    storage: {
      put: async (name, parts, options) =>
        await change(async () => await storage.put(name, parts, options)),
      delete: async (name) => await change(async () => await storage.delete(name)),
      get: async (name, range) => await look(async () => await storage.get(name, range)),
      stat: async (name) => await look(async () => await storage.stat(name)),
      list: async (prefix) => await look(async () => await storage.list(prefix)),
      sweep: async () => await look(async () => await storage.sweep()),
      freeBytes: async () => await look(async () => await storage.freeBytes()),
    },
  };
}

/** A storage with the same blobs that changes on its own. */
export async function copyStorage(from: BlobStorage, to: BlobStorage): Promise<BlobStorage> {
  for (const { name } of await from.list('')) await to.put(name, [await from.get(name)]);
  return to;
}
