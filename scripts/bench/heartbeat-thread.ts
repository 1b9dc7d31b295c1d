import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { followSerialLog } from '../../test/support/guest/serial-log.ts';

/** A thread of its own, so that the work of a capture does not delay the time stamps. */
if (!isMainThread && parentPort) {
  const port = parentPort;
  const serialPath: string = workerData.serialPath;
  const log = await followSerialLog(serialPath);
  port.on('message', () => {
    const beats = log
      .lines()
      .filter(({ text }) => text.startsWith('beat '))
      .map(({ seenAtMs }) => performance.timeOrigin + seenAtMs);
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    port.postMessage(beats);
  });
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  port.postMessage('ready');
}
