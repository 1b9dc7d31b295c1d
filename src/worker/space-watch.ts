import { statfs } from 'node:fs/promises';
import { formatBytes } from '../shared/byte-size.ts';
import { OperationError, describeThrown } from '../shared/errors.ts';
import type { Logger } from '../shared/logger.ts';

const INTERVAL_MS = 250;

/** Bytes that an unprivileged writer can still use. */
export async function readFreeBytes(folder: string): Promise<number> {
  const status = await statfs(folder);
  return status.bavail * status.bsize;
}

export interface SpaceWatch {
  /** Aborts with `insufficient_space` when a folder has less than its floor free. */
  readonly signal: AbortSignal;
  stop(): void;
}

/**
 * QEMU fails the guest's own write when a scratch file cannot grow, so a capture must end before
 * that (invariant 2): the floors leave room for what the guest writes between two looks.
 */
export function watchFreeSpace(
  floors: readonly { folder: string; floorBytes: number; what: string }[],
  logger: Logger,
): SpaceWatch {
  const low = new AbortController();
  let isLooking = false;
  const look = async (): Promise<void> => {
    for (const { folder, floorBytes, what } of floors) {
      const freeBytes = await readFreeBytes(folder);
      if (freeBytes < floorBytes) {
        low.abort(
          new OperationError(
            'insufficient_space',
            `Only ${formatBytes(freeBytes)} are free for ${what} (${folder}), less than the floor of ${formatBytes(floorBytes)}; free room or add some, then take the snapshot again.`,
          ),
        );
      }
    }
  };
  const timer = setInterval(() => {
    if (isLooking) return;
    isLooking = true;
    look()
      .catch((error: unknown) => {
        logger.warn({ reason: describeThrown(error) }, 'free space could not be read');
      })
      .finally(() => {
        isLooking = false;
      });
  }, INTERVAL_MS);
  return { signal: low.signal, stop: () => clearInterval(timer) };
}
