import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { systemClock } from '../../../shared/clock.ts';
import { OperationError, type ErrorCode } from '../../../shared/errors.ts';
import type { QuiescePolicy, VmDescription } from '../../../shared/inventory.ts';
import { silentLogger } from '../../../shared/logger.ts';
import type { FreezeGuard, GuardedCapture } from '../freeze-guard.ts';
import { beginHold, type CaptureHold } from './capture-hold.ts';
import { createCaptureMarks, type CaptureMarks } from './capture-mark.ts';
import { trackEffects } from './effects.ts';
import { freezeWithDisksAhead } from './disks-ahead.ts';
import { putBack, undoBackup } from './end-capture.ts';
import {
  createFakeDomain,
  FAULT_POINTS,
  type FakeDomain,
  type FaultKind,
  type FaultPoint,
} from './fake-domain.test-support.ts';
import { freezeAtStreamEnd, freezeForBackgroundSnapshot, watchPause } from './freeze.ts';
import { beginQuiescedBackup } from './quiesce.ts';

const DEADLINE_MS = 25;
/** Later than the deadline, so that a late call comes after the guest was let go. */
const LATE_MS = 40;
const PATIENCE = { attempts: 12, longestDelayMs: 5, stepTimeoutMs: 20, thawTimeoutMs: 200 };
const KINDS: readonly FaultKind[] = ['fails', 'lies', 'late'];

const hasCode =
  (code: ErrorCode) =>
  (error: unknown): boolean =>
    error instanceof OperationError && error.code === code;

let folder = '';
let marks: CaptureMarks;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'komadori-release-'));
  marks = createCaptureMarks(silentLogger, folder);
});
after(async () => await rm(folder, { recursive: true, force: true }));

interface Attempt {
  readonly fake: FakeDomain;
  readonly hold: CaptureHold;
  readonly error: unknown;
  readonly isFree: boolean;
  readonly told: readonly string[];
}

type Work = (parts: {
  fake: FakeDomain;
  hold: CaptureHold;
  tracker: ReturnType<typeof trackEffects>;
}) => Promise<unknown>;

/** One freeze as live-capture.ts runs it, with everything it does when that fails. */
async function attempt(fake: FakeDomain, work: Work, isUnguarded = false): Promise<Attempt> {
  const told: string[] = [];
  const guard: FreezeGuard = {
    id: 'test',
    async arm(capture: GuardedCapture) {
      // Told before it is so: nothing may be held yet that the guard does not know of.
      told.push(`${capture.holds}:${fake.guest.state}:${fake.guest.frozen}`);
      if (isUnguarded && capture.holds !== 'nothing') {
        throw new OperationError('unreachable', 'no guard');
      }
      return await Promise.resolve();
    },
    disarm: async () => await Promise.resolve(),
  };
  const capture = { captureId: randomUUID(), vmId: randomUUID(), wasRunning: true };
  const hold = await beginHold({ guard, marks, logger: silentLogger }, capture);
  const tracker = trackEffects(fake.control);
  const lateCalls = setInterval(() => fake.finishLate(), LATE_MS);
  let error: unknown = null;
  let isFree = true;
  try {
    await work({ fake, hold, tracker });
  } catch (thrown) {
    error = thrown;
    const { memory } = fake;
    const common = { tracker, hold, memory, logger: silentLogger };
    isFree = await putBack({ ...common, patience: PATIENCE });
  }
  while (fake.hasLate()) await new Promise<void>((resolve) => setTimeout(resolve, LATE_MS));
  clearInterval(lateCalls);
  if (isFree) await hold.end();
  return { fake, hold, error, isFree, told };
}

function assertFree({ fake, hold, isFree }: Attempt): void {
  assert.equal(fake.guest.state, 'running');
  assert.equal(fake.guest.frozen, false);
  assert.equal(isFree, true);
  assert.equal(hold.kind, 'nothing');
}

const background: Work = async ({ fake, hold, tracker }) => {
  const { domain } = tracker;
  const watch = await watchPause(domain);
  const work = { domain, hold, clock: systemClock, logger: silentLogger, deadlineMs: DEADLINE_MS };
  await freezeForBackgroundSnapshot(
    {
      ...work,
      beginBackup: async () => await domain.beginBackup({ backupXml: '', checkpointXml: null }),
      copyStateFiles: async () => await Promise.resolve(),
    },
    fake.memory,
    watch,
  );
};

/** Waiting for a guest to be quiet is not what these tests are about. */
const hurriedClock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() * 100 };

