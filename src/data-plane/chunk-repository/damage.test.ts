import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import path from 'node:path';
import { after, test } from 'node:test';
import * as fc from 'fast-check';
import { OperationError } from '../../shared/errors.ts';
import type { BlobStorage } from '../blob-storage/blob-storage.ts';
import { createMemoryStorage } from '../blob-storage/memory/memory-storage.ts';
import { StoredDataError } from './damage.ts';
import { copyStorage } from './failing-storage.test-support.ts';
import { decodeFrame, encodeFrame } from './frame.ts';
import {
  decodePackEnd,
  encodePackEnd,
  PACK_HEADER_BYTES,
  type PackContents,
} from './pack-format.ts';
import { decodeConfig } from './repository-config.ts';
import { decodeNode, encodeNode } from './tree-node.ts';
import { createWorkbench, makeManifest, readTree, writeTree } from './workbench.test-support.ts';

const bench = createWorkbench();
after(async () => await bench.dispose());

const freshKey = (): { kind: 'key-file'; path: string } => ({
  kind: 'key-file',
  path: path.join(bench.folder, `key-${randomUUID()}`),
});

/** Two snapshots that share nothing, in packs of their own. */
async function makeTwo(encrypted: boolean): Promise<{
  storage: BlobStorage;
  key: { kind: 'key-file'; path: string };
  snapshots: { snapshotId: string; content: Buffer; packs: string[] }[];
}> {
  const storage = createMemoryStorage();
  const key = freshKey();
  const repository = await bench.create(storage, { key, encrypted });
  const snapshots = [];
  let known = new Set<string>();
  for (let number = 0; number < 2; number += 1) {
    const content = randomBytes(20_000);
    const writer = await repository.openWriter({ purpose: 'test' });
    const tree = await writeTree(writer, 'disk', content);
    const manifest = makeManifest({ vda: tree });
    await writer.commit(manifest);
    await writer.close();
    const names = (await storage.list('packs')).map(({ name }) => name);
    snapshots.push({
      snapshotId: manifest.snapshotId,
      content,
      packs: names.filter((name) => !known.has(name)),
    });
    known = new Set(names);
  }
  await repository.close();
  return { storage, key, snapshots };
}

async function damagesOf(
  storage: BlobStorage,
  key: { kind: 'key-file'; path: string },
  snapshotId: string,
): Promise<string[]> {
  const repository = await bench.open(storage, { key });
  try {
    const { damages } = await repository.verifySnapshot(snapshotId);
    return damages.map(({ part }) => part);
  } finally {
    await repository.close();
  }
}

for (const encrypted of [true, false]) {
  test(`invariant 3: any changed, cut or missing pack is found and named (encrypted: ${encrypted})`, async () => {
    const { storage, key, snapshots } = await makeTwo(encrypted);
    const [hurt, whole] = snapshots;
    assert.ok(hurt && whole);
    const [name] = hurt.packs;
    assert.ok(name);
    const bytes = Buffer.from(await storage.get(name));
    const offsets = [
      0,
      9,
      20,
      PACK_HEADER_BYTES,
      5000,
      19_000,
      bytes.length - 200,
      bytes.length - 56,
      bytes.length - 40,
      bytes.length - 1,
    ];
    const broken: (Buffer | null)[] = [
      null,
      bytes.subarray(0, bytes.length - 1),
      bytes.subarray(0, 3000),
      Buffer.alloc(0),
    ];
    for (const offset of offsets) {
      const flipped = Buffer.from(bytes);
      flipped.writeUInt8(flipped.readUInt8(offset) ^ 0x10, offset);
      broken.push(flipped);
    }
    for (const [index, replacement] of broken.entries()) {
      const copy = await copyStorage(storage, createMemoryStorage());
      if (replacement === null) await copy.delete(name);
      else await copy.put(name, [replacement], { replace: true });
      const parts = await damagesOf(copy, key, hurt.snapshotId);
      assert.ok(
        parts.length > 0 && parts.every((part) => part === 'disk vda'),
        `case ${index}: ${parts.join()}`,
      );
      assert.deepEqual(await damagesOf(copy, key, whole.snapshotId), [], `case ${index}`);
    }
  });
}

