import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { isErrorCode, OperationError, type ErrorCode } from '../../shared/errors.ts';
import type { BlobStorage } from './blob-storage.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (blob: Uint8Array): string => Buffer.from(blob).toString();

const failsWith = (code: ErrorCode) => (error: unknown) =>
  error instanceof OperationError && isErrorCode(error.code) && error.code === code;

/** What every adapter must do. `create` makes an empty storage; `destroy` removes it. */
export function runConformanceSuite(
  adapter: string,
  create: () => Promise<{ storage: BlobStorage; destroy: () => Promise<void> }>,
): void {
  const made: (() => Promise<void>)[] = [];
  const fresh = async (): Promise<BlobStorage> => {
    const { storage, destroy } = await create();
    made.push(destroy);
    return storage;
  };
  after(async () => {
    for (const destroy of made) await destroy();
  });

  testContents(adapter, fresh);
  testNames(adapter, fresh);
}

type Fresh = () => Promise<BlobStorage>;

function testContents(adapter: string, fresh: Fresh): void {
  test(`${adapter}: what was put is what is got, parts joined`, async () => {
    const storage = await fresh();
    await storage.put('packs/ab/one', [bytes('he'), bytes(''), bytes('llo')]);
    assert.equal(text(await storage.get('packs/ab/one')), 'hello');
    await storage.put('empty', []);
    assert.equal((await storage.get('empty')).length, 0);
  });

  test(`${adapter}: a put copies its parts, so later writes to them change nothing`, async () => {
    const storage = await fresh();
    const part = Buffer.from('before');
    await storage.put('a', [part]);
    part.fill('x');
    assert.equal(text(await storage.get('a')), 'before');
  });

  test(`${adapter}: ranges may reach past the end`, async () => {
    const storage = await fresh();
    await storage.put('a', [bytes('0123456789')]);
    const get = async (offset: number, lengthBytes: number): Promise<string> =>
      text(await storage.get('a', { offset, lengthBytes }));
    assert.equal(await get(0, 10), '0123456789');
    assert.equal(await get(3, 4), '3456');
    assert.equal(await get(8, 100), '89');
    assert.equal(await get(10, 1), '');
    assert.equal(await get(50, 1), '');
    assert.equal(await get(0, 0), '');
  });

  test(`${adapter}: a name is taken until it is replaced or deleted`, async () => {
    const storage = await fresh();
    await storage.put('a', [bytes('1')]);
    await assert.rejects(storage.put('a', [bytes('2')]), failsWith('name_taken'));
    assert.equal(text(await storage.get('a')), '1');
    await storage.put('a', [bytes('3')], { replace: true });
    assert.equal(text(await storage.get('a')), '3');
    await storage.delete('a');
    await storage.put('a', [bytes('4')]);
    assert.equal(text(await storage.get('a')), '4');
  });

  test(`${adapter}: of many puts of one name at once exactly one wins`, async () => {
    const storage = await fresh();
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, (_, index) => storage.put('race', [bytes(String(index))])),
    );
    const winners = results.flatMap((result, index) =>
      result.status === 'fulfilled' ? [index] : [],
    );
    assert.equal(winners.length, 1);
    assert.equal(text(await storage.get('race')), String(winners[0]));
  });
}

function testNames(adapter: string, fresh: Fresh): void {
  test(`${adapter}: what is missing is not found, and deleting it is fine`, async () => {
    const storage = await fresh();
    await assert.rejects(storage.get('missing'), failsWith('not_found'));
    await assert.rejects(storage.get('no/such/folder'), failsWith('not_found'));
    assert.equal(await storage.stat('missing'), null);
    await storage.delete('missing');
    await storage.put('a', [bytes('1')]);
    await storage.delete('a');
    await storage.delete('a');
    assert.equal(await storage.stat('a'), null);
  });

  test(`${adapter}: stat tells size and time`, async () => {
    const storage = await fresh();
    await storage.put('a/b', [bytes('12345')]);
    const found = await storage.stat('a/b');
    assert.equal(found?.sizeBytes, 5);
    assert.ok(found.modifiedAt instanceof Date);
    assert.equal(await storage.stat('a'), null);
  });

  test(`${adapter}: lists below a prefix folder, sorted, whole segments only`, async () => {
    const storage = await fresh();
    for (const name of ['packs/b/2', 'packs/a/1', 'packs-old', 'manifests/z', 'packs/a/0']) {
      await storage.put(name, [bytes(name)]);
    }
    const names = async (prefix: string): Promise<string[]> =>
      (await storage.list(prefix)).map((entry) => entry.name);
    assert.deepEqual(await names('packs'), ['packs/a/0', 'packs/a/1', 'packs/b/2']);
    assert.deepEqual(await names('packs/'), ['packs/a/0', 'packs/a/1', 'packs/b/2']);
    assert.deepEqual(await names('nothing'), []);
    assert.equal((await names('')).length, 5);
    assert.equal((await storage.list('manifests'))[0]?.sizeBytes, 'manifests/z'.length);
  });

  test(`${adapter}: names that could leave the storage are refused`, async () => {
    const storage = await fresh();
    const wrong = [
      '',
      '/',
      '/a',
      'a/',
      'a//b',
      '..',
      '../a',
      'a/../b',
      'a/.',
      '.a',
      'A',
      'a b',
      'a\0',
      'a\n',
      'é',
      'x'.repeat(256),
    ];
    for (const name of wrong) {
      await assert.rejects(storage.put(name, []), failsWith('invalid_input'), name);
      await assert.rejects(storage.get(name), failsWith('invalid_input'), name);
      await assert.rejects(storage.stat(name), failsWith('invalid_input'), name);
      await assert.rejects(storage.delete(name), failsWith('invalid_input'), name);
    }
    await assert.rejects(storage.list('../a'), failsWith('invalid_input'));
  });

  test(`${adapter}: a sweep leaves everything that is stored`, async () => {
    const storage = await fresh();
    await storage.put('a', [bytes('1')]);
    await storage.sweep();
    assert.equal(text(await storage.get('a')), '1');
    const free = await storage.freeBytes();
    assert.ok(free === null || free > 0);
  });
}
