import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CronExpressionParser } from 'cron-parser';
import * as fc from 'fast-check';
import { OperationError } from '../../shared/errors.ts';
import { findDueRun, jitterFor, listRunTimes, ON_TIME_MS, parseRunTimes } from './run-times.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const ZONES = [
  'UTC',
  'Asia/Tokyo',
  'Europe/Berlin',
  'America/New_York',
  'America/Santiago',
  'Australia/Lord_Howe',
  'Asia/Kathmandu',
  'Pacific/Apia',
];

const runs = (cron: string, zone: string, after: string, count: number): string[] =>
  listRunTimes(parseRunTimes(cron, zone), { after: new Date(after), count }).map((at) =>
    at.toISOString().slice(0, 16),
  );

test('a time that the clock skips in spring runs once, at the first moment after the gap', () => {
  assert.deepEqual(runs('30 2 * * *', 'Europe/Berlin', '2026-03-28T12:00:00Z', 2), [
    '2026-03-29T01:00',
    '2026-03-30T00:30',
  ]);
});

test('a time that the clock shows twice in autumn runs once, the first time', () => {
  assert.deepEqual(runs('30 2 * * *', 'Europe/Berlin', '2026-10-24T12:00:00Z', 2), [
    '2026-10-25T00:30',
    '2026-10-26T01:30',
  ]);
});

test('an hourly schedule runs every hour, also over the change of clocks', () => {
  for (const after of ['2026-03-28T22:30:00Z', '2026-10-24T22:30:00Z']) {
    const found = listRunTimes(parseRunTimes('@hourly', 'Europe/Berlin'), {
      after: new Date(after),
      count: 8,
    });
    for (const [index, at] of found.entries())
      assert.equal(at.getTime(), Date.parse(after) + HOUR_MS / 2 + index * HOUR_MS);
  }
});

test('words are five fields', () => {
  const pairs = [
    ['@hourly', '0 * * * *'],
    ['@daily', '0 0 * * *'],
    ['@weekly', '0 0 * * SUN'],
    ['@monthly', '0 0 1 * *'],
    ['@yearly', '0 0 1 JAN *'],
  ] as const;
  for (const [word, fields] of pairs)
    assert.deepEqual(
      runs(word, 'Asia/Tokyo', '2026-05-05T05:05:05Z', 5),
      runs(fields, 'Asia/Tokyo', '2026-05-05T05:05:05Z', 5),
    );
});

test('what says no time is refused with what to write instead', () => {
  const bad = ['', '* * * *', '* * * * * *', '61 * * * *', '0 0 31 2 *', '@reboot', '0 0 L * *'];
  for (const cron of bad)
    assert.throws(
      () => parseRunTimes(cron, 'UTC'),
      (error) => error instanceof OperationError && error.code === 'invalid_input',
      cron,
    );
  assert.throws(() => parseRunTimes('@daily', 'Mars/Olympus'), /no time zone/);
});

/** Wall clock by Intl, asked every 15 minutes, since no zone changes at other moments. */
function createWallClock(zone: string): (at: number) => Date {
  const format = new Intl.DateTimeFormat('sv-SE', {
    timeZone: zone,
    dateStyle: 'short',
    timeStyle: 'medium',
  });
  let quarter = Number.NaN;
  let offset = 0;
  return (at) => {
    const start = Math.floor(at / (15 * MINUTE_MS)) * 15 * MINUTE_MS;
    if (start !== quarter) {
      quarter = start;
      offset = Date.parse(`${format.format(start).replace(' ', 'T')}Z`) - start;
    }
    return new Date(at + offset);
  };
}

const list = (minimum: number, maximum: number) =>
  fc.oneof(
    fc.constant(null),
    fc.uniqueArray(fc.integer({ min: minimum, max: maximum }), { minLength: 1, maxLength: 3 }),
  );

const field = (values: number[] | null): string => values?.join(',') ?? '*';

test('away from changes of the clock, runs are exactly the minutes whose wall time matches', () => {
  const wish = fc.record({
    zone: fc.constantFrom(...ZONES),
    start: fc.integer({ min: 0, max: 40 * 365 }).map((day) => Date.UTC(2000, 0, 1) + day * DAY_MS),
    minutes: fc.uniqueArray(fc.integer({ min: 0, max: 59 }), { minLength: 1, maxLength: 3 }),
    hours: list(0, 23),
    weekdays: list(0, 6),
  });
  fc.assert(
    fc.property(wish, ({ zone, start, minutes, hours, weekdays }) => {
      const end = start + 9 * DAY_MS;
      const wallAt = createWallClock(zone);
      const changes = new Set<string>();
      const expected: string[] = [];
      let before = wallAt(start).getTime() - MINUTE_MS;
      for (let at = start; at <= end; at += MINUTE_MS) {
        const wall = wallAt(at);
        if (wall.getTime() - before !== MINUTE_MS)
          changes.add(new Date(at).toISOString().slice(0, 10));
        before = wall.getTime();
        const matches =
          minutes.includes(wall.getUTCMinutes()) &&
          (hours?.includes(wall.getUTCHours()) ?? true) &&
          (weekdays?.includes(wall.getUTCDay()) ?? true);
        if (matches && at > start) expected.push(new Date(at).toISOString());
      }
      const times = parseRunTimes(`${field(minutes)} ${field(hours)} * * ${field(weekdays)}`, zone);
      const found: string[] = [];
      for (let at = times.next(new Date(start)); at && at.getTime() <= end; at = times.next(at))
        found.push(at.toISOString());
      const nearChange = (at: string): boolean =>
        [...changes].some(
          (day) => Math.abs(Date.parse(day) + DAY_MS / 2 - Date.parse(at)) <= DAY_MS,
        );
      const quiet = (all: string[]) => all.filter((at) => !nearChange(at));
      assert.deepEqual(quiet(found), quiet(expected));
    }),
    { numRuns: 60 },
  );
});

