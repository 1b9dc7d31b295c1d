import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../shared/clock.ts';
import { OperationError } from '../../shared/errors.ts';
import { silentLogger } from '../../shared/logger.ts';
import type { Catalog } from '../database/catalog.ts';
import { listSteps } from '../database/job-steps.ts';
import { findJob } from '../database/jobs.ts';
import { findRequest } from '../database/requests.ts';
import type { JobDefinition } from './job-definition.ts';
import { claimNextJob, requestJobCancel, takeOverJobs } from './queue.ts';
import {
  COMMIT_STEP,
  enqueueTestJob,
  HOST_ID,
  STEP_NAMES,
  temporaryCatalog,
  testDefinition,
  type TestDefinition,
} from './queue.test-suite.ts';
import { runJob, type JobOutcome } from './run-job.ts';

const COMMIT_POSITION = STEP_NAMES.indexOf(COMMIT_STEP);
const never = new AbortController().signal;

/** A clock that can jump, so that back-offs and lease ends need no waiting. */
function jumpingClock(): Clock & { jump(ms: number): void } {
  let offsetMs = 0;
  return {
    now: () => new Date(Date.now() + offsetMs),
    monotonicMs: () => performance.now(),
    jump: (ms) => {
      offsetMs += ms;
    },
  };
}

const claim = (
  catalog: Catalog,
  ownerId: string,
  options: { clock?: Clock; leaseMs?: number } = {},
) => claimNextJob(catalog, { hostId: HOST_ID, ownerId, kinds: ['test'], ...options });

async function claimAndRun(
  catalog: Catalog,
  definition: TestDefinition,
  options: { ownerId?: string; signal?: AbortSignal; clock?: Clock; leaseMs?: number } = {},
): Promise<JobOutcome['state']> {
  const { ownerId = 'worker-1', signal = never, ...rest } = options;
  const job = await claim(catalog, ownerId, rest);
  assert.ok(job, 'there is no job to claim');
  const execution = { catalog, job, ownerId, logger: silentLogger, signal, ...rest };
  return (await runJob(definition, execution)).state;
}

/** Effects as a set of names: run adds, undo removes. */
function recordedEffects(failAt?: string): { definition: TestDefinition; effects: Set<string> } {
  const effects = new Set<string>();
  const definition = testDefinition({
    onRun: async (step) => {
      effects.add(step);
      if (step === failAt) throw new OperationError('insufficient_space', 'No room.');
    },
    onUndo: async (step) => void effects.delete(step),
  });
  return { definition, effects };
}

const stepStates = async (catalog: Catalog, jobId: string) =>
  (await listSteps(catalog.read, [jobId])).map((step) => step.state);

async function requestOf(catalog: Catalog, jobId: string) {
  const job = await findJob(catalog.read, jobId);
  assert.ok(job);
  const request = await findRequest(catalog.read, job.requestId);
  assert.ok(request);
  return { job, request };
}

test('a job that succeeds runs its steps in order and ends with its request', async (t) => {
  const { catalog } = await temporaryCatalog(t);
  const id = await enqueueTestJob(catalog);
  const { definition, effects } = recordedEffects();
  assert.equal(await claimAndRun(catalog, definition), 'succeeded');
  assert.deepEqual([...effects], STEP_NAMES);
  assert.deepEqual(await stepStates(catalog, id), ['done', 'done', 'done', 'done']);
  const { job, request } = await requestOf(catalog, id);
  assert.equal(job.state, 'succeeded');
  assert.equal(request.state, 'succeeded');
  assert.equal(await claim(catalog, 'worker-1'), undefined);
});

for (const [position, failAt] of STEP_NAMES.entries()) {
  test(`when step ${failAt} fails, ${position <= COMMIT_POSITION ? 'everything is undone' : 'it is tried again'}`, async (t) => {
    const { catalog } = await temporaryCatalog(t);
    const id = await enqueueTestJob(catalog);
    const { definition, effects } = recordedEffects(failAt);
    const clock = jumpingClock();
    const outcome = await claimAndRun(catalog, definition, { clock });
    if (position > COMMIT_POSITION) {
      assert.equal(outcome, 'waiting');
      assert.equal(
        await claim(catalog, 'worker-1', { clock }),
        undefined,
        'it waits before it retries',
      );
      clock.jump(2000);
      assert.equal(
        await claimAndRun(catalog, recordedEffects().definition, { clock }),
        'succeeded',
      );
      return;
    }
    assert.equal(outcome, 'failed');
    assert.deepEqual([...effects], []);
    const states = STEP_NAMES.map((_, n) => (n <= position ? 'undone' : 'waiting'));
    assert.deepEqual(await stepStates(catalog, id), states);
    const { request } = await requestOf(catalog, id);
    assert.equal(request.state, 'failed');
    assert.deepEqual(request.failure, { code: 'insufficient_space', message: 'No room.' });
  });
}

