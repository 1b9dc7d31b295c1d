import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { sql } from 'kysely';
import { OperationError } from '../../shared/errors.ts';
import { newId } from '../../shared/ids.ts';
import { openCatalog, type Catalog } from './catalog.ts';
import { reportHost } from './hosts.ts';
import {
  activateSnapshot,
  editSnapshot,
  findSnapshot,
  insertSnapshot,
  setSnapshotState,
} from './snapshots.ts';
import { listSnapshots } from './snapshot-list.ts';
import { isUniqueViolation } from './sqlite-dialect.ts';
import { findVm, listVms, markAbsentVms, reportVm } from './vms.ts';

const AT = '2026-01-02T03:04:05.678Z';
const HOST_ID = '11111111-1111-4111-8111-111111111111';
const VM_ID = '22222222-2222-4222-8222-222222222222';
const SYSTEM = { id: 'system', name: 'Komadori', kind: 'system' } as const;

async function temporaryPath(t: TestContext): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'catalog-'));
  t.after(() => rm(folder, { recursive: true }));
  return path.join(folder, 'catalog.db');
}

async function openTemporary(t: TestContext): Promise<Catalog> {
  const catalog = await openCatalog({ path: await temporaryPath(t) });
  t.after(() => catalog.close());
  return catalog;
}

const vm = (id: string, name: string) => ({
  id,
  name,
  state: 'running' as const,
  persistent: true,
  memoryBytes: 1024,
  vcpus: 1,
  machineType: 'q35',
  domainType: 'kvm',
  disks: [],
  agent: 'absent' as const,
  firmware: 'bios' as const,
  nvramPath: null,
  tpm: null,
  memoryObstacles: [],
  backgroundObstacles: [],
  hypervisorSnapshots: { internal: 0, external: 0 },
  jobActive: false,
  hasDisplay: false,
});

const host = {
  id: HOST_ID,
  name: 'host-1',
  state: 'ready',
  stateReason: null,
  description: null,
  room: null,
  at: AT,
} as const;

async function seed(catalog: Catalog): Promise<string> {
  const id = newId(Date.parse(AT));
  await catalog.write(async (tx) => {
    await reportHost(tx, host);
    await reportVm(tx, { hostId: HOST_ID, description: vm(VM_ID, 'web'), at: AT });
    await insertSnapshot(tx, snapshot(id, 'before-upgrade'));
  });
  return id;
}

const snapshot = (id: string, name: string) => ({
  id,
  vmId: VM_ID,
  vmName: 'web',
  hostId: HOST_ID,
  name,
  description: '',
  kind: 'full' as const,
  labels: { team: 'a' },
  expiresAt: null,
  createdBy: SYSTEM,
  requestId: null,
  at: AT,
});

const activate = (catalog: Catalog, id: string) =>
  catalog.write((tx) =>
    activateSnapshot(tx, {
      id,
      at: AT,
      facts: {
        kind: 'full',
        level: 'memory',
        levelReason: 'because',
        capturedAt: AT,
        pauseMs: 12.5,
        pausePhases: [{ name: 'suspend', durationMs: 12.5 }],
        sizes: { logicalBytes: 4, readBytes: 3, newBytes: 2, storedBytes: 1 },
        disks: [{ target: 'vda', format: 'qcow2', sizeBytes: 4 }],
        skippedDisks: [],
        memoryMode: 'background',
        memoryBytes: 1024,
        parentSnapshotId: null,
        checkpoint: 'c1',
        manifestDigest: 'd',
      },
    }),
  );

test('the schema is the one that was reviewed', async (t) => {
  const file = await temporaryPath(t);
  await (await openCatalog({ path: file })).close();
  const database = new DatabaseSync(file, { readOnly: true });
  const rows = database
    .prepare(
      `select sql from sqlite_schema where sql is not null and name not like 'sqlite_%' order by type desc, name`,
    )
    .all();
  database.close();
  const actual = `${rows.map((row) => `${String(row['sql'])};`).join('\n\n')}\n`;
  const golden = path.join(import.meta.dirname, 'schema.sql');
  if (process.env['UPDATE_GOLDEN']) await writeFile(golden, actual);
  assert.equal(actual, await readFile(golden, 'utf8'), 'run again with UPDATE_GOLDEN=1 and review');
});

