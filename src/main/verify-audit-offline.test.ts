import assert from 'node:assert/strict';
import { copyFile, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { formatJsonLine } from '../control-plane/audit/audit-export.ts';
import { appendAuditEvent } from '../control-plane/audit/audit-trail.ts';
import { listAuditEvents, readAuditHead } from '../control-plane/database/audit-events.ts';
import { openCatalog } from '../control-plane/database/catalog.ts';
import { verifyAuditOffline } from './verify-audit-offline.ts';

const { signal } = new AbortController();

async function makeTrail(t: TestContext): Promise<{ folder: string; file: string; head: string }> {
  const folder = await mkdtemp(path.join(tmpdir(), 'audit-file-'));
  t.after(() => rm(folder, { recursive: true }));
  const file = path.join(folder, 'catalog.db');
  const catalog = await openCatalog({ path: file });
  await catalog.write(async (tx) => {
    for (let n = 1; n <= 9; n += 1)
      await appendAuditEvent(tx, {
        at: new Date(Date.UTC(2026, 0, n)).toISOString(),
        actor: { id: 'a', name: 'Ann', kind: 'user' },
        action: `test.${n}`,
        resourceType: 'x',
        outcome: 'intent',
      });
  });
  const head = await readAuditHead(catalog.read);
  const events = await listAuditEvents(catalog.read, {}, { limit: 99, order: 'oldest' });
  await writeFile(path.join(folder, 'export.jsonl'), events.map(formatJsonLine).join(''));
  await catalog.close();
  return { folder, file, head: `${head?.sequence}:${head?.hash}` };
}

/** Whoever has the file in hand is stopped by no trigger. */
function alter(file: string, statement: string): void {
  const database = new DatabaseSync(file);
  for (const name of ['fixed', 'kept', 'in_order'])
    database.exec(`drop trigger audit_events_${name}`);
  database.exec(statement);
  database.close();
}

const COPY = (sequence: string) =>
  `insert into audit_events select ${sequence}, at, actor, actor_id, on_behalf_of, source_address,
    action, resource_type, resource_id, resource_name, request_id, outcome, reason, details,
    previous_hash, hash || 'x' from audit_events where sequence = 3`;

const ATTACKS: readonly [string, string, number, string][] = [
  ['altered', `update audit_events set action = 'nothing' where sequence = 4`, 4, 'altered'],
  ['deleted', 'delete from audit_events where sequence = 4', 4, 'missing'],
  [
    'swapped',
    `update audit_events set sequence = case sequence when 4 then 5000 else 4 end
      where sequence in (4, 5);
     update audit_events set sequence = 5 where sequence = 5000`,
    4,
    'reordered',
  ],
  ['appended', COPY('10'), 10, 'altered'],
  ['cut off', 'delete from audit_events where sequence > 6', 7, 'truncated'],
];
for (const [what, statement, sequence, kind] of ATTACKS)
  test(`rows ${what} in the database file are named`, async (t) => {
    const { file, head } = await makeTrail(t);
    assert.equal((await verifyAuditOffline({ database: file, head }, signal)).intact, true);
    alter(file, statement);
    const { intact, firstBroken } = await verifyAuditOffline({ database: file, head }, signal);
    assert.equal(intact, false);
    assert.deepEqual([firstBroken?.sequence, firstBroken?.kind], [sequence, kind]);
  });

test('a copy is neither changed nor given files of its own', async (t) => {
  const { folder, file } = await makeTrail(t);
  const evidence = path.join(folder, 'evidence');
  await copyFile(file, evidence);
  const before = await readdir(folder);
  assert.equal((await verifyAuditOffline({ database: evidence }, signal)).eventsChecked, 9);
  assert.deepEqual(await readdir(folder), before);
});

test('an export verifies without its database, and against a head that was kept', async (t) => {
  const { folder, head } = await makeTrail(t);
  const file = path.join(folder, 'export.jsonl');
  const report = await verifyAuditOffline({ export: file, head }, signal);
  assert.deepEqual([report.intact, report.eventsChecked, report.headsChecked], [true, 9, 1]);
});

test('what is no trail is told as such', async (t) => {
  const { folder } = await makeTrail(t);
  const other = path.join(folder, 'other');
  await writeFile(other, 'no database'.repeat(200));
  for (const source of [
    { database: path.join(folder, 'nothing') },
    { database: folder },
    { export: path.join(folder, 'nothing') },
    { database: other, head: 'wrong' },
  ])
    await assert.rejects(verifyAuditOffline(source, signal), { code: 'invalid_input' });
  await assert.rejects(verifyAuditOffline({ database: other }, signal), /not a SQLite database/);
});
