/**
 * What a capture may keep from a guest.
 * | nothing    | the guest runs; only our backup job is there                       |
 * | suspended  | we asked for a pause                                               |
 * | stream-end | the guest runs, and QEMU stops it when the memory stream ends      |
 * | frozen     | its file systems are frozen by the guest agent                     |
 */
export const HOLD_KINDS = ['nothing', 'suspended', 'stream-end', 'frozen'] as const;
export type HoldKind = (typeof HOLD_KINDS)[number];

export interface GuardedCapture {
  readonly captureId: string;
  readonly vmId: string;
  /** A VM that was paused before the capture stays paused after it. */
  readonly wasRunning: boolean;
  readonly holds: HoldKind;
}

/**
 * A process of its own that lets a guest go when the process that captures it dies or hangs. A
 * capture tells it before it touches the guest; without its answer the guest is not touched.
 */
export interface FreezeGuard {
  /** Which guard looks after a capture: it stands in the capture's mark on this host. */
  readonly id: string;
  /**
   * Resolves once the guard knows; replaces what it knew of this capture. `deadlineMs` from now
   * without another word, it lets the guest go; null: only when this process dies. Throws
   * `unreachable`, or `timed_out` when the guard has let the guest go already.
   */
  arm(capture: GuardedCapture, deadlineMs: number | null): Promise<void>;
  /** Never throws for a guard that is gone. */
  disarm(captureId: string): Promise<void>;
}

/** For tests and measurements, where nobody but the caller would mind a guest that stays paused. */
export const withoutGuard: FreezeGuard = {
  id: '',
  arm: async () => await Promise.resolve(),
  disarm: async () => await Promise.resolve(),
};

/** A capture whose mark is on this host, with whether the process that made it still lives. */
export interface MarkedCapture extends GuardedCapture {
  readonly ownerAlive: boolean;
}

/** How a guard reaches guests: its own connection, the same rules as the driver's. */
export interface GuestRescue {
  listMarked(guardId: string): Promise<MarkedCapture[]>;
  /** Null when the capture ended meanwhile. */
  readMark(captureId: string): Promise<MarkedCapture | null>;
  /**
   * Lets the guest go and ends our backup job, then removes the capture's mark. Throws when it
   * cannot be sure that the guest is free. Idempotent.
   */
  release(capture: GuardedCapture): Promise<void>;
  close(): Promise<void>;
}