test('the catalog file and what SQLite puts beside it are for their owner only', async (t) => {
  const file = await temporaryPath(t);
  const catalog = await openCatalog({ path: file });
  t.after(() => catalog.close());
  await seed(catalog);
  for (const name of [file, `${file}-wal`]) assert.equal((await stat(name)).mode & 0o777, 0o600);
});

test('a catalog of a newer version is refused and left as it is', async (t) => {
  const file = await temporaryPath(t);
  await (await openCatalog({ path: file })).close();
  const database = new DatabaseSync(file);
  database.exec(`insert into schema_migrations values (99, 'future', '${AT}')`);
  database.close();
  await assert.rejects(openCatalog({ path: file }), { code: 'catalog_too_new' });
});

test('a database of another program and a file that is none are refused', async (t) => {
  const file = await temporaryPath(t);
  const database = new DatabaseSync(file);
  database.exec('create table notes (text)');
  database.close();
  await assert.rejects(openCatalog({ path: file }), { code: 'invalid_input' });
  await writeFile(file, 'x'.repeat(5000));
  await assert.rejects(openCatalog({ path: file }), (error) => {
    assert.ok(error instanceof OperationError);
    assert.match(error.message, /not a SQLite database/);
    return true;
  });
});

test('two that open at once make one schema', async (t) => {
  const file = await temporaryPath(t);
  const catalogs = await Promise.all([openCatalog({ path: file }), openCatalog({ path: file })]);
  for (const catalog of catalogs) await catalog.close();
});

test('writers in two connections wait for each other without blocking the process', async (t) => {
  const file = await temporaryPath(t);
  const [first, second] = [await openCatalog({ path: file }), await openCatalog({ path: file })];
  t.after(() => first.close());
  t.after(() => second.close());
  await first.write((tx) => sql`insert into meta values ('n', '0')`.execute(tx));
  const increment = (catalog: Catalog) =>
    catalog.write(async (tx) => {
      const { value } = await tx.selectFrom('meta').select('value').executeTakeFirstOrThrow();
      await new Promise((resolve) => setImmediate(resolve));
      await tx
        .updateTable('meta')
        .set({ value: String(Number(value) + 1) })
        .execute();
    });
  await Promise.all(Array.from({ length: 40 }, (_, n) => increment(n % 2 ? first : second)));
  const row = await first.read.selectFrom('meta').select('value').executeTakeFirstOrThrow();
  assert.equal(row.value, '40');
});

test('the read side refuses writes, and a nested write is told apart from a deadlock', async (t) => {
  const catalog = await openTemporary(t);
  await assert.rejects(sql`insert into meta values ('a', 'b')`.execute(catalog.read), /readonly/);
  await assert.rejects(
    catalog.write(() => catalog.write(async () => undefined)),
    /wait for itself/,
  );
});

test('a transaction that throws leaves nothing', async (t) => {
  const catalog = await openTemporary(t);
  await assert.rejects(
    catalog.write(async (tx) => {
      await reportHost(tx, host);
      throw new Error('stop');
    }),
    /stop/,
  );
  assert.equal((await catalog.read.selectFrom('hosts').selectAll().execute()).length, 0);
});

test('what an active snapshot is cannot be changed, what may change can', async (t) => {
  const catalog = await openTemporary(t);
  const id = await seed(catalog);
  await activate(catalog, id);
  const fixed: Record<string, string | number> = {
    vm_name: 'x',
    name: 'x',
    kind: 'disk',
    level: 'crash',
    level_reason: 'x',
    captured_at: 'x',
    created_at: 'x',
    pause_ms: 0,
    sizes: '{}',
    disks: '[1]',
    manifest_digest: 'x',
    memory_bytes: 1,
  };
  for (const [column, value] of Object.entries(fixed)) {
    await assert.rejects(
      catalog.write((tx) =>
        sql`update snapshots set ${sql.ref(column)} = ${value} where id = ${id}`.execute(tx),
      ),
      /cannot be changed/,
      column,
    );
  }
  await catalog.write((tx) =>
    editSnapshot(tx, { id, at: AT, description: 'new', labels: {}, pinned: true, expiresAt: AT }),
  );
  const row = await findSnapshot(catalog.read, id);
  assert.equal(row?.description, 'new');
  assert.equal(row?.pinned, true);
  assert.equal(row?.version, 3);
});