test('cancel reaches the running step, which is undone', async (t) => {
  const { catalog } = await temporaryCatalog(t);
  const id = await enqueueTestJob(catalog);
  const effects: string[] = [];
  const definition = testDefinition({
    onRun: async (step, signal) => {
      effects.push(step);
      if (step !== 'copy') return;
      await catalog.write((tx) =>
        requestJobCancel(tx, { id, reason: 'not needed', at: new Date().toISOString() }),
      );
      await new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(new Error('socket closed')));
      });
    },
    onUndo: async (step) => void effects.splice(effects.indexOf(step), 1),
  });
  assert.equal(await claimAndRun(catalog, definition), 'cancelled');
  assert.deepEqual(effects, []);
  const { request } = await requestOf(catalog, id);
  assert.equal(request.state, 'cancelled');
  assert.match(request.failure?.message ?? '', /not needed/);
});

test('a job that is cancelled while it waits never starts', async (t) => {
  const { catalog } = await temporaryCatalog(t);
  const id = await enqueueTestJob(catalog);
  const at = new Date().toISOString();
  assert.ok(await catalog.write((tx) => requestJobCancel(tx, { id, reason: '', at })));
  const { definition, effects } = recordedEffects();
  assert.equal(await claimAndRun(catalog, definition), 'cancelled');
  assert.equal(effects.size, 0);
  assert.equal(await catalog.write((tx) => requestJobCancel(tx, { id, reason: '', at })), false);
});

test('shutting down undoes before the commit, and leaves the rest to the next worker after it', async (t) => {
  for (const stopAt of ['copy', 'release']) {
    const { catalog } = await temporaryCatalog(t);
    const id = await enqueueTestJob(catalog);
    const shutdown = new AbortController();
    const effects = new Set<string>();
    const definition = testDefinition({
      onRun: async (step, signal) => {
        effects.add(step);
        if (step === stopAt && !shutdown.signal.aborted) shutdown.abort();
        signal.throwIfAborted();
      },
      onUndo: async (step) => void effects.delete(step),
    });
    const outcome = await claimAndRun(catalog, definition, { signal: shutdown.signal });
    if (stopAt === 'copy') {
      assert.equal(outcome, 'failed');
      assert.equal(effects.size, 0);
      assert.equal((await requestOf(catalog, id)).request.failure?.code, 'interrupted');
    } else {
      assert.equal(outcome, 'waiting');
      assert.equal(await claimAndRun(catalog, definition, { ownerId: 'next' }), 'succeeded');
    }
  }
});

test('an undo that fails is tried again, and what is before it waits', async (t) => {
  const { catalog } = await temporaryCatalog(t);
  await enqueueTestJob(catalog);
  const clock = jumpingClock();
  const undone: string[] = [];
  let failures = 2;
  const definition = testDefinition({
    onRun: async (step) => {
      if (step === 'commit') throw new Error('on purpose');
    },
    onUndo: async (step) => {
      if (step === 'copy' && failures-- > 0) throw new Error('host is down');
      undone.push(step);
    },
  });
  assert.equal(await claimAndRun(catalog, definition, { clock }), 'waiting');
  assert.deepEqual(undone, ['commit']);
  clock.jump(1500);
  assert.equal(await claimAndRun(catalog, definition, { clock }), 'waiting');
  clock.jump(2500);
  assert.equal(await claimAndRun(catalog, definition, { clock }), 'failed');
  assert.deepEqual(undone, ['commit', 'copy', 'reserve']);
});

test('a step after the commit that never succeeds is given up and says so', async (t) => {
  const { catalog } = await temporaryCatalog(t);
  await enqueueTestJob(catalog);
  const clock = jumpingClock();
  let committed: boolean | undefined;
  const definition: TestDefinition = {
    ...recordedEffects('release').definition,
    onFailed: async (_, facts) => {
      ({ committed } = facts);
    },
  };
  let outcome: JobOutcome['state'] = 'waiting';
  for (let attempt = 0; attempt < 20 && outcome === 'waiting'; attempt += 1) {
    outcome = await claimAndRun(catalog, definition, { clock });
    clock.jump(61_000);
  }
  assert.equal(outcome, 'failed');
  assert.equal(committed, true);
});

