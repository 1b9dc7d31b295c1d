import { OperationError } from '../../shared/errors.ts';
import { abortReason, throwIfAborted } from '../../shared/waiting.ts';

/** A fixed number of slots, handed out in the order of asking; waiting for one is the back-pressure. */
export interface SlotPool {
  acquire(signal?: AbortSignal): Promise<number>;
  release(slot: number): void;
  /** Fails everybody who waits and will wait. */
  close(): void;
}

interface Waiter {
  readonly resolve: (slot: number) => void;
  readonly reject: (reason: Error) => void;
}

const closedError = (): OperationError =>
  new OperationError('cancelled', 'The repository was closed meanwhile.');

export function createSlotPool(slots: readonly number[]): SlotPool {
  const free = [...slots].reverse();
  const waiters = new Set<Waiter>();
  let closed = false;

  return {
    async acquire(signal) {
      throwIfAborted(signal);
      if (closed) throw closedError();
      const slot = free.pop();
      if (slot !== undefined) return slot;
      return await new Promise<number>((resolve, reject) => {
        const onAbort = (): void => {
          waiters.delete(waiter);
          if (signal) reject(abortReason(signal));
        };
        const waiter: Waiter = {
          resolve: (granted) => {
            signal?.removeEventListener('abort', onAbort);
            resolve(granted);
          },
          reject: (reason) => {
            signal?.removeEventListener('abort', onAbort);
            reject(reason);
          },
        };
        signal?.addEventListener('abort', onAbort, { once: true });
        waiters.add(waiter);
      });
    },
    release(slot) {
      const [next] = waiters;
      if (next === undefined) free.push(slot);
      else {
        waiters.delete(next);
        next.resolve(slot);
      }
    },
    close() {
      closed = true;
      for (const waiter of waiters) waiter.reject(closedError());
      waiters.clear();
    },
  };
}
