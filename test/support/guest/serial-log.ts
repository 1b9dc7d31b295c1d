import { watch } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';

export interface SerialLine {
  /** Counts from 0 over the whole life of the guest. */
  readonly number: number;
  readonly text: string;
  /** When this process saw it, on the monotonic clock. */
  readonly seenAtMs: number;
}

export interface WaitOptions {
  readonly timeoutMs: number;
  /** Only lines with this number or a higher one count; without it, all do. */
  readonly since?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface SerialLog {
  /** The number that the next line will have. */
  readonly next: number;
  lines(since?: number): readonly SerialLine[];
  waitForLine(pattern: RegExp | string, options: WaitOptions): Promise<SerialLine>;
  close(): Promise<void>;
}

const POLL_MS = 200;
const MAX_LINES = 100_000;
const MAX_LINE_BYTES = 8192;
const READ_BYTES = 64 * 1024;

interface Waiter {
  readonly matches: (line: SerialLine) => boolean;
  readonly resolve: (line: SerialLine) => void;
}

/** Follows a file that a guest's serial port is appended to. */
export async function followSerialLog(filePath: string): Promise<SerialLog> {
  const file = await open(filePath, 'r');
  const kept: SerialLine[] = [];
  const waiters = new Set<Waiter>();
  const reader = createLineReader((text) => {
    const number = (kept.at(-1)?.number ?? -1) + 1;
    const line = { number, text, seenAtMs: performance.now() };
    kept.push(line);
    if (kept.length > MAX_LINES) kept.splice(0, MAX_LINES / 10);
    for (const waiter of waiters) if (waiter.matches(line)) waiter.resolve(line);
  });

  let reading: Promise<void> = Promise.resolve();
  let scheduled = false;
  const readMore = (): void => {
    if (scheduled) return;
    scheduled = true;
    reading = reading.then(async () => {
      scheduled = false;
      await reader.readFrom(file);
    });
  };
  // Some file systems report no changes; the timer is for those.
  const watcher = watch(filePath, { persistent: false }, readMore);
  const timer = setInterval(readMore, POLL_MS).unref();
  readMore();
  await reading;

  const waitForLine = (pattern: RegExp | string, options: WaitOptions): Promise<SerialLine> =>
    waitIn({ kept, waiters, filePath }, pattern, options);
  return {
    get next() {
      return (kept.at(-1)?.number ?? -1) + 1;
    },
    lines: (since = 0) => kept.filter((line) => line.number >= since),
    waitForLine,
    async close() {
      clearInterval(timer);
      watcher.close();
      await reading;
      await file.close();
    },
  };
}

async function waitIn(
  log: { kept: readonly SerialLine[]; waiters: Set<Waiter>; filePath: string },
  pattern: RegExp | string,
  options: WaitOptions,
): Promise<SerialLine> {
  const { timeoutMs, since = 0, signal } = options;
  signal?.throwIfAborted();
  const matches = (line: SerialLine): boolean =>
    line.number >= since &&
    (typeof pattern === 'string' ? line.text.includes(pattern) : line.text.search(pattern) >= 0);
  const known = log.kept.find(matches);
  if (known) return known;
  return await new Promise((resolve, reject) => {
    const finish = (act: () => void): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      log.waiters.delete(waiter);
      act();
    };
    const waiter: Waiter = { matches, resolve: (line) => finish(() => resolve(line)) };
    const onAbort = (): void =>
      finish(() => reject(new Error('waiting was aborted', { cause: signal?.reason })));
    const timer = setTimeout(() => {
      const last = log.kept.slice(-5).map((line) => line.text);
      finish(() =>
        reject(
          new Error(
            `no line with ${String(pattern)} in ${log.filePath} within ${timeoutMs} ms; the last ones are ${JSON.stringify(last)}`,
          ),
        ),
      );
    }, timeoutMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    log.waiters.add(waiter);
  });
}

function createLineReader(onLine: (text: string) => void): {
  readFrom(file: FileHandle): Promise<void>;
} {
  const buffer = Buffer.alloc(READ_BYTES);
  let position = 0;
  let rest = '';
  return {
    async readFrom(file) {
      for (;;) {
        const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
        if (bytesRead === 0) return;
        position += bytesRead;
        const parts = (rest + buffer.toString('latin1', 0, bytesRead)).split('\n');
        rest = (parts.pop() ?? '').slice(-MAX_LINE_BYTES);
        for (const part of parts) onLine(cleanLine(part));
      }
    },
  };
}

/** Firmware paints its screen with escape sequences in front of the first line of the kernel. */
function cleanLine(text: string): string {
  // oxlint-disable-next-line no-control-regex -- these are the control characters to take out
  return text.replace(/\u001b\[[0-9;?=]*[A-Za-z]|\u001bc|\r/g, '').slice(0, MAX_LINE_BYTES);
}
