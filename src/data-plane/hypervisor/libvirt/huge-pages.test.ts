import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findGuestMemory } from './huge-pages.ts';

const MIB = 1024 * 1024;
const PAGE_BYTES = 2 * MIB;

interface Region {
  readonly range: string;
  readonly head?: string;
  readonly flags?: string;
  readonly rssKiB?: number;
  readonly hugeKiB?: number;
}

const region = (one: Region): string =>
  [
    `${one.range} ${one.head ?? 'rw-p 00000000 00:00 0'} `,
    `Rss:           ${one.rssKiB ?? 0} kB`,
    `AnonHugePages: ${one.hugeKiB ?? 0} kB`,
    `VmFlags: ${one.flags ?? 'rd wr mr mw me dd ac sd hg'} `,
  ].join('\n');

const found = (...regions: readonly Region[]) =>
  findGuestMemory(`${regions.map(region).join('\n')}\n`, PAGE_BYTES);

test('the memory that QEMU marked for huge pages is found, cut to whole ones', () => {
  assert.deepEqual(
    found(
      { range: '7f0000000000-7f0000400000', rssKiB: 4096, hugeKiB: 2048 },
      { range: '7f1000100000-7f10005ff000', rssKiB: 12 },
    ),
    [
      {
        start: 0x7f0000000000,
        end: 0x7f0000400000,
        residentBytes: 4 * MIB,
        hugeBytes: 2 * MIB,
      },
      { start: 0x7f1000200000, end: 0x7f1000400000, residentBytes: 12 * 1024, hugeBytes: 0 },
    ],
  );
});

test('what is not the memory of a guest, or too small, is left alone', () => {
  assert.deepEqual(
    found(
      { range: '7f0000000000-7f0000400000', flags: 'rd wr mr mw me ac sd' },
      { range: '7f0000000000-7f0000400000', head: 'rw-s 00000000 00:01 77 /memfd:ram (deleted)' },
      { range: '7f0000000000-7f0000400000', head: 'r--p 00000000 00:00 0' },
      { range: '7f0000000000-7f0000400000', head: 'rw-p 00000000 fe:00 77 /usr/lib/libc.so.6' },
      { range: '7f0000100000-7f0000300000' },
    ),
    [],
  );
  assert.deepEqual(findGuestMemory('', PAGE_BYTES), []);
  assert.deepEqual(findGuestMemory('\0\n7f0- rw-p', PAGE_BYTES), []);
});
