import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { sampleJob } from '../client/samples.test-suite.ts';
import { OperationError } from '../shared/errors.ts';
import type { CommandContext } from './command.ts';
import { formatExactTime, formatTime, parseExpiry, parseLabels, parseTime } from './formatting.ts';
import { createProgressView } from './progress-view.ts';
import { renderDetails, renderTable } from './table.ts';
import { fitText, plainText, textWidth } from './text-width.ts';
import { createTranslate } from './translate.ts';

const text = createTranslate('en');

test('the width of a text is what a terminal takes', () => {
  const table: readonly (readonly [string, number])[] = [
    ['abc', 3],
    ['仮想マシン', 10],
    ['ﾊﾝｶｸ', 4],
    ['ｆｕｌｌ', 8],
    ['e\u0301', 1],
    ['か\u3099', 2],
    ['👩‍💻', 2],
    ['한국', 4],
    ['└─ …', 4],
    ['', 0],
  ];
  for (const [sample, width] of table) assert.equal(textWidth(sample), width, sample);
});

test('a fitted text is never wider than asked, and whole if it fits', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.nat({ max: 30 }), (sample, width) => {
      const fitted = fitText(sample, width);
      assert.ok(textWidth(fitted) <= width);
      if (textWidth(sample) <= width) assert.equal(fitted, sample);
    }),
  );
});

test('no table is wider than the terminal while there is something to cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.string({ unit: 'grapheme' }), fc.string(), fc.string()), {
        minLength: 1,
        maxLength: 5,
      }),
      fc.integer({ min: 40, max: 120 }),
      (rows, width) => {
        const columns = [
          { title: 'A', shrinks: true },
          { title: 'B', shrinks: true },
          { title: 'C', shrinks: true, align: 'right' as const },
        ];
        for (const line of renderTable(columns, rows, width).split('\n'))
          assert.ok(textWidth(line) <= width);
      },
    ),
  );
});

test('control characters and direction marks never reach the terminal', () => {
  assert.equal(plainText('a\u001b]0;x\u0007b\u202ec\nd'), 'a?]0;x?b?c?d');
  assert.equal(
    renderDetails([
      ['名前', 'a\nb'],
      ['x', null],
      ['y', ''],
    ]),
    '名前  a\n      b',
  );
});

test('times are local, expiries relative or absolute', () => {
  const local = new Date(2026, 2, 1, 9, 5, 7);
  assert.equal(formatTime(local.toISOString()), '2026-03-01 09:05');
  assert.match(formatExactTime(local.toISOString()), /^2026-03-01 09:05:07 [+-]\d\d:\d\d$/);
  assert.equal(formatTime(null), '-');
  const now = new Date('2026-03-01T00:00:00.000Z');
  assert.equal(parseExpiry('12h', now, text), '2026-03-01T12:00:00.000Z');
  assert.equal(parseExpiry('2w', now, text), '2026-03-15T00:00:00.000Z');
  assert.equal(parseExpiry('none', now, text), null);
  assert.equal(parseExpiry('2026-04-01', now, text), new Date(2026, 3, 1).toISOString());
  for (const wrong of ['soon', '7', 'd', '2026-13-01', '1y', ''])
    assert.throws(() => parseExpiry(wrong, now, text), OperationError, wrong);
  assert.equal(parseTime('--since', '2026-03-01T09:30Z', text), '2026-03-01T09:30:00.000Z');
  assert.deepEqual(parseLabels(['a=b=c', 'd='], text), { a: 'b=c', d: '' });
  assert.throws(() => parseLabels(['=x'], text), OperationError);
});

test('plain progress comes at most every 2 s, and its last word is said', () => {
  const lines: string[] = [];
  let now = 0;
  const context = {
    json: false,
    text,
    terminal: { errors: { isTTY: false } },
    remark: (line: string) => lines.push(line),
  } as unknown as CommandContext;
  const view = createProgressView(context, () => now);
  const at = (timeMs: number, doneBytes: number) => {
    now = timeMs;
    view.show(
      sampleJob({
        progress: {
          phase: 'capture',
          doneBytes,
          totalBytes: 100,
          ratePerSecond: null,
          secondsLeft: null,
        },
      }),
    );
  };
  for (let timeMs = 0; timeMs <= 4500; timeMs += 100) at(timeMs, Math.floor(timeMs / 50));
  at(4600, 100);
  view.close();
  assert.deepEqual(lines, [
    'capture: 0% (0 B of 100 B)',
    'capture: 40% (40 B of 100 B)',
    'capture: 80% (80 B of 100 B)',
    'capture: 100% (100 B of 100 B)',
  ]);
});
