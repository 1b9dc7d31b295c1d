import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Catalog } from '../database/catalog.ts';
import { claimNextJob, waitForNextJob } from './queue.ts';
import { enqueueTestJob, HOST_ID, temporaryCatalog } from './queue.test-suite.ts';

const claim = (catalog: Catalog, ownerId: string) =>
  claimNextJob(catalog, { hostId: HOST_ID, ownerId, kinds: ['test'] });

test('of jobs with one lock key only one runs, the oldest first', async (t) => {
  const { catalog } = await temporaryCatalog(t);
  const first = await enqueueTestJob(catalog, { lockKey: 'vm:a' });
  await new Promise((resolve) => setTimeout(resolve, 2));
  await enqueueTestJob(catalog, { lockKey: 'vm:a' });
  const other = await enqueueTestJob(catalog, { lockKey: 'vm:b' });
  const claimed = [await claim(catalog, 'w'), await claim(catalog, 'w'), await claim(catalog, 'w')];
  assert.deepEqual(
    claimed.map((job) => job?.id),
    [first, other, undefined],
  );
});

test('workers that race for jobs get each job once', async (t) => {
  const { catalog } = await temporaryCatalog(t);
  for (let n = 0; n < 5; n += 1) await enqueueTestJob(catalog);
  const claims = await Promise.all(Array.from({ length: 12 }, (_, n) => claim(catalog, `w${n}`)));
  const ids = claims.flatMap((job) => (job ? [job.id] : []));
  assert.equal(ids.length, 5);
  assert.equal(new Set(ids).size, 5);
});

test('waiting for a job ends with a job or with the signal', async (t) => {
  const { catalog } = await temporaryCatalog(t);
  const stop = new AbortController();
  const options = { hostId: HOST_ID, ownerId: 'w', kinds: ['test'], pollMs: 5 };
  const waiting = waitForNextJob(catalog, { ...options, signal: stop.signal });
  const id = await enqueueTestJob(catalog);
  assert.equal((await waiting).id, id);
  const second = waitForNextJob(catalog, { ...options, signal: stop.signal });
  stop.abort();
  await assert.rejects(second, { code: 'cancelled' });
});
