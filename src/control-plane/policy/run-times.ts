import { createHash } from 'node:crypto';
import { Cron } from 'croner';
import { OperationError } from '../../shared/errors.ts';

/** When a schedule runs: whole minutes, as instants. */
export interface RunTimes {
  /** The first one after an instant; undefined when there is none any more. */
  next(after: Date): Date | undefined;
}

const WORDS: Readonly<Record<string, string>> = {
  '@hourly': '0 * * * *',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@weekly': '0 0 * * 0',
  '@monthly': '0 0 1 * *',
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
};

/** What every cron understands; further characters mean different things to different programs. */
const FIVE_FIELDS = /^[\d*,/-]+ [\d*,/-]+ [\d*,/-]+ [A-Za-z\d*,/-]+ [A-Za-z\d*,/-]+$/;

/**
 * In the wall-clock time of the zone. A time that the clock skips runs at the first moment after
 * the gap; a fixed time that it shows twice runs the first time only.
 */
export function parseRunTimes(cron: string, timeZone: string): RunTimes {
  requireTimeZone(timeZone);
  const pattern = WORDS[cron.trim().toLowerCase()] ?? cron.trim().replaceAll(/ +/g, ' ');
  if (!FIVE_FIELDS.test(pattern)) throw badCron(cron, 'it is none of these');
  let job: Cron;
  try {
    job = new Cron(pattern, { timezone: timeZone, mode: '5-part' });
  } catch (error) {
    throw badCron(cron, 'a field is out of range', error);
  }
  const next = (after: Date): Date | undefined => job.nextRun(after) ?? undefined;
  if (!next(new Date(0))) throw badCron(cron, 'such a day never comes');
  return { next };
}

const badCron = (cron: string, why: string, cause?: unknown): OperationError =>
  new OperationError(
    'invalid_input',
    `"${cron}" does not say when to run: ${why}. Use five fields (minute, hour, day of month, month, day of week) or @hourly, @daily, @weekly, @monthly, @yearly.`,
    cause === undefined ? {} : { cause },
  );

function requireTimeZone(timeZone: string): void {
  try {
    Intl.DateTimeFormat('en', { timeZone });
  } catch (error) {
    throw new OperationError(
      'invalid_input',
      `"${timeZone}" is no time zone. Use a name such as Europe/Berlin, Asia/Tokyo or UTC.`,
      { cause: error },
    );
  }
}

export function listRunTimes(
  times: RunTimes,
  range: { readonly after: Date; readonly count: number },
): Date[] {
  const found: Date[] = [];
  let at = times.next(range.after);
  while (at && found.length < range.count) {
    found.push(at);
    at = times.next(at);
  }
  return found;
}

export interface DueRun {
  /** The run to begin now. */
  readonly run: Date | undefined;
  /** Everything up to here is dealt with, whether it ran or not. */
  readonly handledUntil: Date;
  /** Runs that will not take place, up to MISSED_COUNT_MAX. */
  readonly missed: number;
}

/** Later than this a run was missed: the server was off, or its clock was set. */
export const ON_TIME_MS = 5 * 60_000;
export const MISSED_COUNT_MAX = 1000;
const FIRST_LOOK_BACK_MS = 60_000;

/**
 * What is due at `now`, when everything up to `handledUntil` was dealt with: at most one run,
 * however many were missed. A clock that was set back makes nothing run twice.
 */
export function findDueRun(
  times: RunTimes,
  question: { readonly handledUntil: Date; readonly now: Date; readonly catchUp: boolean },
): DueRun {
  const { handledUntil, now, catchUp } = question;
  const first = times.next(handledUntil);
  const latest = first && first <= now ? findLatest(times, handledUntil, now) : undefined;
  if (!latest) return { run: undefined, handledUntil, missed: 0 };
  const runs = catchUp || now.getTime() - latest.getTime() <= ON_TIME_MS;
  const due = countRuns(times, handledUntil, latest);
  return {
    run: runs ? latest : undefined,
    handledUntil: latest,
    missed: runs ? due - 1 : due,
  };
}

/** Looks back twice as far each time, so that a long absence costs little. */
function findLatest(times: RunTimes, after: Date, now: Date): Date | undefined {
  for (let backMs = FIRST_LOOK_BACK_MS; ; backMs *= 2) {
    const from = new Date(Math.max(after.getTime(), now.getTime() - backMs));
    let latest: Date | undefined;
    let at = times.next(from);
    while (at && at <= now) {
      latest = at;
      at = times.next(at);
    }
    if (latest || from <= after) return latest;
  }
}

function countRuns(times: RunTimes, after: Date, latest: Date): number {
  let count = 0;
  let at = times.next(after);
  while (at && at <= latest && count < MISSED_COUNT_MAX) {
    count += 1;
    at = times.next(at);
  }
  return count;
}

/** Spreads the VMs of a run: the same delay for the same VM and run, wherever it is computed. */
export function jitterFor(run: {
  readonly scheduleId: string;
  readonly vmId: string;
  readonly at: Date;
  readonly maximumMs: number;
}): number {
  if (run.maximumMs <= 0) return 0;
  const digest = createHash('sha256')
    .update(JSON.stringify([run.scheduleId, run.vmId, run.at.toISOString()]))
    .digest();
  return digest.readUIntBE(0, 6) % (run.maximumMs + 1);
}