/** `written`: whether, and when, the guest writes between the disks' instant and its stop. */
const disksAhead =
  (written: 'never' | 'at once' | 'late'): Work =>
  async ({ fake, hold, tracker }) => {
    const { domain } = tracker;
    const write = (at: typeof written): void => {
      if (at === written) fake.guest.writes += 1;
    };
    const work = {
      domain: {
        ...domain,
        async suspend() {
          write('late');
          await domain.suspend();
        },
      },
      hold,
      clock: hurriedClock,
      logger: silentLogger,
      deadlineMs: DEADLINE_MS,
      async beginBackup() {
        await domain.beginBackup({ backupXml: '', checkpointXml: null });
        write('at once');
      },
      undoBackup: async () => await undoBackup(domain, { nbdSocketPath: '', checkpointName: 'c' }),
      copyStateFiles: async () => await Promise.resolve(),
    };
    await freezeWithDisksAhead(work, fake.memory);
  };

const streamEnd =
  (suspendFirst: boolean): Work =>
  async ({ fake, hold, tracker }) => {
    const { domain } = tracker;
    const watch = await watchPause(domain);
    const timer = setInterval(() => {
      if (fake.calls.includes('monitor:migrate')) fake.endStream();
    }, 2);
    const work = { domain, hold, clock: systemClock, logger: silentLogger };
    try {
      await freezeAtStreamEnd(
        {
          ...work,
          deadlineMs: DEADLINE_MS,
          beginBackup: async () => await domain.beginBackup({ backupXml: '', checkpointXml: null }),
          copyStateFiles: async () => await Promise.resolve(),
        },
        {
          memory: fake.memory,
          watch,
          suspendFirst,
          resumeAfter: true,
          convergeTimeoutMs: DEADLINE_MS,
        },
      );
    } finally {
      clearInterval(timer);
    }
  };

const VM = { name: 'web', agent: 'connected' } as VmDescription;

const quiesced =
  (policy: QuiescePolicy): Work =>
  async ({ hold, tracker }) => {
    const { domain } = tracker;
    await beginQuiescedBackup({
      tracker,
      hold,
      vm: VM,
      policy,
      deadlineMs: DEADLINE_MS,
      clock: systemClock,
      logger: silentLogger,
      begin: async () => await domain.beginBackup({ backupXml: '', checkpointXml: null }),
      patience: PATIENCE,
    });
  };

const WAYS: readonly {
  name: string;
  work: Work;
  mode: 'background' | 'pre-copy';
  resumesItself: boolean;
}[] = [
  { name: 'background, QEMU 7', work: background, mode: 'background', resumesItself: true },
  { name: 'background, QEMU 9', work: background, mode: 'background', resumesItself: false },
  { name: 'disks ahead', work: disksAhead('never'), mode: 'background', resumesItself: true },
  {
    name: 'disks ahead, QEMU 9',
    work: disksAhead('never'),
    mode: 'background',
    resumesItself: false,
  },
  {
    name: 'disks ahead, missed',
    work: disksAhead('late'),
    mode: 'background',
    resumesItself: true,
  },
  { name: 'pre-copy', work: streamEnd(false), mode: 'pre-copy', resumesItself: true },
  { name: 'stop-and-copy', work: streamEnd(true), mode: 'pre-copy', resumesItself: true },
  { name: 'freeze, require', work: quiesced('require'), mode: 'background', resumesItself: true },
  { name: 'freeze, prefer', work: quiesced('prefer'), mode: 'background', resumesItself: true },
];

describe('invariant 1: whatever call fails or hangs, the guest runs and is thawed', () => {
  for (const { name, work, mode, resumesItself } of WAYS) {
    test(`${name}: without a failure`, async () => {
      const result = await attempt(createFakeDomain({ mode, resumesItself }), work);
      assert.equal(result.error, null);
      assertFree(result);
    });
    for (const point of FAULT_POINTS) {
      test(`${name}: ${point}`, async () => {
        for (const kind of KINDS) {
          for (const times of [1, 3]) {
            const fault = { point, kind, times };
            const fake = createFakeDomain({ fault, mode, resumesItself });
            const result = await attempt(fake, work);
            assertFree(result);
          }
        }
      });
    }
  }

  test('the guard is told before the guest is touched, and again when it is free', async () => {
    const fake = createFakeDomain({ mode: 'background', resumesItself: true });
    assert.deepEqual((await attempt(fake, background)).told, [
      'nothing:running:false',
      'suspended:running:false',
      'nothing:running:false',
    ]);
    const frozen = createFakeDomain({ mode: 'background', resumesItself: true });
    assert.deepEqual((await attempt(frozen, quiesced('require'))).told.slice(0, 2), [
      'nothing:running:false',
      'frozen:running:false',
    ]);
  });

  for (const { name, work, mode, resumesItself } of WAYS) {
    test(`${name}: no guard, no touch`, async () => {
      const fake = createFakeDomain({ mode, resumesItself });
      const result = await attempt(fake, work, true);
      assert.ok(hasCode('unreachable')(result.error));
      for (const call of ['suspend', 'freezeFileSystems', 'monitor:migrate']) {
        assert.ok(!fake.calls.includes(call), call);
      }
    });
  }

  test('a guest that cannot be thawed stays marked, for the guard to go on with', async () => {
    const fault = { point: 'thawFileSystems' as FaultPoint, kind: 'fails' as const, times: 1000 };
    const fake = createFakeDomain({ fault, mode: 'background', resumesItself: true });
    const result = await attempt(fake, quiesced('prefer'));
    assert.ok(hasCode('agent_unavailable')(result.error));
    assert.equal(result.isFree, false);
    assert.equal(result.hold.kind, 'frozen');
    const [mark] = await marks.list('test');
    assert.equal(mark?.holds, 'frozen');
    await marks.remove(mark?.captureId ?? '');
  });
});

