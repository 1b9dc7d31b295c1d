import { createHash } from 'node:crypto';
import { BLOCK_BYTES } from './image-file.ts';

/**
 * What a simulated guest writes: with every tick a record to the start of each disk and of its
 * memory, and the same record to a place that moves on. So any instant can be told from the bytes,
 * and bytes of two instants cannot pass for one.
 */
export const RECORD_BYTES = 4096;
const MAGIC = 'KMD-SIM\n';
const TICK_OFFSET = 8;
const DIGEST_OFFSET = 16;
const DIGEST_BYTES = 32;
const CHECKED_TICKS_MAX = 32;

export interface PatternPlace {
  readonly seed: string;
  /** Disk target, or `memory`. */
  readonly target: string;
  readonly sizeBytes: number;
}

export function formatRecord(place: PatternPlace, tick: number): Buffer {
  const digest = createHash('sha256').update(`${place.seed} ${place.target} ${tick}`).digest();
  const record = Buffer.alloc(RECORD_BYTES);
  for (let at = DIGEST_OFFSET; at < RECORD_BYTES; at += DIGEST_BYTES) {
    digest.copy(record, at, 0, Math.min(DIGEST_BYTES, RECORD_BYTES - at));
  }
  record.write(MAGIC, 0, 'latin1');
  record.writeBigUInt64LE(BigInt(tick), TICK_OFFSET);
  return record;
}

/** The tick of a record; null for other bytes. */
export function readTick(record: Uint8Array): number | null {
  const bytes = Buffer.from(record.buffer, record.byteOffset, record.byteLength);
  if (bytes.length < DIGEST_OFFSET || bytes.toString('latin1', 0, 8) !== MAGIC) return null;
  return Number(bytes.readBigUInt64LE(TICK_OFFSET));
}

/** Where the record of a tick goes besides the start. */
export function placeOfTick(sizeBytes: number, tick: number): number {
  const places = Math.max(1, Math.floor(sizeBytes / BLOCK_BYTES) - 1);
  return (1 + (tick % places)) * BLOCK_BYTES;
}

export type ReadPattern = (offset: number, lengthBytes: number) => Promise<Uint8Array> | Uint8Array;

/** The instant that a disk or memory holds; throws when it holds a mixture of several. */
export async function checkPattern(place: PatternPlace, read: ReadPattern): Promise<number> {
  const head = await read(0, RECORD_BYTES);
  const tick = readTick(head);
  if (tick === null) return 0;
  const compare = (found: Uint8Array, expectedTick: number, where: string): void => {
    if (Buffer.compare(found, formatRecord(place, expectedTick)) === 0) return;
    throw new Error(
      `${place.target} is of tick ${tick}, but ${where} holds tick ${readTick(found) ?? 'nothing'} instead of ${expectedTick}`,
    );
  };
  compare(head, tick, 'its start');
  const places = Math.max(1, Math.floor(place.sizeBytes / BLOCK_BYTES) - 1);
  const oldest = Math.max(1, tick - Math.min(CHECKED_TICKS_MAX, places) + 1);
  for (let earlier = oldest; earlier <= tick; earlier += 1) {
    const at = placeOfTick(place.sizeBytes, earlier);
    compare(await read(at, RECORD_BYTES), earlier, `offset ${at}`);
  }
  if (tick < places) {
    const next = placeOfTick(place.sizeBytes, tick + 1);
    if (readTick(await read(next, RECORD_BYTES)) !== null) {
      throw new Error(`${place.target} is of tick ${tick}, but holds something newer at ${next}`);
    }
  }
  return tick;
}
