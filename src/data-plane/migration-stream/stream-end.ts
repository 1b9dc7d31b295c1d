import { readUint32, SECTION } from './stream-format.ts';
import { MIB } from '../../shared/byte-size.ts';

/** QEMU describes device state in some 100 kB of JSON. */
const DESCRIPTION_LIMIT_BYTES = 16 * MIB;

/** Keeps the end of a stream, to tell whether it is complete without understanding device state. */
export function createStreamEnd(): { append(bytes: Uint8Array): void; isComplete(): boolean } {
  let pieces: Buffer[] = [];
  let keptBytes = 0;
  return {
    append(bytes) {
      pieces.push(Buffer.from(bytes));
      keptBytes += bytes.length;
      if (keptBytes > 2 * DESCRIPTION_LIMIT_BYTES) {
        const joined = Buffer.concat(pieces);
        pieces = [Buffer.from(joined.subarray(joined.length - DESCRIPTION_LIMIT_BYTES))];
        keptBytes = DESCRIPTION_LIMIT_BYTES;
      }
    },
    isComplete: () => endsWithDescription(Buffer.concat(pieces)),
  };
}

/** The last things of a stream are the end mark and a description whose length reaches exactly to its end. */
function endsWithDescription(tail: Buffer): boolean {
  const mark = Buffer.from([SECTION.eof, SECTION.vmDescription]);
  let at = tail.lastIndexOf(mark);
  while (at >= 0) {
    const start = at + mark.length + 4;
    if (
      start < tail.length &&
      readUint32(tail, at + mark.length) === tail.length - start &&
      isDescription(tail.subarray(start))
    ) {
      return true;
    }
    if (at === 0) return false;
    at = tail.lastIndexOf(mark, at - 1);
  }
  return false;
}

function isDescription(bytes: Buffer): boolean {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    return typeof value === 'object' && value !== null && 'devices' in value;
  } catch {
    // Device state can look like the mark; this is then simply not the description.
    return false;
  }
}
