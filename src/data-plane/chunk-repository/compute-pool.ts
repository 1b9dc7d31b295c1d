import { getCompileCacheDir } from 'node:module';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { MIB } from '../../shared/byte-size.ts';
import { describeThrown, OperationError } from '../../shared/errors.ts';
import {
  arenaSizeBytes,
  type ArenaPlan,
  cachePlaces,
  framePlaces,
  type FramePlaces,
  inputPlace,
  type InputPlace,
  locateInput,
} from './compute-arena.ts';
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
import { createTaskRunner } from './compute-tasks.ts';
import { StoredDataError } from './damage.ts';
import type { DigestKeys } from './digest.ts';
import { FRAME_OVERHEAD_BYTES, type FrameEncoding } from './frame.ts';
import { createSlotPool, type SlotPool } from './slot-pool.ts';

/** Slots that callers get as shared buffers, and some that only copies of foreign memory use. */
const CALLER_SLOTS = 24;
const COPY_SLOTS = 4;
/** Frames that were read: what readers in order, and some that jump, find again. */
const CACHE_BYTES = 16 * MIB;
/**
 * A thread takes about 1 ms per task; this thread is busy for 10 to 20 ms when it enters a pack into
 * the index. With 4 tasks the threads stood idle for 36 % of a capture on a busy machine.
 */
const TASKS_PER_THREAD_MAX = 12;
const FRAME_SLOTS_PER_THREAD = 12;

export interface ComputePool {
  readonly arena: SharedArrayBuffer;
  readonly callerSlots: SlotPool;
  readonly copySlots: SlotPool;
  readonly frameSlots: SlotPool;
  readonly frameSlotCount: number;
  inputPlace(slot: number): InputPlace;
  /** The slot that holds this view of the arena; null for memory from elsewhere. */
  slotOf(data: Uint8Array): { slot: number; offset: number } | null;
  framePlaces(slot: number): FramePlaces;
  readonly cacheSlotCount: number;
  cachePlaces(slot: number): Omit<FramePlaces, 'stored'>;
  readonly frameSizeBytes: number;
  /** What a stored frame may have. */
  readonly storedMaxBytes: number;
  hash(task: Omit<HashTask, 'work'>): Promise<void>;
  encode(
    task: Omit<EncodeTask, 'work'>,
  ): Promise<{ storedLength: number; encoding: FrameEncoding }>;
  /** Throws StoredDataError; resolves to the number of chunks. */
  decode(task: Omit<DecodeTask, 'work'>): Promise<number>;
  close(): Promise<void>;
}

interface PendingTask {
  readonly id: number;
  readonly task: ComputeTask;
  readonly resolve: (result: ComputeResult) => void;
  readonly reject: (reason: Error) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly running: Map<number, PendingTask>;
}

export function createComputePool(options: {
  threads: number;
  frameSizeBytes: number;
  compressionLevel: number;
  digestKeys: DigestKeys;
  packsKey: Uint8Array | null;
}): ComputePool {
  const plan: ArenaPlan = {
    inputSlots: CALLER_SLOTS + COPY_SLOTS,
    frameSlots: Math.max(8, FRAME_SLOTS_PER_THREAD * options.threads),
    cacheSlots: Math.floor(CACHE_BYTES / options.frameSizeBytes),
    frameSizeBytes: options.frameSizeBytes,
  };
  const arena = new SharedArrayBuffer(arenaSizeBytes(plan));
  const { digestKeys, packsKey, compressionLevel } = options;
  const setup: ThreadSetup = { arena, plan, digestKeys, packsKey, compressionLevel };
  const threads = options.threads > 0 ? createThreads(options.threads, setup) : runHere(setup);
  const count = (from: number, to: number): number[] =>
    Array.from({ length: to - from }, (_, index) => from + index);
  const slotPools = [
    createSlotPool(count(0, CALLER_SLOTS)),
    createSlotPool(count(CALLER_SLOTS, plan.inputSlots)),
    createSlotPool(count(0, plan.frameSlots)),
  ] as const;

  const unexpected = (result: ComputeResult): Error => {
    if (result.work === 'damaged') return new StoredDataError(result.reason);
    const reason = result.work === 'failed' ? result.reason : result.work;
    return new OperationError('internal', `A computing thread failed: ${reason}`);
  };

  return {
    arena,
    callerSlots: slotPools[0],
    copySlots: slotPools[1],
    frameSlots: slotPools[2],
    frameSlotCount: plan.frameSlots,
    inputPlace,
    slotOf: (data) =>
      data.buffer === arena ? locateInput(plan, data.byteOffset, data.byteLength) : null,
    framePlaces: (slot) => framePlaces(plan, slot),
    cacheSlotCount: plan.cacheSlots,
    cachePlaces: (slot) => cachePlaces(plan, slot),
    frameSizeBytes: plan.frameSizeBytes,
    storedMaxBytes: plan.frameSizeBytes + FRAME_OVERHEAD_BYTES,
    async hash(task) {
      const result = await threads.run({ work: 'hash', ...task });
      if (result.work !== 'hash') throw unexpected(result);
    },
    async encode(task) {
      const result = await threads.run({ work: 'encode', ...task });
      if (result.work !== 'encode') throw unexpected(result);
      return result;
    },
    async decode(task) {
      const result = await threads.run({ work: 'decode', ...task });
      if (result.work !== 'decode') throw unexpected(result);
      return result.chunkCount;
    },
    async close() {
      for (const pool of slotPools) pool.close();
      await threads.close();
    },
  };
}

