import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SetupError } from '../setup/run-command.ts';
import { longestGapMs } from './guest-watch.ts';
import { measure, median } from './measuring.ts';
import { parseOptions, PARTS } from './options.ts';

test('the longest gap is looked for in a range, and what belongs to the pause is left out of it', () => {
  const beats = [0, 50, 100, 400, 450, 700, 750];
  assert.equal(longestGapMs(beats, { fromMs: 0, toMs: 750 }), 300);
  assert.equal(longestGapMs(beats, { fromMs: 0, toMs: 750 }, { fromMs: 150, toMs: 350 }), 250);
  assert.equal(longestGapMs(beats, { fromMs: 460, toMs: 470 }), 250);
  assert.equal(longestGapMs([10], { fromMs: 0, toMs: 100 }), null);
});

test('the median of an even number of runs lies between the middle ones', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
});

test('CPU time of programs that were run is counted', async () => {
  const { runCommand } = await import('../setup/run-command.ts');
  const cost = await measure(process.pid, async () => {
    await runCommand('sh', ['-c', 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done']);
  });
  assert.ok(cost.cpuMs >= 20, `${cost.cpuMs} ms`);
});

test('parts and options are parsed, and nonsense is refused', () => {
  assert.deepEqual(parseOptions([]).parts, PARTS);
  assert.deepEqual(parseOptions(['pause', '--runs', '7']), {
    parts: ['pause'],
    runs: 7,
    quick: false,
    write: true,
    only: [],
  });
  assert.equal(parseOptions(['--quick']).write, false);
  assert.equal(parseOptions(['--quick']).runs, 1);
  assert.throws(() => parseOptions(['speed']), SetupError);
  assert.throws(() => parseOptions(['--runs', '0']), SetupError);
});
