import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import * as fc from 'fast-check';
import { sql } from 'kysely';
import { openCatalog, type Catalog } from '../database/catalog.ts';
import { appendAuditEvent, auditHeadHash, verifyAuditChain } from './audit-trail.ts';
import { canonicalJson } from './canonical-json.ts';

const ACTOR = { id: 'a', name: 'Ann', kind: 'user' } as const;
const AT = '2026-01-02T03:04:05.678Z';

async function openTemporary(t: TestContext): Promise<Catalog> {
  const folder = await mkdtemp(path.join(tmpdir(), 'audit-'));
  const catalog = await openCatalog({ path: path.join(folder, 'catalog.db') });
  t.after(async () => {
    await catalog.close();
    await rm(folder, { recursive: true });
  });
  return catalog;
}

const append = (catalog: Catalog, action: string, details = {}) =>
  catalog.write((tx) =>
    appendAuditEvent(tx, {
      at: AT,
      actor: ACTOR,
      action,
      resourceType: 'snapshot',
      outcome: 'intent',
      details,
    }),
  );

/** Somebody with the file in hand is not stopped by triggers; the chain must tell. */
async function tamper(catalog: Catalog, statement: string): Promise<void> {
  await catalog.write(async (tx) => {
    for (const trigger of ['fixed', 'kept', 'in_order'])
      await sql.raw(`drop trigger if exists audit_events_${trigger}`).execute(tx);
    await sql.raw(statement).execute(tx);
  });
}

test('an empty trail is intact', async (t) => {
  const catalog = await openTemporary(t);
  assert.deepEqual(await verifyAuditChain(catalog.read), {
    intact: true,
    eventsChecked: 0,
    headHash: null,
    headsChecked: 0,
    firstBroken: null,
  });
});

test('a chain over several pages verifies, and its head is what manifests carry', async (t) => {
  const catalog = await openTemporary(t);
  await catalog.write(async (tx) => {
    for (let n = 0; n < 1100; n += 1)
      await appendAuditEvent(tx, {
        at: AT,
        actor: ACTOR,
        action: `test.${n}`,
        resourceType: 'x',
        outcome: 'succeeded',
      });
  });
  const verification = await verifyAuditChain(catalog.read);
  assert.equal(verification.intact, true);
  assert.equal(verification.eventsChecked, 1100);
  assert.equal(verification.headHash, await auditHeadHash(catalog.read));
});

const TAMPERINGS: readonly [string, string, number][] = [
  ['a changed text', `update audit_events set reason = 'x' where sequence = 3`, 3],
  [
    'a changed actor',
    `update audit_events set actor = '{"id":"b","name":"B","kind":"user"}' where sequence = 2`,
    2,
  ],
  ['a changed detail', `update audit_events set details = '{"n":9}' where sequence = 4`, 4],
  ['unreadable JSON', `update audit_events set actor = '5' where sequence = 4`, 4],
  ['a removed record', `delete from audit_events where sequence = 3`, 3],
  ['a removed first record', `delete from audit_events where sequence = 1`, 1],
  [
    'two records swapped',
    `update audit_events set sequence = case sequence when 2 then 30 else 2 end where sequence in (2, 3)`,
    2,
  ],
  ['another hash', `update audit_events set hash = '0' where sequence = 5`, 5],
];
for (const [what, statement, sequence] of TAMPERINGS) {
  test(`verification names the first broken link after ${what}`, async (t) => {
    const catalog = await openTemporary(t);
    for (let n = 1; n <= 5; n += 1) await append(catalog, `test.${n}`, { n });
    await tamper(catalog, statement);
    const { intact, firstBroken } = await verifyAuditChain(catalog.read);
    assert.equal(intact, false);
    assert.equal(firstBroken?.sequence, sequence);
  });
}

test('the catalog refuses to change, delete, replace or insert audit events out of turn', async (t) => {
  const catalog = await openTemporary(t);
  for (let n = 1; n <= 3; n += 1) await append(catalog, `test.${n}`);
  const columns =
    'sequence, at, actor, actor_id, action, resource_type, outcome, details, previous_hash, hash';
  const row = (sequence: number, hash: string) =>
    `values (${sequence}, '', '{}', '', '', '', 'denied', '{}', '', ${hash})`;
  for (const statement of [
    `update audit_events set reason = 'x'`,
    `delete from audit_events`,
    `insert or replace into audit_events (${columns}) ${row(2, `'h'`)}`,
    `insert or replace into audit_events (${columns}) ${row(4, `(select hash from audit_events where sequence = 1)`)}`,
    `insert into audit_events (${columns}) ${row(9, `'h'`)}`,
  ])
    await assert.rejects(
      catalog.write((tx) => sql.raw(statement).execute(tx)),
      /audit events/,
      statement,
    );
  assert.equal((await verifyAuditChain(catalog.read)).eventsChecked, 3);
});

test('whatever text is recorded, the chain verifies after a round trip through the catalog', async (t) => {
  const catalog = await openTemporary(t);
  const text = fc.string({ unit: 'binary', maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(text, text, fc.jsonValue(), async (name, reason, value) => {
      await catalog.write((tx) =>
        appendAuditEvent(tx, {
          at: AT,
          actor: { ...ACTOR, name },
          action: 'test',
          resourceType: 'x',
          resourceName: name,
          outcome: 'failed',
          reason: `${reason}\ud800`,
          details: { value: structuredClone(value) as string },
        }),
      );
      const { intact, firstBroken } = await verifyAuditChain(catalog.read);
      assert.ok(intact, JSON.stringify(firstBroken));
    }),
    { numRuns: 60 },
  );
});

test('canonical JSON does not depend on the order of keys', () => {
  assert.equal(
    canonicalJson({ b: [1, { d: null, c: 'x' }], a: true }),
    '{"a":true,"b":[1,{"c":"x","d":null}]}',
  );
});
