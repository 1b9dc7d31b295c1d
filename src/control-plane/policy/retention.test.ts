import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createPeriodNamer, type Period } from './periods.ts';
import {
  decideRetention,
  type RetainedSnapshot,
  type RetentionQuestion,
  type RetentionRule,
  type RetentionRules,
} from './retention.ts';

const HOUR_MS = 3600 * 1000;
const DAY_MS = 24 * HOUR_MS;

const snapshot = (at: string, more: Partial<RetainedSnapshot> = {}): RetainedSnapshot => ({
  id: at,
  name: `web_${at}`,
  vmId: 'web',
  scheduleId: 's',
  state: 'active',
  at,
  pinned: false,
  locked: false,
  busy: false,
  ...more,
});

const question = (
  rules: RetentionRules,
  snapshots: readonly RetainedSnapshot[],
  more: Partial<RetentionQuestion> = {},
): RetentionQuestion => ({ scheduleId: 's', timeZone: 'UTC', rules, snapshots, ...more });

const idsWith = (asked: RetentionQuestion, fate: string): string[] =>
  decideRetention(asked)
    .filter((verdict) => verdict.fate === fate)
    .map(({ id }) => id)
    .toSorted();

const daily = (count: number): RetainedSnapshot[] =>
  Array.from({ length: count }, (_, day) =>
    snapshot(new Date(Date.UTC(2026, 0, 1) + day * DAY_MS).toISOString()),
  );

test('no rule removes nothing', () => {
  assert.deepEqual(idsWith(question({}, daily(40)), 'removed'), []);
});

test('a rule of zero keeps nothing, which is a rule', () => {
  assert.equal(idsWith(question({ last: 0 }, daily(4)), 'removed').length, 4);
});

test('N means N after the run: the coming one is counted before it is there', () => {
  const upcoming = { at: '2026-02-01T00:00:00.000Z', vmIds: ['web'] };
  assert.equal(idsWith(question({ last: 3 }, daily(3), { upcoming }), 'kept').length, 2);
  assert.equal(idsWith(question({ daily: 7 }, daily(10), { upcoming }), 'kept').length, 6);
});

test('the only good snapshot stays until the next one is there', () => {
  const upcoming = { at: '2026-02-01T00:00:00.000Z', vmIds: ['web'] };
  const [only] = daily(1);
  assert.ok(only);
  assert.deepEqual(idsWith(question({ last: 1 }, [only], { upcoming }), 'removed'), []);
  const next = snapshot('2026-02-01T00:00:00.000Z');
  assert.deepEqual(idsWith(question({ last: 1 }, [only, next]), 'removed'), [only.id]);
});

test('periods without a snapshot do not count', () => {
  const sparse = ['2020-03-01', '2022-03-01', '2025-03-01', '2026-01-01'].map((day) =>
    snapshot(`${day}T00:00:00.000Z`),
  );
  assert.deepEqual(idsWith(question({ yearly: 3 }, sparse), 'removed'), [sparse[0]?.id]);
});

test('weeks are ISO weeks of the zone, and days are days of the zone', () => {
  const weekOf = (day: string) => createPeriodNamer('UTC')('weekly', new Date(`${day}T12:00:00Z`));
  assert.equal(weekOf('2021-01-03'), '2020-W53');
  assert.equal(weekOf('2021-01-04'), '2021-W01');
  assert.equal(weekOf('2024-12-30'), '2025-W01');
  assert.equal(weekOf('2026-12-31'), '2026-W53');
  const at = new Date('2026-01-01T16:00:00Z');
  assert.equal(createPeriodNamer('Asia/Tokyo')('daily', at), '2026-01-02');
  assert.equal(createPeriodNamer('America/New_York')('daily', at), '2026-01-01');
});

test('the hour that comes twice in autumn is two hours', () => {
  const nameOf = createPeriodNamer('Europe/Berlin');
  const names = ['00:30', '01:30'].map((time) =>
    nameOf('hourly', new Date(`2026-10-25T${time}:00Z`)),
  );
  assert.notEqual(names[0], names[1]);
});

test('made by hand, by another schedule, pinned, locked, damaged: neither counted nor removed', () => {
  const others = [
    { scheduleId: null },
    { scheduleId: 'other' },
    { pinned: true },
    { locked: true },
    { state: 'damaged' },
    { state: 'creating' },
  ] as const;
  for (const other of others) {
    const own = daily(3);
    const strange = snapshot('2026-03-01T00:00:00.000Z', other);
    const asked = question({ last: 2 }, [...own, strange]);
    assert.deepEqual(idsWith(asked, 'ignored'), [strange.id]);
    assert.deepEqual(idsWith(asked, 'removed'), [own[0]?.id]);
  }
});

test('a failed one goes once a later one succeeded, and never counts', () => {
  const [first, second] = daily(2);
  assert.ok(first && second);
  const failed = { state: 'failed' } as const;
  assert.deepEqual(idsWith(question({ last: 1 }, [{ ...first, ...failed }, second]), 'removed'), [
    first.id,
  ]);
  assert.deepEqual(
    idsWith(question({ last: 1 }, [first, { ...second, ...failed }]), 'removed'),
    [],
  );
});

test('what is worked with stays this time', () => {
  const [first, second] = daily(2);
  assert.ok(first && second);
  assert.deepEqual(
    idsWith(question({ last: 1 }, [{ ...first, busy: true }, second]), 'removed'),
    [],
  );
});

