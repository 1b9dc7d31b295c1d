export interface RateHistory {
  /** Seconds since 1970, as uPlot wants them. */
  readonly times: readonly number[];
  readonly rates: readonly number[];
}

export const EMPTY_HISTORY: RateHistory = { times: [], rates: [] };
const POINTS_MAX = 600;

/** Adds a measurement; the oldest go once there are many, so that a day-long watch stays light. */
export function addRate(history: RateHistory, atMs: number, rate: number): RateHistory {
  const at = atMs / 1000;
  if (at <= (history.times.at(-1) ?? -Infinity)) return history;
  return {
    times: [...history.times.slice(1 - POINTS_MAX), at],
    rates: [...history.rates.slice(1 - POINTS_MAX), rate],
  };
}
