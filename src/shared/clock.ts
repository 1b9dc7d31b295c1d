/** Time is injected, so that tests and simulations decide what "now" is. */
export interface Clock {
  /** Wall-clock time. */
  now(): Date;
  /** Milliseconds that never jump, for measuring durations. */
  monotonicMs(): number;
}

export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
};
