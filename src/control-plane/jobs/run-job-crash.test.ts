import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { silentLogger } from '../../shared/logger.ts';
import type { Catalog } from '../database/catalog.ts';
import { findJob } from '../database/jobs.ts';
import { findRequest } from '../database/requests.ts';
import { claimNextJob, takeOverJobs } from './queue.ts';
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

const UNDOABLE_STEPS = STEP_NAMES.slice(0, STEP_NAMES.indexOf(COMMIT_STEP) + 1);
const POINTS = [
  ...STEP_NAMES.flatMap((step) => [`before:${step}`, `after:${step}`]),
  ...UNDOABLE_STEPS.flatMap((step) => [`undo:${step}`, `undone:${step}`]),
];

async function runAs(
  catalog: Catalog,
  ownerId: string,
  definition: TestDefinition,
): Promise<JobOutcome['state']> {
  await takeOverJobs(catalog, { hostId: HOST_ID, ownerId });
  const job = await claimNextJob(catalog, { hostId: HOST_ID, ownerId, kinds: ['test'] });
  assert.ok(job, 'there is no job to claim');
  const { signal } = new AbortController();
  const execution = { catalog, job, ownerId, logger: silentLogger, signal };
  return (await runJob(definition, execution)).state;
}

async function assertEnd(
  catalog: Catalog,
  options: { id: string; point: string; effects: readonly string[] },
): Promise<void> {
  const isForward = options.point.endsWith(':release');
  const job = await findJob(catalog.read, options.id);
  const request = job && (await findRequest(catalog.read, job.requestId));
  assert.equal(request?.state, isForward ? 'succeeded' : 'failed', options.point);
  assert.deepEqual(
    options.effects.toSorted(),
    isForward ? STEP_NAMES.toSorted() : [],
    options.point,
  );
  const code = options.point.startsWith('und') ? 'internal' : 'interrupted';
  assert.equal(request.failure?.code, isForward ? undefined : code, options.point);
}

for (const point of POINTS) {
  test(`a worker that stops dead at ${point} leaves all or nothing after the next start`, async (t) => {
    const { catalog } = await temporaryCatalog(t);
    const id = await enqueueTestJob(catalog);
    const effects = new Set<string>();
    const hang = Promise.withResolvers<never>();
    const reached = Promise.withResolvers<void>();
    const definitionThat = (stop: (at: string) => Promise<void>) =>
      testDefinition({
        onRun: async (step) => {
          await stop(`before:${step}`);
          effects.add(step);
          await stop(`after:${step}`);
          if (point.startsWith('und') && step === COMMIT_STEP) throw new Error('on purpose');
        },
        onUndo: async (step) => {
          await stop(`undo:${step}`);
          effects.delete(step);
          await stop(`undone:${step}`);
        },
      });
    const stopsDead = definitionThat(async (at) => {
      if (at !== point) return;
      reached.resolve();
      await hang.promise;
    });
    const first = runAs(catalog, 'worker-1', stopsDead);
    await Promise.race([reached.promise, first]);
    await runAs(
      catalog,
      'worker-2',
      definitionThat(async () => undefined),
    );
    await assertEnd(catalog, { id, point, effects: [...effects] });
    // The dead comes back: it must notice that the job is not its own any more.
    hang.reject(new Error('woken'));
    assert.equal(await first, 'lost');
    await assertEnd(catalog, { id, point, effects: [...effects] });
  });
}

async function runDyingWorker(
  t: TestContext,
  arguments_: string[],
): Promise<{ killed: boolean; output: string }> {
  const script = path.join(import.meta.dirname, 'dying-worker.test-suite.ts');
  const child = spawn(process.execPath, [script, ...arguments_], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const killed = await new Promise<boolean>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (_, signal) => resolve(signal === 'SIGKILL'));
  });
  return { killed, output };
}

test('a worker process killed with SIGKILL leaves all or nothing after the next start', async (t) => {
  const killAndRestart = async (point: string): Promise<void> => {
    const { catalog, file, folder } = await temporaryCatalog(t);
    const effects = path.join(folder, 'effects');
    mkdirSync(effects);
    const id = await enqueueTestJob(catalog);
    const first = await runDyingWorker(t, [file, effects, point]);
    assert.ok(first.killed, `${point}: the worker was to be killed, it said ${first.output}`);
    const second = await runDyingWorker(t, [file, effects, 'never']);
    assert.equal(second.output, point.endsWith(':release') ? 'succeeded' : 'failed', point);
    await assertEnd(catalog, { id, point, effects: readdirSync(effects) });
  };
  await Promise.all(['after:copy', 'after:commit', 'before:release'].map(killAndRestart));
});
