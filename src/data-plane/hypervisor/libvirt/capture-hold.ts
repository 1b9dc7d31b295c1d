import { OperationError } from '../../../shared/errors.ts';
import type { Logger } from '../../../shared/logger.ts';
import type { FreezeGuard, GuardedCapture, HoldKind } from '../freeze-guard.ts';
import type { CaptureMarks } from './capture-mark.ts';

/** The guard acts this long after the capture itself should have. */
const GUARD_GRACE_MS = 500;

/** What one capture keeps from its guest right now, told to mark and guard before it is so. */
export interface CaptureHold {
  readonly kind: HoldKind;
  /** Before the guest is touched: without the guard's answer it must not be. */
  take(kind: Exclude<HoldKind, 'nothing'>, deadlineMs: number): Promise<void>;
  /** Gives what is held now more time. */
  renew(deadlineMs: number): Promise<void>;
  /** After the guest is known to be free. Throws `timed_out` when the guard was quicker. */
  relax(): Promise<void>;
  /** After the backup job ended, too. */
  end(): Promise<void>;
}

export async function beginHold(
  context: { readonly guard: FreezeGuard; readonly marks: CaptureMarks; readonly logger: Logger },
  capture: Omit<GuardedCapture, 'holds'>,
): Promise<CaptureHold> {
  const { guard, marks, logger } = context;
  let kind: HoldKind = 'nothing';
  let turn: Promise<unknown> = Promise.resolve();
  /** One word at a time: an old one must not arrive behind a new one. */
  const inTurn = async (work: () => Promise<void>): Promise<void> => {
    const mine = turn.then(work);
    turn = mine.catch(() => undefined);
    await mine;
  };
  const tellGuard = async (deadlineMs: number | null): Promise<void> =>
    await guard.arm(
      { ...capture, holds: kind },
      deadlineMs === null ? null : deadlineMs + GUARD_GRACE_MS,
    );
  const become = async (next: HoldKind, deadlineMs: number | null): Promise<void> => {
    await marks.write({ ...capture, holds: next }, guard.id);
    kind = next;
    await tellGuard(deadlineMs);
  };
  const end = async (): Promise<void> => {
    await marks.remove(capture.captureId);
    await guard.disarm(capture.captureId);
  };
  try {
    await become('nothing', null);
  } catch (error) {
    await end();
    throw error;
  }
  return {
    get kind() {
      return kind;
    },
    take: async (next, deadlineMs) => await inTurn(async () => await become(next, deadlineMs)),
    renew: async (deadlineMs) =>
      await inTurn(async () => {
        if (kind !== 'nothing') await tellGuard(deadlineMs);
      }),
    relax: async () =>
      await inTurn(async () => {
        if (kind === 'nothing') return;
        try {
          await become('nothing', null);
        } catch (error) {
          if (!(error instanceof OperationError) || error.code !== 'unreachable') throw error;
          // The mark says it already, and the guard hears it when it is back.
          logger.warn({ reason: error.message }, 'the guard was not told that a guest is free');
        }
      }),
    end: async () => await inTurn(end),
  };
}
