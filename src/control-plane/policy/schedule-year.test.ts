import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  chooseCapturesToStart,
  planScheduleRun,
  type PlannedCapture,
  type SchedulableVm,
} from './plan-schedule-run.ts';
import { decideRetention, type RetainedSnapshot } from './retention.ts';
import { findDueRun, parseRunTimes } from './run-times.ts';

const HOUR_MS = 3600 * 1000;
const TICK_MS = 5 * 60_000;
const ZONE = 'Europe/Berlin';
const RULES = { daily: 7, weekly: 4, monthly: 12 };
const HOSTS = 30;
const PER_HOST = 2;
const START_MS = Date.parse('2026-01-01T12:00:00Z');
const END_MS = Date.parse('2027-01-01T11:00:00Z');
const BORN_MS = Date.parse('2026-07-01T00:00:00Z');
const SCHEDULE = {
  id: 's',
  selection: { kind: 'label', key: 'snapshots', value: 'daily' },
  offVms: 'skip',
  jitterMs: HOUR_MS,
} as const;

/** Off for these hours: one run falls into them, and is caught up with. */
const OUTAGE = { from: Date.parse('2026-05-10T20:00:00Z'), to: Date.parse('2026-05-11T09:00:00Z') };

const fleetAt = (atMs: number): SchedulableVm[] =>
  Array.from({ length: 300 }, (_, index) => ({
    id: `vm-${index}`,
    name: `vm-${index}`,
    hostId: `host-${index % HOSTS}`,
    labels: index % 10 === 9 && atMs < BORN_MS ? {} : { snapshots: 'daily' },
    present: true,
    state: 'running' as const,
  }));

interface Year {
  snapshots: RetainedSnapshot[];
  readonly runs: string[];
  mostAtOnce: number;
}

/** Retention by what its preview says, before and after a run. */
function retain(year: Year, upcoming: { at: string; vmIds: string[] } | undefined): void {
  const verdicts = decideRetention({
    scheduleId: SCHEDULE.id,
    rules: RULES,
    timeZone: ZONE,
    snapshots: year.snapshots,
    upcoming,
  });
  const gone = new Set(verdicts.filter(({ fate }) => fate === 'removed').map(({ id }) => id));
  year.snapshots = year.snapshots.filter(({ id }) => !gone.has(id));
}

/** Each capture takes one tick; as many at once as the hosts allow. */
function capture(year: Year, captures: PlannedCapture[], fromMs: number): void {
  let waiting = captures;
  for (let nowMs = fromMs; waiting.length > 0; nowMs += TICK_MS) {
    const now = new Date(nowMs);
    const limits = { perHost: PER_HOST, perSchedule: new Map<string, number>() };
    const started = new Set(chooseCapturesToStart({ waiting, running: [], limits, now }));
    waiting = waiting.filter((one) => !started.has(one));
    for (const group of Map.groupBy(started, ({ hostId }) => hostId).values())
      year.mostAtOnce = Math.max(year.mostAtOnce, group.length);
    for (const { vmId, scheduleId } of started)
      year.snapshots.push({
        id: `${vmId} ${nowMs}`,
        name: `${vmId}_${now.toISOString()}`,
        vmId,
        scheduleId,
        state: 'active',
        at: now.toISOString(),
        pinned: false,
        locked: false,
        busy: false,
      });
  }
}

const lastDayOf = (month: number): string =>
  new Date(Date.UTC(2026, month, 0)).toISOString().slice(0, 10);

function simulateYear(): Year {
  const times = parseRunTimes('30 1 * * *', ZONE);
  const year: Year = { snapshots: [], runs: [], mostAtOnce: 0 };
  let handledUntil = new Date(START_MS);
  for (let nowMs = START_MS; nowMs < END_MS; nowMs += HOUR_MS) {
    if (nowMs >= OUTAGE.from && nowMs < OUTAGE.to) continue;
    const due = findDueRun(times, { handledUntil, now: new Date(nowMs), catchUp: true });
    ({ handledUntil } = due);
    if (!due.run) continue;
    year.runs.push(due.run.toISOString());
    const { captures } = planScheduleRun({
      schedule: SCHEDULE,
      at: due.run,
      vms: fleetAt(nowMs),
      unfinished: new Set(),
    });
    retain(year, { at: due.run.toISOString(), vmIds: captures.map(({ vmId }) => vmId) });
    capture(year, captures, nowMs);
  }
  retain(year, undefined);
  return year;
}

test('after a year of 300 VMs exactly the right snapshots exist', () => {
  const year = simulateYear();
  assert.equal(year.runs.length, 365);
  assert.equal(new Set(year.runs).size, 365);
  assert.ok(year.mostAtOnce <= PER_HOST);

  const days = new Intl.DateTimeFormat('sv-SE', { timeZone: ZONE, dateStyle: 'short' });
  const expectedOfOld = [
    // The last run is of the new year, which pushes out one day, one week and one month.
    ...[2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map(lastDayOf),
    // The newest of the fourth and third week from the end; the second ends within the seven days.
    '2026-12-13',
    '2026-12-20',
    ...[26, 27, 28, 29, 30, 31].map((day) => `2026-12-${day}`),
    '2027-01-01',
  ];
  const found = Map.groupBy(year.snapshots, ({ vmId }) => vmId);
  assert.equal(found.size, 300);
  for (const [vmId, snapshots] of found) {
    const isYoung = vmId.endsWith('9');
    const expected = expectedOfOld.filter((day) => !isYoung || day >= '2026-07-01');
    assert.deepEqual(
      snapshots.map(({ at }) => days.format(new Date(at))).toSorted(),
      expected,
      vmId,
    );
  }
});
