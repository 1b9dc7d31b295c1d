import type { ComputePool } from './compute-pool.ts';
import type { NodeSpan } from './node-frame.ts';

/** A decoded frame in the arena; its bytes are there only as long as it is held. */
export interface CachedFrame {
  readonly bytes: Uint8Array;
  /** Digests of its chunks, as computed from the bytes. */
  readonly words: Int32Array;
  readonly chunkCount: number;
  /** Node frames only: chunks of a data frame all have its block size. */
  readonly nodes: readonly NodeSpan[] | null;
}

/** Decoded frames in a fixed number of slots; the least recently used that nobody holds makes room. */
export interface FrameCache {
  has(key: string): boolean;
  /**
   * Gives `use` the frame, which `decode` puts into a slot when it is not there. `use` must be done
   * with the bytes when it returns.
   */
  withFrame(
    key: string,
    decode: (slot: number) => Promise<CachedFrame>,
    use: (frame: CachedFrame) => void,
  ): Promise<void>;
}

interface Entry {
  readonly slot: number;
  readonly frame: Promise<CachedFrame>;
  holders: number;
  failed: boolean;
}

export function createFrameCache({
  cacheSlotCount,
}: Pick<ComputePool, 'cacheSlotCount'>): FrameCache {
  /** Least recently used first. */
  const entries = new Map<string, Entry>();
  const free = Array.from({ length: cacheSlotCount }, (_, slot) => slot);
  const waiting: (() => void)[] = [];

  const takeSlot = (): number | null => {
    const slot = free.pop();
    if (slot !== undefined) return slot;
    for (const [key, entry] of entries) {
      if (entry.holders > 0) continue;
      entries.delete(key);
      return entry.slot;
    }
    return null;
  };

  /** Null when every slot is held. */
  const hold = (key: string, decode: (slot: number) => Promise<CachedFrame>): Entry | null => {
    let entry = entries.get(key);
    if (entry === undefined) {
      const slot = takeSlot();
      if (slot === null) return null;
      entry = { slot, frame: decode(slot), holders: 0, failed: false };
    } else entries.delete(key);
    entries.set(key, entry);
    entry.holders += 1;
    return entry;
  };

  const release = (key: string, entry: Entry): void => {
    entry.holders -= 1;
    if (entry.holders > 0) return;
    if (entry.failed) {
      if (entries.get(key) === entry) entries.delete(key);
      free.push(entry.slot);
    }
    waiting.shift()?.();
  };

  return {
    has: (key) => entries.has(key),
    async withFrame(key, decode, use) {
      let entry = hold(key, decode);
      while (entry === null) {
        // Whoever holds a slot lets go of it after one frame is decoded and copied.
        await new Promise<void>((resolve) => void waiting.push(resolve));
        entry = hold(key, decode);
      }
      try {
        use(await entry.frame);
      } catch (error) {
        // An error of `use` drops the frame as well; it is decoded again when it is wanted.
        entry.failed = true;
        throw error;
      } finally {
        release(key, entry);
      }
    },
  };
}
