import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Job } from '../../src/contract/jobs.ts';
import type { Request } from '../../src/contract/requests.ts';
import type { Snapshot } from '../../src/contract/snapshots.ts';
import { createTestGuest, type TestGuest } from '../support/guest/create-test-guest.ts';
import { findRemains } from '../support/service/capture-remains.ts';
import { waitForResume, waitForStep, watchSuspension } from '../support/service/moments.ts';
import {
  askForRollback,
  askForSnapshot,
  finish,
  getSnapshot,
  listSnapshots,
  readPowerState,
  takeSnapshot,
  verifySnapshot,
  waitForVm,
} from '../support/service/operations.ts';
import { startTestService, type TestService } from '../support/service/start-service.ts';
import { waitUntil } from '../support/service/wait-until.ts';

const LINE_TIMEOUT_MS = 180_000;
const ROUND = /^round (\d+) ok$/;

/** What dies; between them all processes of ours die, alone and together. */
type Victim = 'worker' | 'all' | 'parent';

let service: TestService;
let guest: TestGuest;
let kept: Snapshot;

before(async () => {
  service = await startTestService();
  guest = await createTestGuest({
    name: 'crash',
    mode: 'pattern',
    memoryMiB: 160,
    disks: [
      { target: 'vda', format: 'qcow2', sizeMiB: 48, content: 'random', filledMiB: 40 },
      { target: 'vdb', format: 'raw', sizeMiB: 48, content: 'random', filledMiB: 40 },
    ],
  });
  await waitForVm(service, guest.id, 'running');
  await guest.waitForLine(ROUND, { timeoutMs: LINE_TIMEOUT_MS });
  kept = await takeSnapshot(service, guest, { name: 'kept' });
});
after(async () => {
  await service?.destroy();
  await guest?.destroy();
});

async function kill(victim: Victim): Promise<void> {
  if (victim === 'worker') return await service.killWorker();
  if (victim === 'all') await service.killAll();
  else await service.killParent();
  await service.start();
}

/** Everything that must hold when a job is over after a crash, however it ended. */
async function assertWhole(request: Request, job: Job | null, since: number): Promise<void> {
  const outcome = request.state === 'failed' ? request.failure?.code : request.state;
  assert.ok(
    outcome === 'interrupted' || outcome === 'succeeded',
    JSON.stringify([request.failure, await service.readLog()]),
  );
  await waitUntil('The guest’s running', async () =>
    (await readPowerState(guest.name)) === 'running' ? true : undefined,
  );
  await guest.waitForLine(ROUND, { timeoutMs: LINE_TIMEOUT_MS, since: guest.nextLine + 1 });
  const violations = guest
    .serialLines(since)
    .filter(({ text }) => /^(VIOLATION|STOPPED)/.test(text));
  assert.deepEqual(violations, []);
  assert.deepEqual(await findRemains(service, guest, job ? [job.id] : []), []);
  for (const snapshot of await listSnapshots(service, guest.id)) {
    assert.ok(['active', 'failed'].includes(snapshot.state), JSON.stringify(snapshot));
    assert.equal(snapshot.busyWith, null);
  }
  assert.equal((await getSnapshot(service, kept.id)).state, 'active');
}

describe('invariants 1 and 5: a process of ours is killed while it captures', () => {
  const moments: readonly { step: string; victim: Victim }[] = [
    { step: 'reserve scratch', victim: 'all' },
    { step: 'stream', victim: 'worker' },
    { step: 'stream', victim: 'parent' },
    { step: 'commit', victim: 'worker' },
    { step: 'release', victim: 'all' },
  ];
  for (const { step, victim } of moments) {
    test(`${victim}, at «${step}»`, async (t) => {
      const since = guest.nextLine;
      const { id } = await askForSnapshot(service, guest);
      const seen = await waitForStep(service, id, step);
      await kill(victim);
      const { request, job } = await finish(service, id);
      t.diagnostic(`killed while ${describeSteps(seen)}; the job then ${request.state}`);
      await assertWhole(request, job, since);
    });
  }

  test('worker, while the guest stands still', async (t) => {
    const since = guest.nextLine;
    const watch = await watchSuspension(guest.name);
    try {
      const { id } = await askForSnapshot(service, guest);
      await watch.suspended;
      await service.killWorker();
      const { request, job } = await finish(service, id);
      t.diagnostic(`the job then ${request.state}`);
      await assertWhole(request, job, since);
    } finally {
      await watch.stop();
    }
  });

  test('a new snapshot works afterwards, and is whole', async () => {
    const snapshot = await takeSnapshot(service, guest);
    assert.equal(snapshot.level, 'memory');
    assert.equal((await verifySnapshot(service, snapshot)).damageCount, 0);
    assert.deepEqual(await findRemains(service, guest), []);
  });
});

describe('invariants 1 and 5: a process of ours is killed while it rolls a VM back', () => {
  const moments: readonly { step: string; victim: Victim }[] = [
    { step: 'stage', victim: 'worker' },
    { step: 'safety snapshot', victim: 'all' },
    { step: 'stop', victim: 'worker' },
    { step: 'swap', victim: 'all' },
    { step: 'start', victim: 'worker' },
    { step: 'tidy up', victim: 'parent' },
  ];
  for (const { step, victim } of moments) {
    test(`${victim}, at «${step}»`, async (t) => {
      const since = guest.nextLine;
      const { id } = await askForRollback(service, kept);
      const seen = await waitForStep(service, id, step);
      if (step === 'start') await waitForResume(guest.id);
      await kill(victim);
      const { request, job } = await finish(service, id);
      t.diagnostic(`killed while ${describeSteps(seen)}; the job then ${request.state}`);
      await assertWhole(request, job, since);
    });
  }

  test('what was kept is whole, and a new snapshot works', async () => {
    assert.equal((await verifySnapshot(service, kept)).damageCount, 0);
    assert.equal((await takeSnapshot(service, guest)).level, 'memory');
    assert.deepEqual(await findRemains(service, guest), []);
  });
});

const describeSteps = (job: Job): string =>
  job.steps
    .filter(({ state }) => state !== 'waiting')
    .map(({ name, state }) => `${name} ${state}`)
    .join(', ');
