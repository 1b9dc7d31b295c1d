import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { openCatalog } from '../control-plane/database/catalog.ts';
import { backUpWhenDue, type BackupPlan } from './catalog-backups.ts';

const HOUR_MS = 3_600_000;

async function prepare(
  t: TestContext,
): Promise<{ plan: BackupPlan; passHours: (count: number) => void }> {
  const base = await mkdtemp(path.join(tmpdir(), 'catalog-backups-'));
  t.after(() => rm(base, { recursive: true }));
  const databasePath = path.join(base, 'catalog.sqlite');
  await (await openCatalog({ path: databasePath })).close();
  let nowMs = Date.parse('2026-01-02T03:04:05.678Z');
  const clock = { now: () => new Date(nowMs), monotonicMs: () => nowMs };
  const plan = { databasePath, folder: path.join(base, 'backups'), everyHours: 24, keep: 2, clock };
  return { plan, passHours: (count) => void (nowMs += count * HOUR_MS) };
}

test('a backup is made when the newest is old enough, and only so many are kept', async (t) => {
  const { plan, passHours } = await prepare(t);
  assert.ok(await backUpWhenDue(plan));
  const foreign = path.join(plan.folder, 'notes.txt');
  await writeFile(foreign, 'mine');
  passHours(23);
  assert.equal(await backUpWhenDue(plan), null);
  for (let day = 0; day < 3; day += 1) {
    passHours(25);
    assert.ok(await backUpWhenDue(plan));
  }
  assert.deepEqual((await readdir(plan.folder)).toSorted(), [
    'catalog-20260105T040405Z.sqlite',
    'catalog-20260106T050405Z.sqlite',
    'notes.txt',
  ]);
});

test('a clock that was ahead once does not stop the backups', async (t) => {
  const { plan, passHours } = await prepare(t);
  passHours(10_000);
  assert.ok(await backUpWhenDue(plan));
  passHours(-10_000);
  assert.ok(await backUpWhenDue(plan));
});
