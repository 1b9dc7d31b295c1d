import { OperationError } from '../../shared/errors.ts';

/**
 * Runs costly work a few at a time. What would wait too long is refused at once, so that nobody
 * can make the server, or those in front of it, hold more and more.
 */
export function createWorkQueue(limits: {
  atOnce: number;
  waitingMax: number;
}): <Result>(work: () => Promise<Result>) => Promise<Result> {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (work) => {
    if (running < limits.atOnce) running += 1;
    else {
      if (waiting.length >= limits.waitingMax)
        throw new OperationError(
          'rate_limited',
          'Too many passwords are being checked just now. Try again in a moment.',
          { details: { retryAfterSeconds: 2 } },
        );
      // Whoever is done hands its place over, so `running` stays as it is.
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running -= 1;
    }
  };
}
