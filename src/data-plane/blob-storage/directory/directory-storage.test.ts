import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { runConformanceSuite } from '../conformance.test-suite.ts';
import { createDirectoryStorage } from './directory-storage.ts';
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