test('another implementation of cron agrees on days of months and years', () => {
  const wish = fc.record({
    zone: fc.constantFrom('UTC', 'Asia/Tokyo', 'Europe/Berlin'),
    day: fc.integer({ min: 1, max: 28 }),
    month: fc.integer({ min: 1, max: 12 }),
    hour: fc.integer({ min: 4, max: 23 }),
    after: fc.date({
      min: new Date('2000-01-01'),
      max: new Date('2045-01-01'),
      noInvalidDate: true,
    }),
  });
  fc.assert(
    fc.property(wish, ({ zone, day, month, hour, after }) => {
      for (const cron of [
        `7 ${hour} ${day} * *`,
        `7 ${hour} ${day} ${month} *`,
        `7 ${hour} * ${month} *`,
      ]) {
        const other = CronExpressionParser.parse(cron, { tz: zone, currentDate: after });
        const found = listRunTimes(parseRunTimes(cron, zone), { after, count: 4 });
        assert.deepEqual(
          found.map((at) => at.toISOString()),
          Array.from({ length: 4 }, () => other.next().toDate().toISOString()),
          cron,
        );
      }
    }),
    { numRuns: 60 },
  );
});

test('a daily schedule runs once on every day of four years, in every zone', () => {
  for (const zone of ZONES) {
    const times = parseRunTimes('30 2 * * *', zone);
    let before = new Date('2012-01-01T00:00:00Z');
    for (const at of listRunTimes(times, { after: before, count: 365 * 4 })) {
      const hours = (at.getTime() - before.getTime()) / HOUR_MS;
      assert.ok(hours > 0 && hours <= 27, `${zone} ${at.toISOString()}`);
      before = at;
    }
    const days = (before.getTime() - Date.parse('2012-01-01T00:00:00Z')) / DAY_MS;
    assert.ok(Math.abs(days - 365 * 4) < 2, zone);
  }
});

test('however long the server was off, one run at most is due, and only when wanted', () => {
  const times = parseRunTimes('*/10 * * * *', 'UTC');
  const handledUntil = new Date('2026-01-01T00:00:00Z');
  const now = new Date('2026-01-01T05:18:00Z');
  const latest = new Date('2026-01-01T05:10:00Z');
  assert.deepEqual(findDueRun(times, { handledUntil, now, catchUp: true }), {
    run: latest,
    handledUntil: latest,
    missed: 30,
  });
  assert.deepEqual(findDueRun(times, { handledUntil, now, catchUp: false }), {
    run: undefined,
    handledUntil: latest,
    missed: 31,
  });
});

test('whatever the clock does, no run is due twice, and every one on time is due', () => {
  const wish = fc.record({
    cron: fc.constantFrom('*/5 * * * *', '@hourly', '30 2 * * *', '0 0 * * 1'),
    zone: fc.constantFrom(...ZONES),
    catchUp: fc.boolean(),
    steps: fc.array(
      fc.oneof(
        { weight: 8, arbitrary: fc.integer({ min: 1000, max: 2 * MINUTE_MS }) },
        { weight: 1, arbitrary: fc.integer({ min: -3 * DAY_MS, max: 3 * DAY_MS }) },
      ),
      { maxLength: 60 },
    ),
  });
  fc.assert(
    fc.property(wish, ({ cron, zone, catchUp, steps }) => {
      const times = parseRunTimes(cron, zone);
      let now = Date.parse('2026-03-28T23:58:00Z');
      let handledUntil = new Date(now);
      for (const step of steps) {
        now += step;
        const due = findDueRun(times, { handledUntil, now: new Date(now), catchUp });
        assert.ok(due.handledUntil >= handledUntil);
        if (due.run) {
          assert.ok(due.run > handledUntil && due.run.getTime() <= now);
          assert.equal(due.run, due.handledUntil);
        }
        const next = times.next(due.handledUntil);
        assert.ok(!next || next.getTime() > now || due.handledUntil.getTime() > now);
        const first = times.next(handledUntil);
        if (first && first.getTime() <= now && now - first.getTime() <= ON_TIME_MS)
          assert.ok(due.run, 'a run on time was left out');
        handledUntil = due.handledUntil;
      }
    }),
    { numRuns: 150 },
  );
});

test('jitter is the same for the same VM and run, within its limit, and spreads', () => {
  const at = new Date('2026-01-01T00:00:00Z');
  const delays = Array.from({ length: 300 }, (_, index) =>
    jitterFor({ scheduleId: 's', vmId: `vm-${index}`, at, maximumMs: HOUR_MS }),
  );
  assert.ok(delays.every((delay) => delay >= 0 && delay <= HOUR_MS));
  const minutes = Map.groupBy(delays, (delay) => Math.floor(delay / MINUTE_MS));
  assert.ok(Math.max(...[...minutes.values()].map((group) => group.length)) < 20);
  assert.equal(jitterFor({ scheduleId: 's', vmId: 'vm-7', at, maximumMs: HOUR_MS }), delays[7]);
  assert.equal(jitterFor({ scheduleId: 's', vmId: 'v', at, maximumMs: 0 }), 0);
});
