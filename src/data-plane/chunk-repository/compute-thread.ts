import { parentPort, workerData } from 'node:worker_threads';
import { describeThrown } from '../../shared/errors.ts';
import type {
  ComputeResult,
  ComputeTask,
  DecodeTask,
  EncodeTask,
  HashTask,
  ResultMessage,
  TaskMessage,
  ThreadSetup,
} from './compute-messages.ts';
import { StoredDataError } from './damage.ts';
import { createDigester, DIGEST_BYTES } from './digest.ts';
import { decodeFrame, encodeFrame } from './frame.ts';
import { BLOCK_SIZE_MAX_BYTES } from './layout.ts';
import { parseNodeFrame } from './node-frame.ts';

const setup: ThreadSetup = workerData;
const arena = Buffer.from(setup.arena);
const digester = createDigester(setup.digestKeys);
const zeroBlock = Buffer.alloc(BLOCK_SIZE_MAX_BYTES);

parentPort?.on('message', ({ id, task }: TaskMessage) => {
  const message: ResultMessage = { id, result: runTask(task) };
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  parentPort?.postMessage(message);
});

function runTask(task: ComputeTask): ComputeResult {
  try {
    return compute(task);
  } catch (error) {
    const work = error instanceof StoredDataError ? 'damaged' : 'failed';
    return { work, reason: describeThrown(error) };
  }
}

function compute(task: ComputeTask): ComputeResult {
  if (task.work === 'hash') return hashBlocks(task);
  return task.work === 'encode' ? encode(task) : decode(task);
}

function hashBlocks({ place, offset, lengthBytes, blockSizeBytes }: HashTask): ComputeResult {
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

function encode({ places, plainLength, packId, frameNumber }: EncodeTask): ComputeResult {
  const plain = arena.subarray(places.plain, places.plain + plainLength);
  const { packsKey, compressionLevel } = setup;
  const { stored, encoding } = encodeFrame(plain, {
    packId,
    frameNumber,
    packsKey,
    compressionLevel,
  });
  arena.set(stored, places.stored);
  return { work: 'encode', storedLength: stored.length, encoding };
}

/** Digests every chunk, so that the reader compares what it wants with what is really there. */
function decode(task: DecodeTask): ComputeResult {
  const { places, blockSizeBytes } = task;
  const stored = arena.subarray(places.stored, places.stored + task.storedLength);
  const plain = decodeFrame(stored, { ...task, packsKey: setup.packsKey });
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
