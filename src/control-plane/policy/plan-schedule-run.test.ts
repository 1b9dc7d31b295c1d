import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import {
  chooseCapturesToStart,
  healthAfterRun,
  planScheduleRun,
  type PlannedCapture,
  type SchedulableVm,
  type ScheduleTerms,
} from './plan-schedule-run.ts';

const AT = new Date('2026-05-01T00:00:00.000Z');

const vm = (id: string, more: Partial<SchedulableVm> = {}): SchedulableVm => ({
  id,
  name: `name of ${id}`,
  hostId: 'h1',
  labels: {},
  present: true,
  state: 'running',
  ...more,
});

const terms = (more: Partial<ScheduleTerms> = {}): ScheduleTerms => ({
  id: 's',
  selection: { kind: 'everything' },
  offVms: 'skip',
  jitterMs: 0,
  ...more,
});

const plan = (schedule: ScheduleTerms, vms: SchedulableVm[], unfinished: string[] = []) =>
  planScheduleRun({ schedule, at: AT, vms, unfinished: new Set(unfinished) });

test('a label covers whoever has it at the time of the run', () => {
  const schedule = terms({ selection: { kind: 'label', key: 'tier', value: 'db' } });
  const vms = [vm('a', { labels: { tier: 'db' } }), vm('b', { labels: { tier: 'web' } }), vm('c')];
  assert.deepEqual(
    plan(schedule, vms).captures.map(({ vmId }) => vmId),
    ['a'],
  );
});

test('named VMs are covered and no others', () => {
  const schedule = terms({ selection: { kind: 'vms', vmIds: ['c', 'x'] } });
  const { captures, skipped } = plan(schedule, [vm('a'), vm('c')]);
  assert.deepEqual([captures.map(({ vmId }) => vmId), skipped], [['c'], []]);
});

test('what is left out is told with the reason', () => {
  const vms = [
    vm('gone', { present: false }),
    vm('off', { state: 'off' }),
    vm('crashed', { state: 'crashed' }),
    vm('slow'),
    vm('fine'),
  ];
  const { captures, skipped } = plan(terms(), vms, ['slow']);
  assert.deepEqual(
    captures.map(({ vmId }) => vmId),
    ['fine'],
  );
  assert.deepEqual(
    skipped.map(({ vmId, code }) => [vmId, code]),
    [
      ['gone', 'gone'],
      ['off', 'off'],
      ['crashed', 'crashed'],
      ['slow', 'overlap'],
    ],
  );
  assert.ok(skipped.every(({ reason }) => reason.length > 10));
});

test('VMs that are off are captured when the schedule says so', () => {
  const { captures } = plan(terms({ offVms: 'capture' }), [vm('off', { state: 'off' })]);
  assert.equal(captures.length, 1);
});

const capture = (scheduleId: string, vmId: string, hostId = 'h1'): PlannedCapture => ({
  scheduleId,
  vmId,
  vmName: vmId,
  hostId,
  startsAt: AT.toISOString(),
});

test('a small schedule is not held up by a large one', () => {
  const waiting = [
    ...Array.from({ length: 100 }, (_, index) => capture('large', `a${index}`)),
    capture('small', 'z'),
  ];
  const started = chooseCapturesToStart({
    waiting,
    running: [],
    limits: { perHost: 2, perSchedule: new Map() },
    now: AT,
  });
  assert.deepEqual(
    new Set(started.map(({ scheduleId }) => scheduleId)),
    new Set(['large', 'small']),
  );
});

const somewhere = fc.record({
  scheduleId: fc.constantFrom('s1', 's2', 's3'),
  hostId: fc.constantFrom('h1', 'h2'),
  vm: fc.integer({ min: 0, max: 8 }),
  minute: fc.integer({ min: -30, max: 30 }),
});

test('limits hold, nothing starts early or twice, and no place stays empty without need', () => {
  const world = fc.record({
    waiting: fc.uniqueArray(somewhere, {
      selector: ({ scheduleId, hostId, vm: number }) => `${scheduleId} ${hostId} ${number}`,
      maxLength: 30,
    }),
    running: fc.uniqueArray(somewhere, {
      selector: ({ hostId, vm: number }) => `${hostId} ${number}`,
      maxLength: 4,
    }),
    perHost: fc.integer({ min: 1, max: 4 }),
    limit: fc.integer({ min: 1, max: 4 }),
  });
  fc.assert(
    fc.property(world, ({ waiting, running, perHost, limit }) => {
      const toCapture = (one: (typeof waiting)[number]): PlannedCapture => ({
        ...capture(one.scheduleId, `${one.hostId}-${one.vm}`, one.hostId),
        startsAt: new Date(AT.getTime() + one.minute * 60_000).toISOString(),
      });
      const before = running.map(toCapture);
      const asked = waiting.map(toCapture);
      const started = chooseCapturesToStart({
        waiting: asked,
        running: before,
        limits: { perHost, perSchedule: new Map([['s1', limit]]) },
        now: AT,
      });
      const all = [...before, ...started];
      const count = (list: PlannedCapture[], key: 'hostId' | 'scheduleId', value: string) =>
        list.filter((one) => one[key] === value).length;
      for (const one of started) {
        assert.ok(one.startsAt <= AT.toISOString());
        assert.ok(count(all, 'hostId', one.hostId) <= perHost);
        if (one.scheduleId === 's1') assert.ok(count(all, 'scheduleId', 's1') <= limit);
        assert.equal(all.filter(({ vmId }) => vmId === one.vmId).length, 1);
      }
      for (const one of asked.filter((other) => !started.includes(other))) {
        const isHeld =
          one.startsAt > AT.toISOString() ||
          count(all, 'hostId', one.hostId) >= perHost ||
          (one.scheduleId === 's1' && count(all, 'scheduleId', 's1') >= limit) ||
          all.some(({ vmId }) => vmId === one.vmId);
        assert.ok(isHeld, 'a capture waits although there is room');
      }
    }),
    { numRuns: 300 },
  );
});

test('a schedule pauses after so many failed runs in a row, and one good run begins anew', () => {
  const run = (outcomes: boolean[], pauseAfter: number | null) =>
    outcomes.reduce((health, failed) => healthAfterRun(health, { failed, pauseAfter }), {
      failedRuns: 0,
      paused: false,
    });
  assert.equal(run([true, true, false, true, true], 3).paused, false);
  assert.equal(run([true, true, true, false], 3).paused, true);
  assert.equal(run([true, true, true, true], null).paused, false);
});
