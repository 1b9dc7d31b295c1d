import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import * as fc from 'fast-check';
import { createMemoryStorage } from '../blob-storage/memory/memory-storage.ts';
import { keyFromRecoverySheet } from './recovery-sheet.ts';
import { restoreKeyFile } from './restore-key.ts';
import type { TreeRef } from './repository.ts';
import {
  createWorkbench,
  makeManifest,
  readTree,
  SMALL_LAYOUT,
  writeTree,
} from './workbench.test-support.ts';

const bench = createWorkbench();
after(async () => await bench.dispose());

const freshKey = (): { kind: 'key-file'; path: string } => ({
  kind: 'key-file',
  path: path.join(bench.folder, `key-${randomUUID()}`),
});

for (const encrypted of [true, false]) {
  test(`invariant 3: what was committed restores byte for byte (encrypted: ${encrypted})`, async () => {
    const storage = createMemoryStorage();
    const key = freshKey();
    const repository = await bench.create(storage, { encrypted, key, threads: 1 });
    const content = Buffer.concat([randomBytes(90_001), Buffer.alloc(70_000), randomBytes(33)]);
    const writer = await repository.openWriter({ purpose: 'test' });
    const disk = await writeTree(writer, 'disk', content);
    const memory = await writeTree(writer, 'memory', content);
    const empty = await writeTree(writer, 'blob', Buffer.alloc(0));
    const zero = await writeTree(writer, 'blob', Buffer.alloc(100_000));
    const manifest = makeManifest({ vda: disk, vdb: memory, vdc: empty, vdd: zero });
    await writer.commit(manifest);
    await writer.close();
    assert.equal(zero.root, null);
    const again = await bench.open(storage, { key });
    assert.deepEqual(await again.listManifestIds(), [manifest.snapshotId]);
    const read = await again.readManifest(manifest.snapshotId);
    assert.deepEqual(read, manifest);
    for (const { tree } of read.disks.slice(0, 2)) {
      assert.ok((await readTree(again, tree)).equals(content));
    }
    assert.ok((await readTree(again, zero)).equals(Buffer.alloc(100_000)));
    const report = await again.verifySnapshot(manifest.snapshotId);
    assert.deepEqual(report.damages, []);
    const status = await again.status();
    assert.equal(status.snapshots, 1);
    assert.equal(status.encrypted, encrypted);
  });
}

test('content that is there already is not stored again, across trees and writers at once', async () => {
  const repository = await bench.create(createMemoryStorage(), { key: freshKey(), threads: 2 });
  const content = randomBytes(200 * 1024);
  const writers = [
    await repository.openWriter({ purpose: 'one' }),
    await repository.openWriter({ purpose: 'two' }),
  ];
  const trees = await Promise.all(
    writers.flatMap((writer) => [
      writeTree(writer, 'disk', content),
      writeTree(writer, 'disk', content),
    ]),
  );
  assert.equal(new Set(trees.map(({ root }) => root)).size, 1);
  const stored = writers.reduce((sum, writer) => sum + writer.statistics().bytesNew, 0);
  assert.equal(stored, content.length);
  for (const writer of writers) {
    await writer.commit(makeManifest({ vda: trees[0]! }));
    await writer.close();
  }
});

test('random writes, overwrites and kept ranges equal a flat oracle', async () => {
  const repository = await bench.create(createMemoryStorage(), { key: freshKey() });
  const block = SMALL_LAYOUT.trees.disk.blockSizeBytes;
  const operation = fc.record({
    at: fc.nat(59),
    blocks: fc.integer({ min: 1, max: 20 }),
    fill: fc.integer({ min: 0, max: 5 }),
    keep: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(operation, { maxLength: 8 }), { minLength: 2, maxLength: 3 }),
      fc.integer({ min: 1, max: 60 * block }),
      async (rounds, length) => {
        let parent: { ref: TreeRef; bytes: Buffer } | undefined;
        for (const operations of rounds) {
          const writer = await repository.openWriter({ purpose: 'oracle' });
          const tree = writer.createTree({
            kind: 'disk',
            lengthBytes: length,
            parent: parent?.ref,
          });
          const oracle = Buffer.alloc(length);
          const running: Promise<void>[] = [];
          for (const { at, blocks, fill, keep } of operations) {
            const start = at * block;
            const end = Math.min(length, start + blocks * block);
            if (start >= end) continue;
            if (keep && parent) {
              parent.bytes.copy(oracle, start, start, end);
              running.push(tree.keepFromParent(start, end - start));
            } else {
              const data = Buffer.alloc(end - start, fill);
              for (let byte = 0; byte < data.length; byte += block)
                data[byte] = fill === 0 ? 0 : (at + byte / block) & 0x3f;
              data.copy(oracle, start);
              running.push(tree.write(start, data));
            }
          }
          await Promise.all(running);
          const ref = await tree.finish();
          await writer.commit(makeManifest({ vda: ref }));
          await writer.close();
          assert.ok((await readTree(repository, ref)).equals(oracle));
          const reader = repository.openTree(ref, 'disk');
          let covered = 0;
          for (const extent of await reader.extents(0, length)) {
            assert.equal(extent.offset, covered);
            covered += extent.lengthBytes;
            const part = oracle.subarray(extent.offset, covered);
            if (extent.zero) assert.ok(part.every((byte) => byte === 0));
          }
          assert.equal(covered, length);
          if (parent) {
            const differing = new Set<number>();
            for (const extent of await repository.compareTrees(parent.ref, ref)) {
              const end = extent.offset + extent.lengthBytes;
              for (let at = extent.offset; at < end; at += block) differing.add(at);
            }
            for (let at = 0; at < length; at += block) {
              const same = parent.bytes
                .subarray(at, at + block)
                .equals(oracle.subarray(at, at + block));
              assert.equal(differing.has(at), !same);
            }
          }
          parent = { ref, bytes: oracle };
        }
      },
    ),
    { numRuns: 25 },
  );
});

