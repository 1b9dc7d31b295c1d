import assert from 'node:assert/strict';
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { backUpCatalog, restoreCatalog } from './catalog-backup.ts';
import { openCatalog, type Catalog } from './catalog.ts';

const NOW = new Date('2026-01-02T03:04:05.678Z');

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'catalog-backup-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

const mark = (catalog: Catalog, key: string): Promise<void> =>
  catalog.write(async (tx) => {
    await tx.insertInto('meta').values({ key, value: 'x' }).execute();
  });

const marksIn = async (databasePath: string): Promise<string[]> => {
  const catalog = await openCatalog({ path: databasePath });
  const rows = await catalog.read.selectFrom('meta').select('key').orderBy('key').execute();
  await catalog.close();
  return rows.map(({ key }) => key);
};

test('a backup of a catalog that is written to is whole, private, and never replaces a file', async (t) => {
  const folder = await temporaryFolder(t);
  const databasePath = path.join(folder, 'catalog.sqlite');
  const target = path.join(folder, 'copy.sqlite');
  const catalog = await openCatalog({ path: databasePath });
  await mark(catalog, 'before');
  const copying = backUpCatalog({ databasePath, target });
  for (let count = 0; count < 50; count += 1) await mark(catalog, `while ${count}`);
  await copying;
  await catalog.close();
  assert.equal((await stat(target)).mode & 0o777, 0o600);
  assert.ok((await marksIn(target)).includes('before'));
  await assert.rejects(backUpCatalog({ databasePath, target }), { code: 'name_taken' });
  const others = (await readdir(folder)).filter((name) => !name.startsWith('catalog.sqlite'));
  assert.deepEqual(others, ['copy.sqlite']);
});

test('a restored copy takes the place of the catalog, which stays beside it', async (t) => {
  const folder = await temporaryFolder(t);
  const databasePath = path.join(folder, 'catalog.sqlite');
  const source = path.join(folder, 'copy.sqlite');
  const catalog = await openCatalog({ path: databasePath });
  await mark(catalog, 'early');
  await backUpCatalog({ databasePath, target: source });
  await mark(catalog, 'late');
  await assert.rejects(restoreCatalog({ databasePath, source, now: NOW }), { code: 'wrong_state' });
  await catalog.close();
  const aside = await restoreCatalog({ databasePath, source, now: NOW });
  assert.equal(aside, `${databasePath}.20260102T030405Z`);
  assert.deepEqual(await marksIn(databasePath), ['early']);
  assert.deepEqual(await marksIn(aside), ['early', 'late']);
  assert.deepEqual(await marksIn(source), ['early']);
});

test('where no catalog was, a copy becomes it', async (t) => {
  const folder = await temporaryFolder(t);
  const source = path.join(folder, 'copy.sqlite');
  await (await openCatalog({ path: source })).close();
  const databasePath = path.join(folder, 'catalog.sqlite');
  assert.equal(await restoreCatalog({ databasePath, source, now: NOW }), null);
  assert.deepEqual(await marksIn(databasePath), []);
});

test('what is no whole catalog is refused, and the catalog stays as it is', async (t) => {
  const folder = await temporaryFolder(t);
  const databasePath = path.join(folder, 'catalog.sqlite');
  const catalog = await openCatalog({ path: databasePath });
  await mark(catalog, 'mine');
  await catalog.close();
  const before = await readFile(databasePath);
  const bad = path.join(folder, 'bad');
  const write = (sql: string): void => {
    const database = new DatabaseSync(bad);
    database.exec(sql);
    database.close();
  };
  const cases: readonly [name: string, code: string, make: () => Promise<void> | void][] = [
    ['not there', 'invalid_input', () => undefined],
    ['empty', 'invalid_input', async () => await writeFile(bad, '')],
    ['text', 'invalid_input', async () => await writeFile(bad, 'no database, '.repeat(1000))],
    ['cut off', 'invalid_input', async () => await writeFile(bad, before.subarray(0, 20_000))],
    ['of another program', 'invalid_input', () => write('CREATE TABLE notes (text)')],
    [
      'of a newer version',
      'catalog_too_new',
      () =>
        write(
          'CREATE TABLE schema_migrations (version); INSERT INTO schema_migrations VALUES (99)',
        ),
    ],
  ];
  for (const [name, code, make] of cases) {
    await rm(bad, { force: true });
    await make();
    await assert.rejects(restoreCatalog({ databasePath, source: bad, now: NOW }), { code }, name);
  }
  assert.deepEqual(await readFile(databasePath), before);
  await rm(bad, { force: true });
  await assert.rejects(backUpCatalog({ databasePath: bad, target: path.join(folder, 'x') }), {
    code: 'invalid_input',
  });
  assert.deepEqual(await readdir(folder), ['catalog.sqlite']);
});