test('each snapshot is named with all rules that keep it', () => {
  const [newest] = decideRetention(question({ last: 1, weekly: 1, yearly: 1 }, daily(3)));
  assert.deepEqual(newest?.keptBy, [
    { rule: 'last', period: null },
    { rule: 'weekly', period: '2026-W01' },
    { rule: 'yearly', period: '2026' },
  ]);
  assert.equal(
    newest?.explanation,
    'Kept by keep-last, keep-weekly (2026-W01), keep-yearly (2026).',
  );
});

// The oracle counts, for each snapshot by itself, how many periods are newer than its own.

const formats = new Map(
  ['UTC', 'Asia/Tokyo', 'Europe/Berlin', 'America/New_York'].map((timeZone) => [
    timeZone,
    new Intl.DateTimeFormat('sv-SE', { timeZone, dateStyle: 'short', timeStyle: 'medium' }),
  ]),
);

function wallOf(at: string, zone: string): Date {
  const text = formats.get(zone)?.format(new Date(at)) ?? '';
  return new Date(`${text.replace(' ', 'T')}Z`);
}

function startOfPeriod(period: Period, at: string, zone: string): number {
  const wall = wallOf(at, zone);
  const [year, month, day] = [wall.getUTCFullYear(), wall.getUTCMonth(), wall.getUTCDate()];
  switch (period) {
    case 'hourly':
      // The start of a wall-clock hour as an instant tells the two equal hours of autumn apart.
      return Date.parse(at) - (wall.getTime() % HOUR_MS) - (Date.parse(at) % 1000);
    case 'daily':
      return Date.UTC(year, month, day);
    case 'weekly': {
      let monday = Date.UTC(year, month, day);
      while (new Date(monday).getUTCDay() !== 1) monday -= DAY_MS;
      return monday;
    }
    case 'monthly':
      return Date.UTC(year, month, 1);
    case 'yearly':
      return Date.UTC(year, 0, 1);
    default:
      return period satisfies never;
  }
}

function oracleKeeps(
  rule: RetentionRule,
  count: number,
  one: RetainedSnapshot,
  world: { all: readonly RetainedSnapshot[]; zone: string },
): boolean {
  const newer = world.all.filter((other) => Date.parse(other.at) > Date.parse(one.at));
  if (rule === 'last') return newer.length < count;
  const own = startOfPeriod(rule, one.at, world.zone);
  const periods = new Set(newer.map(({ at }) => startOfPeriod(rule, at, world.zone)));
  return !periods.has(own) && periods.size < count;
}

const RULES = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const;
const count = fc.option(fc.integer({ min: 0, max: 6 }), { nil: undefined });
const world = fc.record({
  rules: fc.record({
    last: count,
    hourly: count,
    daily: count,
    weekly: count,
    monthly: count,
    yearly: count,
  }),
  zone: fc.constantFrom('UTC', 'Asia/Tokyo', 'Europe/Berlin', 'America/New_York'),
  snapshots: fc
    .uniqueArray(
      fc.oneof(
        fc.integer({ min: 0, max: 4 * 365 * 24 * 2 }),
        // Around both changes of the clock of one year.
        fc.integer({ min: 0, max: 200 }).map((half) => 4224 + half),
        fc.integer({ min: 0, max: 200 }).map((half) => 14_304 + half),
      ),
      { maxLength: 60 },
    )
    .map((halfHours) =>
      halfHours.map((half) =>
        snapshot(new Date(Date.UTC(2023, 0, 1) + half * (HOUR_MS / 2)).toISOString()),
      ),
    ),
});

test('an oracle that looks at each snapshot by itself agrees, over years and changes of the clock', () => {
  fc.assert(
    fc.property(world, ({ rules, zone, snapshots }) => {
      const verdicts = decideRetention(question(rules, snapshots, { timeZone: zone }));
      assert.equal(verdicts.length, snapshots.length);
      const byId = new Map(verdicts.map((verdict) => [verdict.id, verdict]));
      for (const one of snapshots) {
        const expected = RULES.filter((rule) =>
          oracleKeeps(rule, rules[rule] ?? 0, one, { all: snapshots, zone }),
        );
        const verdict = byId.get(one.id);
        assert.deepEqual(
          verdict?.keptBy.map(({ rule }) => rule),
          expected,
          one.at,
        );
        const isKept = expected.length > 0 || RULES.every((rule) => rules[rule] === undefined);
        assert.equal(verdict.fate, isKept ? 'kept' : 'removed');
      }
    }),
    { numRuns: 200 },
  );
});

test('removing what goes makes nothing else go, and the order of rows does not matter', () => {
  fc.assert(
    fc.property(world, fc.infiniteStream(fc.nat()), ({ rules, zone, snapshots }, noise) => {
      const asked = question(rules, snapshots, { timeZone: zone });
      const gone = new Set(idsWith(asked, 'removed'));
      const left = snapshots.filter(({ id }) => !gone.has(id));
      assert.deepEqual(idsWith({ ...asked, snapshots: left }, 'removed'), []);
      const shuffled = snapshots
        .map((one) => ({ one, key: noise.next().value ?? 0 }))
        .toSorted((one, other) => one.key - other.key)
        .map(({ one }) => one);
      assert.deepEqual(idsWith({ ...asked, snapshots: shuffled }, 'removed'), [...gone].toSorted());
    }),
    { numRuns: 100 },
  );
});
