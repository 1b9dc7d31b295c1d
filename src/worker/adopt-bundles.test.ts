import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import path from 'node:path';
import { after, test, type TestContext } from 'node:test';
import { verifyAuditChain } from '../control-plane/audit/audit-trail.ts';
import { openCatalog, type Catalog } from '../control-plane/database/catalog.ts';
import { findSnapshot } from '../control-plane/database/snapshots.ts';
import { findVm } from '../control-plane/database/vms.ts';
import type { BlobStorage } from '../data-plane/blob-storage/blob-storage.ts';
import { createMemoryStorage } from '../data-plane/blob-storage/memory/memory-storage.ts';
import type { Manifest } from '../data-plane/chunk-repository/manifest.ts';
import type { OpenedRepository } from '../data-plane/chunk-repository/open-repository.ts';
import {
  createWorkbench,
  makeManifest,
  writeTree,
} from '../data-plane/chunk-repository/workbench.test-support.ts';
import { adoptBundles, type Adoption } from './adopt-bundles.ts';

const HOST_ID = '5c0a1c1e-2f4b-4a57-9d4b-6f9d2b7f1a10';
const clock = { now: () => new Date('2026-03-04T05:06:07.890Z'), monotonicMs: () => 0 };
const bench = createWorkbench();
after(async () => await bench.dispose());

interface Scene {
  readonly storage: BlobStorage;
  readonly repository: OpenedRepository;
  readonly catalog: Catalog;
  commit(name: string): Promise<{ manifest: Manifest; digest: string }>;
  adopt(): Promise<Adoption>;
}

async function setScene(t: TestContext): Promise<Scene> {
  const storage = createMemoryStorage();
  const key = { kind: 'key-file', path: path.join(bench.folder, `${randomUUID()}.key`) } as const;
  const repository = await bench.create(storage, { key, indexPath: bench.freshIndexPath() });
  const catalog = await openCatalog({ path: path.join(bench.folder, `${randomUUID()}.sqlite`) });
  t.after(async () => await catalog.close());
  return {
    storage,
    repository,
    catalog,
    adopt: async () => await adoptBundles({ catalog, repository, hostId: HOST_ID, clock }),
    async commit(name) {
      const writer = await repository.openWriter({ purpose: 'test' });
      const tree = await writeTree(writer, 'disk', randomBytes(20_000));
      const manifest = { ...makeManifest({ vda: tree }), name };
      const { manifestDigest: digest } = await writer.commit(manifest);
      await writer.close();
      return { manifest, digest };
    },
  };
}

test('an empty catalog gets every snapshot back from the repository alone', async (t) => {
  const scene = await setScene(t);
  const { manifest, digest } = await scene.commit('one');
  await scene.commit('two');
  const found = await scene.adopt();
  assert.deepEqual(found.adopted.map(({ name }) => name).toSorted(), ['one', 'two']);
  const row = await findSnapshot(scene.catalog.read, manifest.snapshotId);
  assert.equal(row?.state, 'active');
  assert.equal(row.level, 'crash');
  assert.equal(row.capturedAt, manifest.capturedAt);
  assert.equal(row.manifestDigest, digest);
  assert.equal(row.sizes, null);
  assert.deepEqual(row.disks, [{ target: 'vda', format: 'raw', sizeBytes: 20_000 }]);
  const vm = await findVm(scene.catalog.read, manifest.vm.id);
  assert.equal(vm?.present, false);
  assert.equal(vm.snapshotCount, 2);
  assert.equal((await verifyAuditChain(scene.catalog.read)).intact, true);
  assert.deepEqual(await scene.adopt(), { adopted: [], lost: [], unreadable: [] });
});

test('two at once adopt each bundle once, and a name that is taken is told apart', async (t) => {
  const scene = await setScene(t);
  await scene.commit('same');
  const { manifest } = await scene.commit('same');
  const both = await Promise.all([scene.adopt(), scene.adopt()]);
  const names = both.flatMap(({ adopted }) => adopted.map(({ name }) => name)).toSorted();
  assert.equal(names.length, 2);
  assert.equal(names[0], 'same');
  assert.match(names[1] ?? '', /^same_[0-9a-f]{8}$/);
  assert.ok(await findSnapshot(scene.catalog.read, manifest.snapshotId));
});

test('invariant 3: a row whose bundle is gone is damaged, and stays so', async (t) => {
  const scene = await setScene(t);
  const { manifest } = await scene.commit('one');
  await scene.adopt();
  await scene.repository.deleteManifest(manifest.snapshotId);
  const found = await scene.adopt();
  assert.deepEqual(found.lost, [{ id: manifest.snapshotId, name: 'one', vm: 'vm' }]);
  const row = await findSnapshot(scene.catalog.read, manifest.snapshotId);
  assert.equal(row?.state, 'damaged');
  assert.equal(row.damage[0]?.part, 'manifest');
  assert.deepEqual((await scene.adopt()).lost, []);
});

test('invariant 6: a manifest that was altered is named, left alone, and keeps nobody else out', async (t) => {
  const scene = await setScene(t);
  const { manifest } = await scene.commit('bad');
  await scene.commit('good');
  const name = `manifests/${manifest.snapshotId}`;
  const bytes = Buffer.from(await scene.storage.get(name));
  bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
  await scene.storage.put(name, [bytes], { replace: true });
  const found = await scene.adopt();
  assert.deepEqual(
    found.unreadable.map(({ id }) => id),
    [manifest.snapshotId],
  );
  assert.deepEqual(
    found.adopted.map((each) => each.name),
    ['good'],
  );
  assert.equal(await findSnapshot(scene.catalog.read, manifest.snapshotId), undefined);
});