test('a read of lost data says which part and range, and the rest still reads', async () => {
  const storage = createMemoryStorage();
  const repository = await bench.create(storage, { key: freshKey(), encrypted: false });
  const content = randomBytes(12 * 8192);
  const writer = await repository.openWriter({ purpose: 'test' });
  const tree = await writeTree(writer, 'disk', content);
  await writer.commit(makeManifest({ vda: tree }));
  await writer.close();
  for (const { name } of await storage.list('packs')) {
    const bytes = Buffer.from(await storage.get(name));
    const at = bytes.indexOf(content.subarray(8192 * 3, 8192 * 3 + 64));
    if (at < 0) continue;
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
    await storage.put(name, [bytes], { replace: true });
  }
  await assert.rejects(readTree(repository, tree, 'disk vda'), (error: unknown) => {
    assert.ok(error instanceof OperationError);
    assert.equal(error.code, 'snapshot_damaged');
    assert.equal(error.details['part'], 'disk vda');
    assert.equal(error.details['offset'], 8192 * 3);
    return true;
  });
  const target = Buffer.alloc(8192);
  await repository.openTree(tree, 'disk vda').readInto(8192 * 5, target);
  assert.ok(target.equals(content.subarray(8192 * 5, 8192 * 6)));
});

test('any changed byte of a manifest is found, and a manifest of another snapshot is none', async () => {
  for (const encrypted of [true, false]) {
    const { storage, key, snapshots } = await makeTwo(encrypted);
    const [first, second] = snapshots;
    assert.ok(first && second);
    const repository = await bench.open(storage, { key });
    const name = `manifests/${first.snapshotId}`;
    const bytes = Buffer.from(await storage.get(name));
    for (let offset = 0; offset < bytes.length; offset += 7) {
      const flipped = Buffer.from(bytes);
      flipped.writeUInt8(flipped.readUInt8(offset) ^ 4, offset);
      await storage.put(name, [flipped], { replace: true });
      await assert.rejects(repository.readManifest(first.snapshotId), { code: 'snapshot_damaged' });
    }
    await storage.put(name, [await storage.get(`manifests/${second.snapshotId}`)], {
      replace: true,
    });
    await assert.rejects(repository.readManifest(first.snapshotId), { code: 'snapshot_damaged' });
    assert.deepEqual(
      (await repository.verifySnapshot(first.snapshotId)).damages.map(({ part }) => part),
      ['manifest'],
    );
    await storage.delete(name);
    await assert.rejects(repository.readManifest(first.snapshotId), { code: 'not_found' });
    await assert.rejects(repository.readManifest('../repository.json'), { code: 'not_found' });
  }
});

test('a damaged configuration is read from its copy; without the copy it is named', async () => {
  const { storage, key } = await makeTwo(true);
  const bytes = Buffer.from(await storage.get('repository.json'));
  const copy = await storage.get('repository-copy.json');
  for (let offset = 0; offset < bytes.length; offset += 11) {
    const flipped = Buffer.from(bytes);
    flipped.writeUInt8(flipped.readUInt8(offset) ^ 2, offset);
    await storage.put('repository.json', [flipped], { replace: true });
    await (await bench.open(storage, { key })).close();
    await storage.delete('repository-copy.json');
    await assert.rejects(bench.open(storage, { key }), { code: 'repository_damaged' });
    await storage.put('repository-copy.json', [copy]);
  }
  const newer = Buffer.from(bytes.toString().replace('"version": 1', '"version": 2'));
  assert.throws(() => decodeConfig(newer), /version 2/);
});

