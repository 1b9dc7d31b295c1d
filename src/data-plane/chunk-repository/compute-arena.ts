import { DIGEST_BYTES } from './digest.ts';
import { FRAME_OVERHEAD_BYTES } from './frame.ts';
import { BLOCK_SIZE_MIN_BYTES, FRAME_CHUNKS_MAX, WRITE_SIZE_MAX_BYTES } from './layout.ts';

/**
 * One shared memory for all data between the calling thread and the computing threads. An input
 * slot holds a write and the digests of its blocks; a frame slot holds a frame, plain and stored; a
 * cache slot holds a frame that was read.
 */
export interface ArenaPlan {
  readonly inputSlots: number;
  readonly frameSlots: number;
  readonly cacheSlots: number;
  readonly frameSizeBytes: number;
}

const INPUT_BLOCKS_MAX = WRITE_SIZE_MAX_BYTES / BLOCK_SIZE_MIN_BYTES;
/**
 * Data, then one digest per block (zeroes for all-zero blocks). Results stand at the number of the
 * block in the slot, so that several writes can share one slot.
 */
const INPUT_STRIDE_BYTES = roundUp(WRITE_SIZE_MAX_BYTES + INPUT_BLOCKS_MAX * DIGEST_BYTES);

export interface InputPlace {
  readonly data: number;
  readonly digests: number;
}

export interface FramePlaces {
  readonly plain: number;
  readonly stored: number;
  readonly digests: number;
}

export function inputPlace(slot: number): InputPlace {
  const data = slot * INPUT_STRIDE_BYTES;
  return { data, digests: data + WRITE_SIZE_MAX_BYTES };
}

/** Which input slot holds a range of the arena, and where in it; null when none does wholly. */
export function locateInput(
  plan: ArenaPlan,
  arenaOffset: number,
  lengthBytes: number,
): { slot: number; offset: number } | null {
  const slot = Math.floor(arenaOffset / INPUT_STRIDE_BYTES);
  const offset = arenaOffset - slot * INPUT_STRIDE_BYTES;
  const inside = slot < plan.inputSlots && offset + lengthBytes <= WRITE_SIZE_MAX_BYTES;
  return inside ? { slot, offset } : null;
}

export function framePlaces(plan: ArenaPlan, slot: number): FramePlaces {
  const plain = plan.inputSlots * INPUT_STRIDE_BYTES + slot * frameStride(plan);
  const stored = plain + plan.frameSizeBytes;
  return { plain, stored, digests: stored + plan.frameSizeBytes + FRAME_OVERHEAD_BYTES };
}

export function cachePlaces(plan: ArenaPlan, slot: number): Omit<FramePlaces, 'stored'> {
  const { plain: first } = framePlaces(plan, plan.frameSlots);
  const plain = first + slot * cacheStride(plan);
  return { plain, digests: plain + plan.frameSizeBytes };
}

export function arenaSizeBytes(plan: ArenaPlan): number {
  return cachePlaces(plan, plan.cacheSlots).plain;
}

function cacheStride({ frameSizeBytes }: ArenaPlan): number {
  return roundUp(frameSizeBytes + FRAME_CHUNKS_MAX * DIGEST_BYTES);
}

function frameStride({ frameSizeBytes }: ArenaPlan): number {
  return roundUp(2 * frameSizeBytes + FRAME_OVERHEAD_BYTES + FRAME_CHUNKS_MAX * DIGEST_BYTES);
}

function roundUp(sizeBytes: number): number {
  return Math.ceil(sizeBytes / 4096) * 4096;
}
