import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runConformanceSuite } from '../conformance.test-suite.ts';
import { createMemoryStorage } from './memory-storage.ts';

runConformanceSuite('memory', async () => ({
  storage: createMemoryStorage(),
  destroy: async () => undefined,
}));

test('memory: a full storage refuses with insufficient_space and keeps what it has', async () => {
  const storage = createMemoryStorage({ capacityBytes: 10 });
  await storage.put('a', [Buffer.alloc(8)]);
  await assert.rejects(storage.put('b', [Buffer.alloc(3)]), { code: 'insufficient_space' });
  assert.equal(await storage.freeBytes(), 2);
  assert.equal((await storage.get('a')).length, 8);
});
