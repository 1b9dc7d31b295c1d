import { OperationError } from './errors.ts';

/** Throws the signal's reason as an OperationError (`cancelled` unless the reason says otherwise). */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortReason(signal);
}

export function abortReason(signal: AbortSignal): OperationError {
  const reason: unknown = signal.reason;
  if (reason instanceof OperationError) return reason;
  if (reason instanceof Error && reason.name === 'TimeoutError') {
    return new OperationError('timed_out', 'The operation took longer than its limit.', {
      cause: reason,
    });
  }
  return new OperationError('cancelled', 'The operation was cancelled.', { cause: reason });
}

/**
 * Waits for a promise, at most `timeoutMs`, and gives up at once when `signal` aborts.
 * The work behind the promise goes on: the caller owns stopping it.
 */
export async function waitFor<T>(
  promise: Promise<T>,
  options: { timeoutMs: number; what: string; signal?: AbortSignal | undefined },
): Promise<T> {
  const { timeoutMs, what, signal } = options;
  throwIfAborted(signal);
  return await new Promise<T>((resolve, reject) => {
    const onAbort = (): void => {
      cleanUp();
      reject(
        signal ? abortReason(signal) : new OperationError('cancelled', `${what} was cancelled.`),
      );
    };
    const timer = setTimeout(() => {
      cleanUp();
      reject(new OperationError('timed_out', `${what} did not finish within ${timeoutMs} ms.`));
    }, timeoutMs);
    const cleanUp = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    promise.then(
      (value) => {
        cleanUp();
        resolve(value);
      },
      (error: unknown) => {
        cleanUp();
        reject(error instanceof Error ? error : new Error(String(error)));
      },
    );
  });
}

/** Lets at most `limit` tasks run at once; the rest wait in order. */
export function createSemaphore(limit: number): { run<T>(task: () => Promise<T>): Promise<T> } {
  let running = 0;
  const waiting: (() => void)[] = [];
  return {
    async run(task) {
      if (running >= limit) await new Promise<void>((resolve) => waiting.push(resolve));
      else running += 1;
      try {
        return await task();
      } finally {
        const next = waiting.shift();
        if (next) next();
        else running -= 1;
      }
    },
  };
}