interface Threads {
  run(task: ComputeTask): Promise<ComputeResult>;
  close(): Promise<void>;
}

/** Without threads the work is done by the caller: slower, but nothing has to be started. */
function runHere(setup: ThreadSetup): Threads {
  const runTask = createTaskRunner(setup);
  let closed = false;
  return {
    async run(task) {
      if (closed) throw new OperationError('cancelled', 'The repository was closed.');
      return runTask(task);
    },
    async close() {
      closed = true;
    },
  };
}

/** Without the cache every thread loads a compiler of its own: 0.1 CPU seconds, 20 MB. */
function threadEnvironment(): Record<string, string> {
  const folder = getCompileCacheDir();
  return folder === undefined ? {} : { NODE_COMPILE_CACHE: path.dirname(folder) };
}

/** Starts its threads with the first task, so that a repository that is only listed costs none. */
function createThreads(count: number, setup: ThreadSetup): Threads {
  const threads: Thread[] = [];
  const queue: PendingTask[] = [];
  let nextId = 0;
  let failure: OperationError | undefined;

  const fail = (error: OperationError): void => {
    failure ??= error;
    for (const pending of queue.splice(0)) pending.reject(failure);
    for (const { running } of threads) {
      for (const pending of running.values()) pending.reject(failure);
      running.clear();
    }
  };

  const dispatch = (): void => {
    while (queue.length > 0) {
      const idlest = threads.reduce((best, thread) =>
        thread.running.size < best.running.size ? thread : best,
      );
      if (idlest.running.size >= TASKS_PER_THREAD_MAX) return;
      const pending = queue.shift();
      if (pending === undefined) return;
      idlest.running.set(pending.id, pending);
      const message: TaskMessage = { id: pending.id, task: pending.task };
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
      idlest.worker.postMessage(message);
    }
  };

  const start = (): void => {
    const running = new Map<number, PendingTask>();
    const worker = new Worker(new URL('compute-thread.ts', import.meta.url), {
      workerData: setup,
      env: threadEnvironment(),
    });
    worker.on('message', ({ id, result }: ResultMessage) => {
      const pending = running.get(id);
      running.delete(id);
      dispatch();
      pending?.resolve(result);
    });
    worker.on('error', (error) =>
      fail(
        new OperationError('internal', `A computing thread died: ${describeThrown(error)}`, {
          cause: error,
        }),
      ),
    );
    worker.on('exit', () => fail(new OperationError('cancelled', 'The repository was closed.')));
    threads.push({ worker, running });
  };

  return {
    async run(task) {
      if (failure) throw failure;
      while (threads.length < count) start();
      return await new Promise<ComputeResult>((resolve, reject) => {
        queue.push({ id: nextId, task, resolve, reject });
        nextId += 1;
        dispatch();
      });
    },
    async close() {
      fail(new OperationError('cancelled', 'The repository was closed.'));
      await Promise.all(threads.map(async ({ worker }) => await worker.terminate()));
    },
  };
}
