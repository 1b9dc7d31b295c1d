import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Snapshot } from '../../src/contract/snapshots.ts';
import { MIB } from '../../src/shared/byte-size.ts';
import { createTestGuest, type TestGuest } from '../support/guest/create-test-guest.ts';
import { findRemains } from '../support/service/capture-remains.ts';
import {
  deleteSnapshot,
  getSnapshot,
  readPowerState,
  rollBack,
  succeed,
  takeSnapshot,
  verifySnapshot,
  waitForVm,
} from '../support/service/operations.ts';
import { startTestService, type TestService } from '../support/service/start-service.ts';

const LINE_TIMEOUT_MS = 120_000;
const ROUND = /^round (\d+) ok$/;
const MEMORY_MIB = 192;
const DISK_MIB = 32;

let service: TestService;
let guest: TestGuest;

before(async () => {
  service = await startTestService();
  guest = await createTestGuest({
    name: 'rollback',
    mode: 'pattern',
    memoryMiB: MEMORY_MIB,
    disks: [
      { target: 'vda', format: 'qcow2', sizeMiB: DISK_MIB, content: 'random', filledMiB: 24 },
      { target: 'vdb', format: 'raw', sizeMiB: DISK_MIB, content: 'random', filledMiB: 4 },
    ],
  });
  await waitForVm(service, guest.id, 'running');
});
after(async () => {
  await guest?.destroy();
  await service?.destroy();
});

const roundOf = (text: string): number => Number(ROUND.exec(text)?.[1]);

/** The next round that the guest finishes, some rounds after now. */
async function nextRound(skip = 0, since = guest.nextLine): Promise<number> {
  const line = await guest.waitForLine(ROUND, { timeoutMs: LINE_TIMEOUT_MS, since });
  if (skip === 0) return roundOf(line.text);
  const later = roundOf(line.text) + skip;
  await guest.waitForLine(`round ${later} ok`, { timeoutMs: LINE_TIMEOUT_MS, since });
  return later;
}

interface Captured {
  readonly snapshot: Snapshot;
  /** Rounds between which the instant lies. */
  readonly from: number;
  readonly to: number;
}

async function capture(kind: 'full' | 'disk' = 'full'): Promise<Captured> {
  const from = await nextRound();
  const snapshot = await takeSnapshot(service, guest, { kind });
  return { snapshot, from, to: await nextRound() };
}

/** Two disks and memory agree in every round since `since`, and the first one goes on from the instant. */
async function assertGoesOn(captured: Pick<Captured, 'from' | 'to'>, since: number): Promise<void> {
  const first = await nextRound(0, since);
  await nextRound(5);
  const violations = guest
    .serialLines(since)
    .filter(({ text }) => /^(VIOLATION|pattern starts)/.test(text));
  assert.deepEqual(violations, []);
  assert.ok(
    first >= captured.from && first <= captured.to,
    `went on at round ${first}, captured between ${captured.from} and ${captured.to}`,
  );
  assert.equal(await readPowerState(guest.name), 'running');
}

describe('rolling a running VM back', () => {
  let first: Captured;
  let second: Captured;
  let safety: Captured;

  test('a full snapshot holds everything, and the guest goes on after a measured pause', async () => {
    await nextRound(3);
    first = await capture();
    const { snapshot } = first;
    assert.equal(snapshot.state, 'active');
    assert.equal(snapshot.level, 'memory');
    assert.equal(snapshot.memoryMode, 'background');
    assert.ok((snapshot.pauseMs ?? 0) > 0, 'the pause was not measured');
    assert.ok(snapshot.pausePhases.length > 0);
    assert.equal(snapshot.sizes?.logicalBytes, (MEMORY_MIB + 2 * DISK_MIB) * MIB);
    assert.ok((snapshot.sizes?.readBytes ?? 0) >= 28 * MIB);
    assert.equal(await readPowerState(guest.name), 'running');
  });

  test('the next one reads and stores only what changed', async () => {
    await nextRound(5);
    second = await capture();
    const { sizes, parentSnapshotId } = second.snapshot;
    assert.equal(parentSnapshotId, first.snapshot.id);
    const firstSizes = first.snapshot.sizes;
    assert.ok(sizes && firstSizes);
    // The qcow2 disk has a dirty map; the raw one has none and is read again.
    assert.ok(
      firstSizes.readBytes - sizes.readBytes > 20 * MIB,
      JSON.stringify([firstSizes, sizes]),
    );
    assert.ok(sizes.newBytes < firstSizes.newBytes / 3, JSON.stringify([firstSizes, sizes]));
    const disksOnly = await capture('disk');
    assert.ok((disksOnly.snapshot.sizes?.readBytes ?? 0) < 6 * MIB, JSON.stringify(disksOnly));
    await deleteSnapshot(service, disksOnly.snapshot);
  });

  test('invariant 4: after the rollback both disks and the memory are of the captured instant', async () => {
    const left = await nextRound(5);
    const since = guest.nextLine;
    const { request } = await rollBack(service, first.snapshot);
    const earlier = guest.serialLines(since).map((line) => roundOf(line.text));
    await assertGoesOn(first, await lineOfRollback(since, first.to));
    assert.ok(request.result?.safetySnapshotId, 'no safety snapshot was taken');
    const snapshot = await getSnapshot(service, request.result.safetySnapshotId);
    assert.equal(snapshot.state, 'active');
    assert.equal(snapshot.level, 'memory');
    const highest = Math.max(left, ...earlier.filter((round) => round > first.to));
    safety = { snapshot, from: left, to: highest + 1 };
    assert.equal((await waitForVm(service, guest.id)).currentSnapshotId, first.snapshot.id);
  });

  test('with the one in the middle deleted and its space collected, the others restore', async () => {
    await deleteSnapshot(service, second.snapshot);
    const [repository] = (await service.client.call('repositoryList', { query: {} })).items;
    assert.ok(repository);
    const request = await service.client.call('repositoryCollect', {
      params: { id: repository.id },
    });
    await succeed(service, request.id);
    assert.equal((await verifySnapshot(service, first.snapshot)).damageCount, 0);
    for (const captured of [safety, first]) {
      const since = guest.nextLine;
      await rollBack(service, captured.snapshot, { safetySnapshot: false });
      await assertGoesOn(captured, await lineOfRollback(since, captured.to, captured.from));
    }
  });

  test('nothing is left on the host', async () => {
    assert.deepEqual(await findRemains(service, guest), []);
    assert.equal(await readPowerState(guest.name), 'running');
  });
});

/** The number of the first line after the jump: rounds count on until the old machine is stopped. */
async function lineOfRollback(since: number, to: number, from = 0): Promise<number> {
  let previous = -1;
  const rounds = (): { number: number; round: number }[] =>
    guest
      .serialLines(since)
      .filter((line) => ROUND.test(line.text))
      .map((line) => ({ number: line.number, round: roundOf(line.text) }));
  await nextRound(1, since);
  await nextRound(1);
  for (const { number, round } of rounds()) {
    if (previous >= 0 && round !== previous + 1) return number;
    previous = round;
  }
  const only = rounds()[0];
  if (only && only.round >= from && only.round <= to) return only.number;
  throw new Error(`the guest counts on as if nothing had happened: ${JSON.stringify(rounds())}`);
}
