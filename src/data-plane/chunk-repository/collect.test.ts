import assert from 'node:assert/strict';
import { createCipheriv, createHash, randomUUID } from 'node:crypto';
import path from 'node:path';
import { after, test } from 'node:test';
import type { Clock } from '../../shared/clock.ts';
import type { BlobStorage } from '../blob-storage/blob-storage.ts';
import { createMemoryStorage } from '../blob-storage/memory/memory-storage.ts';
import {
  copyStorage,
  createStoppingStorage,
  StoppedError,
} from './failing-storage.test-support.ts';
import { LEASE_DEAD_MS } from './lease.ts';
import type { OpenedRepository } from './open-repository.ts';
import type { TreeRef } from './repository.ts';
import { createWorkbench, makeManifest, readTree, writeTree } from './workbench.test-support.ts';

const bench = createWorkbench();
after(async () => await bench.dispose());

const BLOCK = 8192;

const madeBlocks = new Map<number, Buffer>();

/** Content whose blocks are named by numbers: the same number is the same block. */
function blocks(...numbers: readonly number[]): Buffer {
  return Buffer.concat(numbers.map((number) => madeBlocks.get(number) ?? makeBlock(number)));
}

function makeBlock(number: number): Buffer {
  const key = createHash('sha256').update(`block ${number}`).digest();
  const stream = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
  const block = stream.update(Buffer.alloc(BLOCK));
  madeBlocks.set(number, block);
  return block;
}

const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, index) => from + index);

function createTestClock(): Clock & { advance(durationMs: number): void } {
  let nowMs = Date.parse('2026-03-01T00:00:00Z');
  return {
    now: () => new Date(nowMs),
    monotonicMs: () => nowMs,
    advance(durationMs) {
      nowMs += durationMs;
    },
  };
}

interface Kept {
  readonly snapshotId: string;
  readonly tree: TreeRef;
  readonly content: Buffer;
}

async function capture(repository: OpenedRepository, content: Buffer): Promise<Kept> {
  const writer = await repository.openWriter({ purpose: 'capture' });
  try {
    const tree = await writeTree(writer, 'disk', content);
    const manifest = makeManifest({ vda: tree });
    await writer.commit(manifest);
    return { snapshotId: manifest.snapshotId, tree, content };
  } finally {
    await writer.close();
  }
}

async function assertRestores(
  repository: OpenedRepository,
  { snapshotId, content }: Kept,
): Promise<void> {
  const manifest = await repository.readManifest(snapshotId);
  const tree = manifest.disks[0]?.tree;
  assert.ok(tree);
  assert.ok((await readTree(repository, tree)).equals(content), `${snapshotId} differs`);
  assert.deepEqual((await repository.verifySnapshot(snapshotId)).damages, []);
}

const freshKey = (): { kind: 'key-file'; path: string } => ({
  kind: 'key-file',
  path: path.join(bench.folder, `key-${randomUUID()}`),
});

const packCount = async (storage: BlobStorage): Promise<number> =>
  (await storage.list('packs')).length;

test('deleting every snapshot gives all space back in one collection', async () => {
  const clock = createTestClock();
  const storage = createMemoryStorage({ clock });
  const repository = await bench.create(storage, { key: freshKey(), clock });
  const kept = [
    await capture(repository, blocks(...range(0, 30))),
    await capture(repository, blocks(...range(20, 50))),
  ];
  for (const { snapshotId } of kept) await repository.deleteManifest(snapshotId);
  clock.advance(60_000);
  const report = await repository.collect();
  assert.ok(report.packsDeleted > 0);
  assert.ok(report.bytesFreed >= 50 * BLOCK);
  assert.equal(await packCount(storage), 0);
  assert.equal((await repository.status()).chunks, 0);
});

test('a pack that is mostly garbage is rewritten, and what lives in it is kept', async () => {
  const clock = createTestClock();
  const storage = createMemoryStorage({ clock });
  const key = freshKey();
  const repository = await bench.create(storage, { key, clock });
  const large = await capture(repository, blocks(...range(0, 40)));
  const small = await capture(repository, blocks(1, 11, 21, 31));
  await repository.deleteManifest(large.snapshotId);
  const before = (await repository.status()).storedBytes;
  const report = await repository.collect();
  assert.ok(report.packsRewritten > 0);
  const status = await repository.status();
  assert.ok(status.storedBytes < before / 4, `${status.storedBytes} of ${before}`);
  await assertRestores(repository, small);
  await assertRestores(await bench.open(storage, { key, clock }), small);
  assert.equal((await repository.collect()).packsDeleted, 0);
});

