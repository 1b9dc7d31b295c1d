import { describeThrown } from '../../shared/errors.ts';
import type {
  ComputeResult,
  ComputeTask,
  DecodeTask,
  EncodeTask,
  HashTask,
  ThreadSetup,
} from './compute-messages.ts';
import { StoredDataError } from './damage.ts';
import { createDigester, DIGEST_BYTES, type Digester, digestFromHex } from './digest.ts';
import { decodeFrame, encodeFrame } from './frame.ts';
import { BLOCK_SIZE_MAX_BYTES } from './layout.ts';
import { parseNodeFrame } from './node-frame.ts';

interface Bench {
  readonly setup: ThreadSetup;
  readonly arena: Buffer;
  readonly digester: Digester;
}

const zeroBlock = Buffer.alloc(BLOCK_SIZE_MAX_BYTES);

/** What a computing thread does with the arena; nothing in it is kept between tasks. */
export function createTaskRunner(setup: ThreadSetup): (task: ComputeTask) => ComputeResult {
  const digester = createDigester(setup.digestKeys);
  const bench: Bench = { setup, arena: Buffer.from(setup.arena), digester };
  return (task) => {
    try {
      if (task.work === 'hash') return hashBlocks(bench, task);
      return task.work === 'encode' ? encode(bench, task) : decode(bench, task);
    } catch (error) {
      const work = error instanceof StoredDataError ? 'damaged' : 'failed';
      return { work, reason: describeThrown(error) };
    }
  };
}

function hashBlocks(
  { arena, digester }: Bench,
  { place, offset, lengthBytes, blockSizeBytes }: HashTask,
): ComputeResult {
  const zeroes = zeroBlock.subarray(0, blockSizeBytes);
  const start = place.data + offset;
  const first = Math.floor(offset / blockSizeBytes);
  for (let index = 0; index * blockSizeBytes < lengthBytes; index += 1) {
    const at = start + index * blockSizeBytes;
    const block = arena.subarray(at, at + blockSizeBytes);
    const zero = block.equals(zeroes);
    arena[place.zeroes + first + index] = zero ? 1 : 0;
    if (!zero) arena.set(digester.chunk(block), place.digests + (first + index) * DIGEST_BYTES);
  }
  return { work: 'hash' };
}

function encode({ arena, setup }: Bench, task: EncodeTask): ComputeResult {
  const { places, plainLength, packIdHex, frameNumber } = task;
  const plain = arena.subarray(places.plain, places.plain + plainLength);
  const { packsKey, compressionLevel } = setup;
  const { stored, encoding } = encodeFrame(plain, {
    packId: digestFromHex(packIdHex),
    frameNumber,
    packsKey,
    compressionLevel,
  });
  arena.set(stored, places.stored);
  return { work: 'encode', storedLength: stored.length, encoding };
}

/** Digests every chunk, so that the reader compares what it wants with what is really there. */
function decode({ arena, digester, setup }: Bench, task: DecodeTask): ComputeResult {
  const { places, blockSizeBytes } = task;
  const stored = arena.subarray(places.stored, places.stored + task.storedLength);
  const plain = decodeFrame(stored, {
    ...task,
    packId: digestFromHex(task.packIdHex),
    packsKey: setup.packsKey,
  });
  arena.set(plain, places.plain);
  let count = 0;
  if (blockSizeBytes === 0) {
    for (const { start, end } of parseNodeFrame(plain)) {
      arena.set(digester.node(plain.subarray(start, end)), places.digests + count * DIGEST_BYTES);
      count += 1;
    }
  } else {
    for (let at = 0; at < plain.length; at += blockSizeBytes) {
      const block = plain.subarray(at, at + blockSizeBytes);
      arena.set(digester.chunk(block), places.digests + count * DIGEST_BYTES);
      count += 1;
    }
  }
  return { work: 'decode', chunkCount: count };
}