const contentsArbitrary = fc
  .array(
    fc.record({
      stored: fc.integer({ min: 1, max: 500 }),
      chunks: fc.integer({ min: 1, max: 9 }),
      zstd: fc.boolean(),
    }),
    { maxLength: 12 },
  )
  .map((frames): { contents: PackContents; end: number } => {
    let offset = PACK_HEADER_BYTES;
    const entries = frames.map(({ stored, chunks, zstd }) => {
      const frame = {
        offset,
        storedLength: stored,
        plainLength: chunks * 4096,
        blockSizeBytes: 4096,
        chunkCount: chunks,
        encoding: zstd ? ('zstd' as const) : ('raw' as const),
      };
      offset += stored;
      return frame;
    });
    const count = frames.reduce((sum, { chunks }) => sum + chunks, 0);
    return {
      contents: {
        createdAtMs: 1_700_000_000_000,
        frames: entries,
        digests: randomBytes(count * 32),
      },
      end: offset,
    };
  });

const keysOf = (encrypted: boolean): { packId: Buffer; packsKey: Buffer | null } => ({
  packId: randomBytes(16),
  packsKey: encrypted ? randomBytes(32) : null,
});

test('tables of contents come back as they were written, and any changed byte is found', () => {
  fc.assert(
    fc.property(
      contentsArbitrary,
      fc.boolean(),
      fc.nat(),
      ({ contents, end }, encrypted, where) => {
        const keys = keysOf(encrypted);
        const bytes = Buffer.from(encodePackEnd(contents, keys, end));
        const size = end + bytes.length;
        const decoded = decodePackEnd(bytes, keys, size);
        assert.deepEqual(decoded.frames, contents.frames);
        assert.equal(Buffer.compare(decoded.digests, contents.digests), 0);
        const at = where % bytes.length;
        bytes.writeUInt8(bytes.readUInt8(at) ^ 0x20, at);
        assert.throws(() => decodePackEnd(bytes, keys, size), StoredDataError);
      },
    ),
    { numRuns: 60 },
  );
});

test('frames come back as they were written, and any changed byte of a sealed or compressed one is found', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 3000 }),
      fc.boolean(),
      fc.boolean(),
      fc.nat(),
      (seed, repeat, encrypted, where) => {
        const plain = repeat ? Buffer.concat([seed, seed, seed, seed]) : Buffer.from(seed);
        const place = { ...keysOf(encrypted), frameNumber: 3 };
        const { stored, encoding } = encodeFrame(plain, { ...place, compressionLevel: 1 });
        const options = { ...place, encoding, plainLength: plain.length };
        assert.equal(Buffer.compare(decodeFrame(stored, options), plain), 0);
        const broken = Buffer.from(stored);
        const at = where % broken.length;
        broken.writeUInt8(broken.readUInt8(at) ^ 0x40, at);
        if (encrypted) assert.throws(() => decodeFrame(broken, options), StoredDataError);
        else {
          // Without a seal some flips decode to the same or other bytes: chunk digests find the latter.
          try {
            assert.equal(decodeFrame(broken, options).length, plain.length);
          } catch (error) {
            assert.ok(error instanceof StoredDataError);
          }
        }
      },
    ),
    { numRuns: 80 },
  );
});

test('invariant 6: random bytes as pack, node, frame or configuration give a typed error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (bytes, encrypted) => {
      const keys = keysOf(encrypted);
      assert.throws(
        () => decodePackEnd(bytes, keys, PACK_HEADER_BYTES + bytes.length),
        StoredDataError,
      );
      assert.throws(() => decodeNode(bytes, 0, 64), StoredDataError);
      assert.throws(() => decodeConfig(bytes), { code: 'repository_damaged' });
      const frame = { ...keys, frameNumber: 0, encoding: 'zstd' as const, plainLength: 4096 };
      assert.throws(() => decodeFrame(bytes, frame), StoredDataError);
    }),
    { numRuns: 100 },
  );
});

test('a node has one encoding', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 70 }), (present) => {
      const entries = Buffer.concat(
        present.map((set) => (set ? randomBytes(32) : Buffer.alloc(32))),
      );
      const encoded = encodeNode(2, entries);
      if (encoded === null) assert.ok(present.every((set) => !set));
      else assert.equal(Buffer.compare(decodeNode(encoded, 2, present.length), entries), 0);
    }),
  );
});