describe('invariant 4: disks whose instant came before the pause', () => {
  const run = async (work: Work): Promise<readonly string[]> => {
    const result = await attempt(
      createFakeDomain({ mode: 'background', resumesItself: true }),
      work,
    );
    assert.equal(result.error, null);
    assertFree(result);
    return result.fake.calls.filter((call) => !call.startsWith('monitor:query'));
  };

  const TAKEN_ANEW = ['endBackup', 'dropCheckpoint', 'suspend', 'beginBackup', 'monitor:migrate'];

  test('are taken when the guest wrote nothing until it stood still', async () => {
    const calls = await run(disksAhead('never'));
    assert.deepEqual(calls, ['beginBackup', 'suspend', 'monitor:migrate']);
  });

  test('are taken anew, in the pause, when it wrote', async () => {
    const calls = await run(disksAhead('late'));
    assert.deepEqual(calls, ['beginBackup', 'suspend', 'resume', ...TAKEN_ANEW]);
  });

  test('do not stop the guest in vain when it wrote at once', async () => {
    assert.deepEqual(await run(disksAhead('at once')), ['beginBackup', ...TAKEN_ANEW]);
  });

  test('are not tried with a guest that writes all the time', async () => {
    const calls = await run(async (parts) => {
      const { tracker, fake } = parts;
      const monitor = tracker.domain.monitor.bind(tracker.domain);
      Object.assign(tracker.domain, {
        async monitor(command: string) {
          fake.guest.writes += 1;
          return await monitor(command);
        },
      });
      await disksAhead('never')(parts);
    });
    assert.deepEqual(calls, ['suspend', 'beginBackup', 'monitor:migrate']);
  });
});

describe('a pause that is not ours', () => {
  test('stays when its owner paused the guest after our pause', async () => {
    const fake = createFakeDomain({ mode: 'background', resumesItself: true });
    const result = await attempt(fake, async (parts) => {
      await background(parts);
      fake.suspendByOwner();
      throw new Error('the stream broke later');
    });
    assert.equal(fake.guest.state, 'paused');
    assert.equal(result.isFree, true);
  });

  test('stays when its owner paused the guest during a pre-copy', async () => {
    for (const endsWell of [true, false]) {
      const fake = createFakeDomain({ mode: 'pre-copy', resumesItself: true });
      const result = await attempt(fake, async (parts) => {
        fake.suspendByOwner();
        await streamEnd(false)(parts);
        if (!endsWell) throw new Error('failed later');
      });
      assert.notEqual(fake.guest.state, 'running');
      assert.ok(!fake.calls.includes('resume'));
      assert.equal(result.hold.kind, 'nothing');
    }
  });

  test('a guest resumed by its owner within our pause is no snapshot (invariant 4)', async () => {
    const fake = createFakeDomain({ mode: 'background', resumesItself: true });
    const begin = fake.control.beginBackup.bind(fake.control);
    Object.assign(fake.control, {
      async beginBackup(backup: { backupXml: string; checkpointXml: null }) {
        await begin(backup);
        fake.resumeByOwner();
      },
    });
    const result = await attempt(fake, background);
    assert.ok(hasCode('guest_changed')(result.error));
    assertFree(result);
  });
});

describe('marks', () => {
  test('tell who holds what, and are gone with the capture', async () => {
    const capture = { captureId: randomUUID(), vmId: randomUUID(), wasRunning: true };
    await marks.write({ ...capture, holds: 'suspended' }, 'mine');
    assert.deepEqual(await marks.list('mine'), [
      { ...capture, holds: 'suspended', ownerAlive: true },
    ]);
    assert.deepEqual(await marks.list('another'), []);
    await marks.remove(capture.captureId);
    assert.equal(await marks.read(capture.captureId), null);
    assert.deepEqual(await readdir(folder), []);
  });
});
