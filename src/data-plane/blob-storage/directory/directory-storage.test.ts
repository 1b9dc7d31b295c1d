import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { MIB } from '../../../shared/byte-size.ts';
import { runConformanceSuite } from '../conformance.test-suite.ts';
import { createDirectoryStorage } from './directory-storage.ts';
import { createStagedWriter } from './staged-file.ts';
import { toStorageError } from './storage-error.ts';

const makeRoot = async (): Promise<string> => await mkdtemp(path.join(tmpdir(), 'komadori-blobs-'));

runConformanceSuite('directory', async () => {
  const root = await makeRoot();
  return {
    storage: await createDirectoryStorage(path.join(root, 'deep', 'folder')),
    destroy: async () => await rm(root, { recursive: true }),
  };
});

test('directory: a put that fails leaves no staged file behind', async (t) => {
  const root = await makeRoot();
  t.after(async () => await rm(root, { recursive: true }));
  const storage = await createDirectoryStorage(root);
  await storage.put('a', [Buffer.from('1')]);
  await assert.rejects(storage.put('a', [Buffer.from('2')]), { code: 'name_taken' });
  await assert.rejects(storage.put('a/b', [Buffer.from('2')]));
  assert.deepEqual(await readdir(path.join(root, 'TMP')), []);
});

test('directory: sweep removes staged files of processes that died long ago, not young ones', async (t) => {
  const root = await makeRoot();
  t.after(async () => await rm(root, { recursive: true }));
  const storage = await createDirectoryStorage(root);
  await writeFile(path.join(root, 'TMP', 'old'), 'x');
  await writeFile(path.join(root, 'TMP', 'young'), 'x');
  await utimes(path.join(root, 'TMP', 'old'), 1, 1);
  assert.deepEqual(await storage.list(''), []);
  assert.equal(await storage.sweep(), 1);
  assert.deepEqual(await readdir(path.join(root, 'TMP')), ['young']);
});

test('directory: a full file system is insufficient_space', () => {
  const full = Object.assign(new Error('no space'), { code: 'ENOSPC' });
  const error = toStorageError(full, 'packs/x');
  assert.ok(error instanceof Error && 'code' in error && error.code === 'insufficient_space');
});

test('directory: /dev/full proves the mapping on a real write error', async () => {
  await assert.rejects(
    async () => {
      try {
        await writeFile('/dev/full', 'x');
      } catch (error) {
        throw toStorageError(error, 'packs/x');
      }
    },
    { code: 'insufficient_space' },
  );
});

for (const folder of [tmpdir(), '/dev/shm']) {
  // tmpfs cannot write past the page cache in every kernel: both ways give the same file.
  test(`directory: large blobs are what was put, to the byte, in ${folder}`, async (t) => {
    const root = await mkdtemp(path.join(folder, 'komadori-blobs-'));
    t.after(async () => await rm(root, { recursive: true }));
    const storage = await createDirectoryStorage(root);
    const content = randomBytes(5 * MIB + 1);
    for (const lengthBytes of [MIB - 1, MIB, 2 * MIB, 2 * MIB + 1, 4 * MIB + 4096, 5 * MIB + 1]) {
      const cuts = [0, 17, Math.floor(lengthBytes / 3), lengthBytes - 1, lengthBytes];
      const parts = cuts.slice(1).map((end, index) => content.subarray(cuts[index], end));
      const name = `large/${lengthBytes}`;
      await storage.put(name, parts);
      const found = await storage.get(name);
      assert.equal(found.length, lengthBytes);
      assert.ok(content.subarray(0, lengthBytes).equals(found));
    }
    assert.deepEqual(await readdir(path.join(root, 'TMP')), []);
  });
}

test('directory: where writing past the page cache is refused, files are written through it', async (t) => {
  const root = await makeRoot();
  t.after(async () => await rm(root, { recursive: true }));
  let allocations = 0;
  const writeStaged = createStagedWriter(() => {
    allocations += 1;
    return Buffer.allocUnsafeSlow(2 * MIB + 1).subarray(1);
  });
  const content = randomBytes(3 * MIB + 5);
  for (const name of ['first', 'second']) {
    await writeStaged(path.join(root, name), [content.subarray(0, 9), content.subarray(9)]);
    assert.ok(content.equals(await readFile(path.join(root, name))));
  }
  assert.equal(allocations, 1, 'it is tried once');
});
