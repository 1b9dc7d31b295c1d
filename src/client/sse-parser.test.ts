import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createSseParser } from './sse-parser.ts';

const WIRE =
  ': comment\nid: 7\nevent: changed\ndata: {"a":\ndata: 1}\nretry: 1500\n\ndata\n\nid: 8\n\n';

test('messages come out the same however the text is cut', () => {
  const whole = createSseParser().push(WIRE);
  assert.deepEqual(whole, [
    { id: '7', event: 'changed', data: '{"a":\n1}' },
    { id: '7', event: 'message', data: '' },
  ]);
  fc.assert(
    fc.property(
      fc.array(fc.nat({ max: WIRE.length })),
      fc.constantFrom('\n', '\r\n', '\r'),
      (cuts, newline) => {
        const text = WIRE.replaceAll('\n', newline);
        const places = [...cuts.toSorted((a, b) => a - b), text.length];
        const parser = createSseParser();
        let from = 0;
        const got = places.flatMap((to) => {
          const part = text.slice(from, to);
          from = Math.max(from, to);
          return parser.push(part);
        });
        // A trailing bare CR may still become CRLF, so its line stays open.
        const ended = newline === '\r' ? [...got, ...parser.push(':')] : got;
        assert.deepEqual(ended, whole);
      },
    ),
  );
});

test('retry is remembered; an endless event is refused', () => {
  const parser = createSseParser();
  parser.push(WIRE);
  assert.equal(parser.retryMs(), 1500);
  assert.throws(() => createSseParser().push(`data: ${'x'.repeat(300_000)}`), /without end/);
  const many = createSseParser();
  assert.throws(() => {
    for (let line = 0; line < 400; line += 1) many.push(`data: ${'x'.repeat(1000)}\n`);
  }, /without end/);
});
