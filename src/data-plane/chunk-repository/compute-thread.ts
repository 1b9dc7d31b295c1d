import { parentPort, workerData } from 'node:worker_threads';
import type { ResultMessage, TaskMessage, ThreadSetup } from './compute-messages.ts';
import { createTaskRunner } from './compute-tasks.ts';

const setup: ThreadSetup = workerData;
const runTask = createTaskRunner(setup);

parentPort?.on('message', ({ id, task }: TaskMessage) => {
  const message: ResultMessage = { id, result: runTask(task) };
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  parentPort?.postMessage(message);
});
