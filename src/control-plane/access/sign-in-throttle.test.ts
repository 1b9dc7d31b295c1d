import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { openCatalog, type Catalog } from '../database/catalog.ts';
import { trimThrottles, type ThrottleKey } from '../database/sign-in-throttles.ts';
import { beginAttempt, forgiveAttempt, networkOf, throttleKeys } from './sign-in-throttle.ts';

const START_MS = Date.parse('2026-01-02T03:04:05.678Z');

async function open(t: TestContext): Promise<Catalog> {
  const folder = await mkdtemp(path.join(tmpdir(), 'throttle-'));
  const catalog = await openCatalog({ path: path.join(folder, 'catalog.db') });
  t.after(async () => {
    await catalog.close();
    await rm(folder, { recursive: true });
  });
  return catalog;
}

const attempt = (catalog: Catalog, keys: readonly ThrottleKey[], atMs: number) =>
  catalog.write((tx) => beginAttempt(tx, keys, new Date(atMs)));

test('after five failures there is a wait that doubles, up to a quarter of an hour', async (t) => {
  const catalog = await open(t);
  const keys = throttleKeys({ name: 'aya', isKnown: true, sourceAddress: null }).slice(0, 1);
  for (let n = 0; n < 4; n += 1)
    assert.equal(await attempt(catalog, keys, START_MS), undefined, `attempt ${n}`);
  let nowMs = START_MS;
  const waits: number[] = [];
  for (let n = 0; n < 10; n += 1) {
    assert.equal(
      await attempt(catalog, keys, nowMs),
      undefined,
      'after each wait one is let through',
    );
    const refusal = await attempt(catalog, keys, nowMs);
    waits.push(refusal?.retryAfterSeconds ?? 0);
    nowMs += (refusal?.retryAfterSeconds ?? 0) * 1000;
  }
  assert.deepEqual(waits.slice(0, 4), [10, 20, 40, 80]);
  assert.equal(waits.at(-1), 900);
});

test('attempts that are made at once count as many', async (t) => {
  const catalog = await open(t);
  const keys = throttleKeys({ name: 'aya', isKnown: true, sourceAddress: '192.0.2.1' });
  const answers = await Promise.all(
    Array.from({ length: 50 }, () => attempt(catalog, keys, START_MS)),
  );
  assert.equal(answers.filter((answer) => answer === undefined).length, 5);
  assert.equal(answers.filter((answer) => answer?.isFirst).length, 1);
});

test('a success forgives the account, and of the address only itself', async (t) => {
  const catalog = await open(t);
  const keysOf = (name: string) =>
    throttleKeys({ name, isKnown: true, sourceAddress: '192.0.2.1' });
  for (let n = 0; n < 19; n += 1)
    assert.equal(await attempt(catalog, keysOf(`user-${n}`), START_MS), undefined);
  // Whoever has an account of their own cannot go on guessing others' with it.
  await attempt(catalog, keysOf('own'), START_MS);
  await catalog.write((tx) => forgiveAttempt(tx, keysOf('own'), new Date(START_MS)));
  assert.equal(await attempt(catalog, keysOf('user-20'), START_MS), undefined);
  assert.ok(await attempt(catalog, keysOf('user-21'), START_MS));
  const elsewhere = throttleKeys({ name: 'user-21', isKnown: true, sourceAddress: '192.0.2.2' });
  assert.equal(await attempt(catalog, elsewhere, START_MS), undefined);
});

test('failures are forgotten after a day, and the table has a limit', async (t) => {
  const catalog = await open(t);
  const keysOf = (name: string) =>
    throttleKeys({ name, isKnown: false, sourceAddress: null }).slice(0, 1);
  for (let n = 0; n < 10; n += 1) await attempt(catalog, keysOf(`name-${n}`), START_MS + n);
  const count = async () =>
    (await catalog.read.selectFrom('sign_in_throttles').selectAll().execute()).length;
  assert.equal(await count(), 10);
  const failedAfter = new Date(0).toISOString();
  await catalog.write((tx) => trimThrottles(tx, { kind: 'unknown', failedAfter, kept: 4 }));
  assert.equal(await count(), 4);
  await attempt(catalog, keysOf('later'), START_MS + 25 * 3600_000);
  assert.equal(await count(), 1);
});

test('names that nobody has can be told from accounts only inside', () => {
  const [known] = throttleKeys({ name: 'aya', isKnown: true, sourceAddress: null });
  const [unknown] = throttleKeys({ name: 'hunter2 hunter2', isKnown: false, sourceAddress: null });
  assert.notEqual(known?.kind, unknown?.kind);
  assert.ok(!unknown?.key.includes('hunter2'));
});

test('an IPv6 address counts as its network', () => {
  assert.equal(networkOf('192.0.2.7'), '192.0.2.7');
  assert.equal(networkOf('::ffff:192.0.2.7'), '192.0.2.7');
  assert.equal(networkOf('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2::/64');
  assert.equal(networkOf('2001:DB8:1:2::1'), '2001:db8:1:2::/64');
  assert.equal(networkOf('2001:db8::1'), '2001:db8:0:0::/64');
  assert.equal(networkOf('::1'), '0:0:0:0::/64');
  assert.equal(networkOf('fe80::1%eth0'), 'fe80:0:0:0::/64');
  assert.equal(networkOf(null), 'none');
});
