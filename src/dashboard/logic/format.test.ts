import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFormat, localeFor } from './format.ts';

const english = createFormat('en-GB', 'Asia/Tokyo');
const japanese = createFormat('ja-JP', 'Asia/Tokyo');

test('sizes have three digits that matter, in binary units', () => {
  const cases = [
    [0, '0 B'],
    [1023, '1,023 B'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [1024 ** 3 * 12.34, '12.3 GiB'],
    [1024 ** 4 * 1500, '1.5 PiB'],
    [Number.MAX_SAFE_INTEGER, '8 PiB'],
  ] as const;
  for (const [bytes, text] of cases) assert.equal(english.bytes(bytes), text);
});

test('durations keep two units', () => {
  assert.equal(english.duration(0), '0 ms');
  assert.equal(english.duration(4.13), '4.1 ms');
  assert.equal(english.duration(850), '850 ms');
  assert.equal(english.duration(65_000), '1 min 5 secs');
  assert.equal(english.duration(3_600_000), '1 hr');
  assert.equal(japanese.duration(90_061_000), '1 日 1 時間');
});

test('times are the reader’s own', () => {
  const at = '2026-11-24T00:30:00.000Z';
  assert.equal(english.time(at), '24 Nov 2026, 09:30');
  assert.equal(japanese.time(at), '2026/11/24 9:30');
  assert.equal(english.ago(at, new Date('2026-11-24T02:30:00Z')), '2 hours ago');
  assert.equal(japanese.ago(at, new Date('2026-11-17T00:30:00Z')), '7 日後');
});

test('the regional variant of the chosen language is taken from the browser', () => {
  assert.equal(localeFor('en', ['ja', 'en-GB', 'en-US']), 'en-GB');
  assert.equal(localeFor('ja', ['en-GB']), 'ja-JP');
  assert.equal(localeFor('en', ['de-DE']), 'en');
});