test('invariant 5: what a writer under way refers to is not collected, and comes back when it commits', async () => {
  const clock = createTestClock();
  const storage = createMemoryStorage({ clock });
  const key = freshKey();
  const repository = await bench.create(storage, { key, clock });
  const old = await capture(repository, blocks(...range(0, 20)));
  clock.advance(60 * 60_000);
  const other = await bench.open(storage, { key, clock });
  const writer = await other.openWriter({ purpose: 'slow' });
  const content = blocks(...range(5, 15));
  const tree = await writeTree(writer, 'disk', content);
  assert.equal(writer.statistics().bytesNew, 0);
  await repository.deleteManifest(old.snapshotId);
  const waiting = await repository.collect();
  assert.equal(waiting.packsDeleted, 0);
  assert.ok(waiting.packsWaiting > 0);

  const late = await capture(repository, blocks(...range(0, 5)));
  const manifest = makeManifest({ vda: tree });
  await writer.commit(manifest);
  await writer.close();
  await repository.collect();
  await assertRestores(repository, { snapshotId: manifest.snapshotId, tree, content });
  await assertRestores(repository, late);
});

test('a writer that could not refresh its lease must not commit, and its packs are collected', async () => {
  const clock = createTestClock();
  const storage = createMemoryStorage({ clock });
  const key = freshKey();
  const repository = await bench.create(storage, { key, clock });
  const writer = await repository.openWriter({ purpose: 'suspended' });
  const tree = await writeTree(writer, 'disk', blocks(1, 2, 3));
  clock.advance(LEASE_DEAD_MS + 1);
  const collector = await bench.open(storage, { key, clock });
  await collector.collect();
  await assert.rejects(writer.commit(makeManifest({ vda: tree })), { code: 'timed_out' });
  await writer.close();
  assert.deepEqual(await repository.listManifestIds(), []);
  clock.advance(LEASE_DEAD_MS + 1);
  await collector.collect();
  assert.equal(await packCount(storage), 0);
});

test('two collections at once: the second is refused', async () => {
  const clock = createTestClock();
  const storage = createMemoryStorage({ clock });
  const repository = await bench.create(storage, { key: freshKey(), clock });
  await capture(repository, blocks(1));
  const results = await Promise.allSettled([repository.collect(), repository.collect()]);
  const refused = results.filter(({ status }) => status === 'rejected');
  assert.equal(refused.length, 1);
  await repository.collect();
});

test('a damaged manifest stops the collection instead of losing what it refers to', async () => {
  const clock = createTestClock();
  const storage = createMemoryStorage({ clock });
  const repository = await bench.create(storage, { key: freshKey(), clock });
  const kept = await capture(repository, blocks(1, 2, 3));
  const name = `manifests/${kept.snapshotId}`;
  const bytes = await storage.get(name);
  const broken = Buffer.from(bytes);
  broken.writeUInt8(broken.readUInt8(50) ^ 1, 50);
  await storage.put(name, [broken], { replace: true });
  clock.advance(60 * 60_000);
  const report = await repository.collect();
  assert.equal(report.damages.length, 1);
  await storage.put(name, [bytes], { replace: true });
  await assertRestores(repository, kept);
});

/** One life of a repository: every change of storage in it is a place to be killed at. */
async function liveThrough(repository: OpenedRepository, kept: Kept[]): Promise<void> {
  await repository.collect();
  kept.push(await capture(repository, blocks(...range(10, 25), 3, 4)));
  const gone = kept.shift();
  if (gone) await repository.deleteManifest(gone.snapshotId);
  await repository.collect();
  kept.push(await capture(repository, blocks(...range(0, 4), 77)));
}

test('invariants 3 and 5: killed at any change of the storage, every snapshot restores and work goes on', async () => {
  const clock = createTestClock();
  const seed = createMemoryStorage({ clock });
  const key = freshKey();
  const first = await bench.create(seed, { key, clock });
  const before = [
    await capture(first, blocks(...range(0, 30))),
    await capture(first, blocks(0, 9, 19, 50)),
  ];
  const garbage = await capture(first, blocks(...range(60, 70)));
  await first.deleteManifest(garbage.snapshotId);
  await first.close();
  clock.advance(60 * 60_000);

  let points = 0;
  for (let atCall = 1; ; atCall += 1) {
    let completed = true;
    for (const applied of [false, true]) {
      const storage = await copyStorage(seed, createMemoryStorage({ clock }));
      const stopping = createStoppingStorage(storage, { atCall, applied });
      const kept = [...before];
      const doomed = await bench.open(stopping.storage, { key, clock });
      try {
        await liveThrough(doomed, kept);
      } catch (error) {
        if (!(error instanceof StoppedError)) throw error;
        completed = false;
      }
      await doomed.close();
      if (completed) break;
      points += 1;
      clock.advance(LEASE_DEAD_MS + 1);
      const reopened = await bench.open(storage, { key, clock });
      const present = new Set(await reopened.listManifestIds());
      for (const snapshot of kept) {
        assert.ok(present.has(snapshot.snapshotId), `snapshot lost at change ${atCall}`);
        await assertRestores(reopened, snapshot);
      }
      const report = await reopened.collect();
      assert.deepEqual(report.damages, []);
      const fresh = await capture(reopened, blocks(...range(0, 12), 80));
      await reopened.collect();
      for (const snapshot of [...kept, fresh]) await assertRestores(reopened, snapshot);
      await reopened.close();
    }
    if (completed) break;
  }
  assert.ok(points > 40, `only ${points} crash points`);
});