test('a worker that lost its lease can write nothing, and undoes nothing', async (t) => {
  const { catalog } = await temporaryCatalog(t);
  const id = await enqueueTestJob(catalog);
  const undone: string[] = [];
  const refusals: unknown[] = [];
  const base = recordedEffects().definition;
  const definition: JobDefinition<object, { begun: string[] }> = {
    ...base,
    steps: base.steps.map((step) => ({
      ...step,
      run: async (context) => {
        await takeOverJobs(catalog, { hostId: HOST_ID, ownerId: 'thief' });
        assert.equal((await claim(catalog, 'thief'))?.id, id);
        const writes = [
          () => context.save({ begun: ['x'] }),
          () => context.write(async () => 'written'),
        ];
        for (const write of writes)
          await assert.rejects(write(), (error) => refusals.push(error) > 0);
        throw new Error('the step ends');
      },
      undo: async () => void undone.push(step.name),
    })),
  };
  const job = await claim(catalog, 'victim');
  assert.ok(job);
  const execution = { catalog, job, ownerId: 'victim', logger: silentLogger, signal: never };
  assert.deepEqual(await runJob(definition, execution), { state: 'lost' });
  assert.equal(refusals.length, 2);
  assert.deepEqual(undone, []);
  assert.equal((await findJob(catalog.read, id))?.state, 'running');
});

test('effects are undone even when the catalog cannot be written', async (t) => {
  const { catalog } = await temporaryCatalog(t);
  await enqueueTestJob(catalog);
  let broken = false;
  const failing: Catalog = {
    ...catalog,
    write: (work) => (broken ? Promise.reject(new Error('disk is full')) : catalog.write(work)),
  };
  const effects = new Set<string>();
  const definition = testDefinition({
    onRun: async (step) => {
      effects.add(step);
      if (step === 'copy') broken = true;
    },
    onUndo: async (step) => void effects.delete(step),
  });
  const job = await claim(catalog, 'worker-1');
  assert.ok(job);
  const execution = { catalog: failing, job, ownerId: 'worker-1', logger: silentLogger };
  assert.deepEqual(await runJob(definition, { ...execution, signal: never }), { state: 'lost' });
  assert.equal(effects.size, 0);
  broken = false;
  await takeOverJobs(catalog, { hostId: HOST_ID, ownerId: 'worker-2' });
  assert.equal(await claimAndRun(catalog, definition, { ownerId: 'worker-2' }), 'failed');
});

test('the lease is renewed while a step runs, and nobody else can claim the job', async (t) => {
  const { catalog } = await temporaryCatalog(t);
  const id = await enqueueTestJob(catalog);
  const expiry = async () =>
    (await catalog.read.selectFrom('jobs').select('lease_expires_at').executeTakeFirstOrThrow())
      .lease_expires_at ?? '';
  const definition = testDefinition({
    onRun: async (step) => {
      if (step !== 'copy') return;
      const before = await expiry();
      const deadline = Date.now() + 5000;
      while ((await expiry()) <= before && Date.now() < deadline)
        await new Promise((resolve) => setTimeout(resolve, 20));
      assert.ok((await expiry()) > before, 'the lease was not renewed');
      assert.equal(await claim(catalog, 'thief'), undefined);
    },
    onUndo: async () => undefined,
  });
  assert.equal(await claimAndRun(catalog, definition, { leaseMs: 600 }), 'succeeded');
  assert.equal((await findJob(catalog.read, id))?.attempts, 1);
});

test('progress is written with a rate, and not for every report', async (t) => {
  const { catalog } = await temporaryCatalog(t);
  const id = await enqueueTestJob(catalog);
  const definition = testDefinition({
    onRun: async (step, _, report) => {
      if (step === 'copy') for (let n = 0; n <= 50; n += 1) report(n);
    },
    onUndo: async () => undefined,
  });
  assert.equal(await claimAndRun(catalog, definition), 'succeeded');
  const progress = (await findJob(catalog.read, id))?.progress;
  assert.equal(progress?.doneBytes, 50);
  const rows = await catalog.read
    .selectFrom('notifications')
    .selectAll()
    .where('type', '=', 'progress')
    .execute();
  assert.ok(rows.length <= 2, `${rows.length} writes`);
});
