import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { GUEST_PATTERNS, planRun, UNIT_PATTERNS } from './test.ts';

const ROOT = path.resolve(import.meta.dirname, '..');

test('without patterns everything runs, checks included, guests last and one file at a time', () => {
  const { everything, runs } = planRun([], 2);
  assert.equal(everything, true);
  assert.deepEqual(runs[0]?.slice(-UNIT_PATTERNS.length), UNIT_PATTERNS);
  assert.deepEqual(runs[1]?.slice(-GUEST_PATTERNS.length), GUEST_PATTERNS);
  assert.ok(runs[1]?.includes('--test-concurrency=1'));
});

test('options stay before patterns, and patterns stand in for all tests', () => {
  const plan = planRun(['src/a.test.ts', '--test-name-pattern=x'], 2);
  assert.equal(plan.everything, false);
  assert.equal(plan.runs.length, 1);
  assert.deepEqual(plan.runs[0]?.slice(-2), ['--test-name-pattern=x', 'src/a.test.ts']);
});

test('an option alone still runs everything', () => {
  assert.equal(planRun(['--test-only'], 2).everything, true);
});

test('the number of unit test files at once follows the cores, within limits', () => {
  const concurrency = (cores: number): string | undefined =>
    planRun([], cores).runs[0]?.find((word) => word.startsWith('--test-concurrency'));
  assert.equal(concurrency(1), '--test-concurrency=1');
  assert.equal(concurrency(2), '--test-concurrency=2');
  assert.equal(concurrency(64), '--test-concurrency=4');
});

test('every test file of the project is covered', () => {
  const covered = new Set(globSync([...UNIT_PATTERNS, ...GUEST_PATTERNS], { cwd: ROOT }));
  const all = globSync('{src,test,scripts}/**/*.test.ts', {
    cwd: ROOT,
    exclude: (name) => name.includes('node_modules'),
  });
  assert.deepEqual(
    all.filter((file) => !covered.has(file)),
    [],
  );
});