test('writes of shared buffers, in any order, may share one buffer', async () => {
  const repository = await bench.create(createMemoryStorage(), { key: freshKey() });
  const writer = await repository.openWriter({ purpose: 'test' });
  const buffer = await writer.acquireBuffer();
  buffer.bytes.set(randomBytes(buffer.bytes.length));
  const content = Buffer.from(buffer.bytes);
  const half = content.length / 2;
  const tree = writer.createTree({ kind: 'memory', lengthBytes: content.length });
  await Promise.all([
    tree.write(half, buffer.bytes.subarray(half)),
    tree.write(0, buffer.bytes.subarray(0, half)),
  ]);
  buffer.release();
  buffer.release();
  const ref = await tree.finish();
  await writer.commit(makeManifest({ vda: ref }));
  await writer.close();
  assert.ok((await readTree(repository, ref)).equals(content));
});

test('a parent that no manifest refers to any more is refused', async () => {
  const repository = await bench.create(createMemoryStorage(), { key: freshKey() });
  const first = await repository.openWriter({ purpose: 'first' });
  const parent = await writeTree(first, 'disk', randomBytes(100_000));
  const manifest = makeManifest({ vda: parent });
  await first.commit(manifest);
  await first.close();
  await repository.deleteManifest(manifest.snapshotId);
  const second = await repository.openWriter({ purpose: 'second' });
  const tree = second.createTree({ kind: 'disk', lengthBytes: 100_000, parent });
  await assert.rejects(tree.keepFromParent(0, 100_000), { code: 'not_found' });
  await second.close();
});

test('a wrong key, a wrong passphrase and a missing repository each have their error', async () => {
  const storage = createMemoryStorage();
  const passphrase = { kind: 'passphrase' as const, passphrase: 'correct horse' };
  await bench.create(storage, { key: passphrase });
  await bench.open(storage, { key: passphrase });
  const wrong = { kind: 'passphrase' as const, passphrase: 'battery staple' };
  await assert.rejects(bench.open(storage, { key: wrong }), { code: 'repository_key_wrong' });
  await assert.rejects(bench.open(storage, { key: freshKey() }), { code: 'repository_key_wrong' });
  await assert.rejects(bench.open(createMemoryStorage()), { code: 'repository_not_found' });
  await assert.rejects(bench.create(storage, { key: freshKey() }), { code: 'name_taken' });
});

test('the recovery sheet opens the repository, and a mistyped one says which row is wrong', async () => {
  const storage = createMemoryStorage();
  const repository = await bench.create(storage, { key: freshKey() });
  const sheet = repository.recoverySheet();
  const { repositoryId, masterKey } = keyFromRecoverySheet(sheet.toLowerCase());
  assert.equal(repositoryId, repository.id);
  await bench.open(storage, { key: { kind: 'master-key', masterKey } });
  const row = /^ {2}3: {2}(.*)$/m.exec(sheet)?.[1] ?? '';
  for (let at = 0; at < row.length; at += 1) {
    if (row[at] === ' ') continue;
    const typo = `${row.slice(0, at)}${row[at] === '7' ? '8' : '7'}${row.slice(at + 1)}`;
    assert.throws(() => keyFromRecoverySheet(sheet.replace(row, typo)), /Row 3/);
  }
  const other = randomBytes(32);
  await assert.rejects(bench.open(storage, { key: { kind: 'master-key', masterKey: other } }), {
    code: 'repository_key_wrong',
  });
});

test('a new key file from the recovery sheet opens the repository, and the lost one no more', async () => {
  const storage = createMemoryStorage();
  const lost = freshKey();
  const repository = await bench.create(storage, { key: lost });
  const found = freshKey();
  assert.ok(found.kind === 'key-file');
  const restore = async (sheet: string): Promise<{ repositoryId: string }> =>
    await restoreKeyFile({
      storage,
      indexPath: bench.freshIndexPath(),
      sheet,
      keyPath: found.path,
    });
  const stranger = await bench.create(createMemoryStorage(), { key: freshKey() });
  await assert.rejects(restore(stranger.recoverySheet()), { code: 'repository_key_wrong' });
  await restore(repository.recoverySheet());
  assert.equal((await bench.open(storage, { key: found })).id, repository.id);
  await assert.rejects(bench.open(storage, { key: lost }), { code: 'repository_key_wrong' });
});

test('a new index, and one that was overwritten, fill themselves from the packs', async () => {
  const storage = createMemoryStorage();
  const key = freshKey();
  const indexPath = bench.freshIndexPath();
  const repository = await bench.create(storage, { key, indexPath });
  for (const file of [indexPath, `${indexPath}-wal`]) {
    assert.equal(statSync(file).mode & 0o777, 0o600);
  }
  const writer = await repository.openWriter({ purpose: 'test' });
  const content = randomBytes(300_000);
  const ref = await writeTree(writer, 'disk', content);
  await writer.commit(makeManifest({ vda: ref }));
  await writer.close();
  const damagedPath = bench.freshIndexPath();
  writeFileSync(damagedPath, randomBytes(8192));
  for (const index of [bench.freshIndexPath(), damagedPath]) {
    const again = await bench.open(storage, { key, indexPath: index });
    assert.ok((await readTree(again, ref)).equals(content));
    assert.equal((await again.status()).chunks, (await repository.status()).chunks);
  }
});
