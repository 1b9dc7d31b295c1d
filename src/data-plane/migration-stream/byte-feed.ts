/** What a parser waits for: more bytes of the stream, or a free page buffer. */
export type Starved = 'bytes' | 'buffer';

/** The longest item is a record header with its name, or one page. */
const ITEM_LIMIT_BYTES = 8192;

/** Collects items of known length from pieces that are split anywhere. */
export interface ByteFeed {
  give(bytes: Uint8Array): void;
  /** How much of the bytes given last was taken. */
  usedBytes(): number;
  /** Starts an item; `fill` until it says true. */
  begin(lengthBytes: number): void;
  /** Makes the current item longer; `fill` until it says true. */
  extend(lengthBytes: number): void;
  fill(): boolean;
  /** The item as far as it came; valid until the next `begin`, `extend` or `fill`. */
  item(): Uint8Array;
  /** Takes bytes past the item straight to where they belong; returns how many there were. */
  copyTo(target: Uint8Array, at: number, lengthBytes: number): number;
}

export function createByteFeed(): ByteFeed {
  const scratch = new Uint8Array(ITEM_LIMIT_BYTES);
  let input: Uint8Array = new Uint8Array(0);
  let at = 0;
  let have = 0;
  let want = 0;
  return {
    give(bytes) {
      input = bytes;
      at = 0;
    },
    usedBytes: () => at,
    begin(lengthBytes) {
      have = 0;
      want = lengthBytes;
    },
    extend(lengthBytes) {
      want += lengthBytes;
      if (want > ITEM_LIMIT_BYTES) throw new RangeError(`an item of ${want} bytes`);
    },
    fill() {
      const count = Math.min(want - have, input.length - at);
      if (count > 32) scratch.set(input.subarray(at, at + count), have);
      else
        for (let index = 0; index < count; index += 1)
          scratch[have + index] = input[at + index] ?? 0;
      have += count;
      at += count;
      return have === want;
    },
    item: () => scratch.subarray(0, have),
    copyTo(target, targetAt, lengthBytes) {
      const count = Math.min(lengthBytes, input.length - at);
      target.set(input.subarray(at, at + count), targetAt);
      at += count;
      return count;
    },
  };
}

/** Starts an item and waits until it is complete. */
export function* take(feed: ByteFeed, lengthBytes: number): Generator<Starved, Uint8Array, void> {
  feed.begin(lengthBytes);
  while (!feed.fill()) yield 'bytes';
  return feed.item();
}

/** Makes the item longer, waits until it is complete and returns all of it. */
export function* takeMore(
  feed: ByteFeed,
  lengthBytes: number,
): Generator<Starved, Uint8Array, void> {
  feed.extend(lengthBytes);
  while (!feed.fill()) yield 'bytes';
  return feed.item();
}
