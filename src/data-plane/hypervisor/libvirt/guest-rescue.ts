import type { GuestRescue } from '../freeze-guard.ts';
import { createCaptureMarks } from './capture-mark.ts';
import { closeConnections, openConnections, type ConnectionOptions } from './libvirt-domain.ts';
import { releaseGuest } from './reconcile-capture.ts';

/** A call that a dead process had made may still be carried out after the guest was let go. */
const LATE_CALL_PASSES_MS = [0, 200, 1_000];

/** Connected all the time, so that letting a guest go costs a few calls and nothing else. */
export function createGuestRescue(options: ConnectionOptions): GuestRescue {
  const { logger } = options;
  const connections = openConnections(options);
  const marks = createCaptureMarks(logger);
  const context = { connections, marks, logger };
  return {
    listMarked: async (guardId) => await marks.list(guardId),
    readMark: async (captureId) => await marks.read(captureId),
    async release(capture) {
      for (const delayMs of LATE_CALL_PASSES_MS) {
        if (delayMs > 0) await new Promise<void>((resolve) => setTimeout(resolve, delayMs));
        await releaseGuest(context, capture);
      }
      await marks.remove(capture.captureId);
    },
    close: async () => await closeConnections(connections),
  };
}
