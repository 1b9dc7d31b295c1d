import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuditEventRow } from '../database/audit-events.ts';
import { checkChain, FIRST_PREVIOUS_HASH, hashOf, type KnownHead } from './audit-chain.ts';
import { CSV_HEADER, formatCsvRow, formatJsonLine, parseExport } from './audit-export.ts';

function makeChain(count: number, reason = 'because'): AuditEventRow[] {
  const events: AuditEventRow[] = [];
  for (let sequence = 1; sequence <= count; sequence += 1) {
    const unsealed = {
      sequence,
      at: new Date(Date.UTC(2026, 0, 1, 0, sequence)).toISOString(),
      actor: { id: 'a', name: 'Ann', kind: 'user' as const },
      onBehalfOf: null,
      sourceAddress: '192.0.2.1',
      action: `test.${sequence}`,
      resourceType: 'x',
      resourceId: null,
      resourceName: null,
      requestId: null,
      outcome: 'intent' as const,
      reason,
      details: { n: sequence },
      previousHash: events.at(-1)?.hash ?? FIRST_PREVIOUS_HASH,
    };
    events.push({ ...unsealed, hash: hashOf(unsealed) });
  }
  return events;
}

async function* piecesOf(text: string): AsyncGenerator<string> {
  for (let at = 0; at < text.length; at += 7) yield text.slice(at, at + 7);
}

const checkLines = async (lines: readonly string[], heads?: readonly KnownHead[]) =>
  await checkChain(parseExport(piecesOf(lines.join(''))), heads);

const headAt = (chain: readonly AuditEventRow[], sequence: number): KnownHead => {
  const event = chain[sequence - 1];
  assert.ok(event);
  return { hash: event.hash, sequence: null, at: event.at, where: `Manifest ${sequence}` };
};

test('an export verifies however it is cut into pieces, with the heads of manifests', async () => {
  const chain = makeChain(20);
  const report = await checkLines(chain.map(formatJsonLine), [headAt(chain, 5), headAt(chain, 5)]);
  assert.deepEqual(report, {
    intact: true,
    eventsChecked: 20,
    headHash: chain.at(-1)?.hash,
    headsChecked: 2,
    firstBroken: null,
  });
});

test('what was done to an export is named, with the number of the first record concerned', async () => {
  const lines = makeChain(8).map(formatJsonLine);
  const swapped = lines.toSpliced(3, 2, lines[4] ?? '', lines[3] ?? '');
  const cases: [readonly string[], number, string][] = [
    [lines.toSpliced(2, 1), 3, 'missing'],
    [lines.toSpliced(0, 1), 1, 'missing'],
    [swapped, 4, 'reordered'],
    [lines.toSpliced(4, 0, lines[1] ?? ''), 5, 'reordered'],
    [lines.with(5, (lines[5] ?? '').replace('because', 'becausf')), 6, 'altered'],
    [
      lines.with(5, (lines[5] ?? '').replace('{"sequence"', '{"note":1,"sequence"')),
      6,
      'unreadable',
    ],
    [lines.with(1, 'not JSON\n'), 2, 'unreadable'],
  ];
  for (const [changed, sequence, kind] of cases) {
    const { intact, firstBroken } = await checkLines(changed);
    assert.equal(intact, false);
    assert.deepEqual([firstBroken?.sequence, firstBroken?.kind], [sequence, kind]);
  }
});

test('a trail that ends too early is found by a head that is known from elsewhere', async () => {
  const chain = makeChain(8);
  const lines = chain.slice(0, 5).map(formatJsonLine);
  assert.equal((await checkLines(lines)).intact, true);
  for (const head of [headAt(chain, 7), { ...headAt(chain, 7), sequence: 7, at: null }]) {
    const { firstBroken } = await checkLines(lines, [headAt(chain, 2), head]);
    assert.deepEqual([firstBroken?.sequence, firstBroken?.kind], [6, 'truncated']);
  }
});

test('a history that was written anew is consistent in itself, and found by a manifest’s head', async () => {
  const chain = makeChain(8);
  const anew = makeChain(8, 'another reason');
  assert.equal((await checkLines(anew.map(formatJsonLine))).intact, true);
  const { firstBroken } = await checkLines(anew.map(formatJsonLine), [headAt(chain, 4)]);
  assert.deepEqual([firstBroken?.sequence, firstBroken?.kind], [1, 'rewritten']);
  assert.match(firstBroken?.reason ?? '', /Manifest 4/);
});

test('CSV follows RFC 4180, and no field is a formula', () => {
  const [event] = makeChain(1);
  assert.ok(event);
  const row = formatCsvRow({
    ...event,
    resourceName: '=HYPERLINK("http://example.org","x")',
    reason: 'two\nlines, and "quotes"',
    sourceAddress: null,
    actor: { ...event.actor, name: '@sum', id: '-1', kind: 'token' },
  });
  assert.ok(row.startsWith(`1,2026-01-01T00:01:00.000Z,'-1,'@sum,token,,,test.1,x,,`));
  assert.ok(row.includes(`"'=HYPERLINK(""http://example.org"",""x"")"`));
  assert.ok(row.includes('"two\nlines, and ""quotes"""'));
  assert.ok(row.endsWith('\r\n'));
  assert.match(CSV_HEADER, /^sequence,at,.*,hash\r\n$/);
});