test('snapshot rows stay, and states change only along the state machine', async (t) => {
  const catalog = await openTemporary(t);
  const id = await seed(catalog);
  const moveTo = (state: 'deleted' | 'creating' | 'deleting' | 'failed') =>
    catalog.write((tx) => setSnapshotState(tx, { id, state, at: AT }));
  await assert.rejects(moveTo('deleted'), /between these states/);
  await activate(catalog, id);
  await assert.rejects(moveTo('creating'), /between these states/);
  await assert.rejects(moveTo('failed'), /between these states/);
  await moveTo('deleting');
  await moveTo('deleted');
  await assert.rejects(moveTo('deleting'), /between these states/);
  await assert.rejects(
    catalog.write((tx) => tx.deleteFrom('snapshots').execute()),
    /tombstones/,
  );
});

test('a snapshot name is taken until its snapshot is deleted', async (t) => {
  const catalog = await openTemporary(t);
  const id = await seed(catalog);
  const again = () =>
    catalog.write((tx) => insertSnapshot(tx, snapshot(newId(Date.parse(AT)), 'before-upgrade')));
  await assert.rejects(again(), (error) => isUniqueViolation(error));
  await activate(catalog, id);
  await catalog.write((tx) => setSnapshotState(tx, { id, state: 'deleting', at: AT }));
  await catalog.write((tx) => setSnapshotState(tx, { id, state: 'deleted', at: AT }));
  await again();
});

test('lists filter by text with wildcards in it, by label, and page without gaps', async (t) => {
  const catalog = await openTemporary(t);
  const firstId = await seed(catalog);
  const ids = [firstId];
  for (let n = 0; n < 6; n += 1) {
    const id = newId(Date.parse(AT) + n + 1);
    ids.push(id);
    await catalog.write((tx) => insertSnapshot(tx, snapshot(id, `100%_${n}`)));
  }
  const found: string[] = [];
  for (let after: { name: string; id: string } | undefined; ;) {
    const page = await listSnapshots(catalog.read, {}, { limit: 3, order: 'newest', after });
    if (page.length === 0) break;
    found.push(...page.map((row) => row.id));
    after = page.at(-1);
  }
  assert.deepEqual(found, ids.toReversed());
  const count = async (filter: Parameters<typeof listSnapshots>[1]) =>
    (await listSnapshots(catalog.read, filter, { limit: 100, order: 'name' })).length;
  assert.equal(await count({ search: '%_3' }), 1);
  assert.equal(await count({ search: 'WEB' }), 7);
  assert.equal(await count({ search: '100x' }), 0);
  assert.equal(await count({ labels: [{ key: 'team', value: 'a' }] }), 7);
  assert.equal(await count({ labels: [{ key: '$."team', value: 'a' }] }), 0);
});

test('a VM row outlives its domain, and an unchanged report changes nothing', async (t) => {
  const catalog = await openTemporary(t);
  await seed(catalog);
  const report = (description = vm(VM_ID, 'web')) =>
    catalog.write((tx) => reportVm(tx, { hostId: HOST_ID, description, at: AT }));
  assert.deepEqual(await report(), { changed: false });
  assert.deepEqual(await report(vm(VM_ID, 'web-2')), { changed: true });
  const gone = await catalog.write((tx) =>
    markAbsentVms(tx, { hostId: HOST_ID, presentIds: [], at: AT }),
  );
  assert.deepEqual(gone, [VM_ID]);
  const row = await findVm(catalog.read, VM_ID);
  assert.equal(row?.present, false);
  assert.equal(row?.snapshotCount, 1);
  assert.equal((await listVms(catalog.read, { present: true }, { limit: 10 })).length, 0);
});

test('a JSON column that does not hold what it should is a clear error', async (t) => {
  const catalog = await openTemporary(t);
  await seed(catalog);
  await catalog.write((tx) => sql`update vms set description = '{"id": 5}'`.execute(tx));
  await assert.rejects(findVm(catalog.read, VM_ID), { code: 'internal', name: 'OperationError' });
});
