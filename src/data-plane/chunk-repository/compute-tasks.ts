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
import { FRAME_CHUNKS_MAX } from './layout.ts';
import { parseNodeFrame } from './node-frame.ts';

interface Bench {
  readonly setup: ThreadSetup;
  readonly arena: Buffer;
  readonly digester: Digester;
}

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
  const start = place.data + offset;
  const first = Math.floor(offset / blockSizeBytes);
  const count = Math.ceil(lengthBytes / blockSizeBytes);
  const run = { bytes: arena, start, count, blockSizeBytes };
  digester.chunks(run, arena, place.digests + first * DIGEST_BYTES);
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
    target: arena.subarray(places.stored, places.digests),
  });
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
    count = Math.ceil(plain.length / blockSizeBytes);
    if (count > FRAME_CHUNKS_MAX) throw new StoredDataError('a frame has too many chunks');
    const run = { bytes: arena, start: places.plain, count, blockSizeBytes };
    digester.chunks(run, arena, places.digests);
  }
  return { work: 'decode', chunkCount: count };
}
