import { mkdir, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { randomUUID } from 'node:crypto';
import type { JobRow } from '../control-plane/database/jobs.ts';
import { listHeldScratch } from '../control-plane/database/scratch-reservations.ts';
import { takeOverJobs, waitForNextJob } from '../control-plane/jobs/queue.ts';
import { runJob, type JobExecution, type JobOutcome } from '../control-plane/jobs/run-job.ts';
import { describeThrown } from '../shared/errors.ts';
import { createCaptureJob } from './capture-job.ts';
import { createCollectJob } from './collect-job.ts';
import { createDeleteJob } from './delete-job.ts';
import type { WorkerEnvironment } from './environment.ts';
import { createExportJob } from './export-job.ts';
import { reportRepositoryState, startInventorySync, type InventorySync } from './inventory-sync.ts';
import { reportManifestHeads } from './report-manifest-heads.ts';
import { createRestoreJob } from './restore-job.ts';
import { createVerifyJob } from './verify-job.ts';

/** A job that fails to be run at all (not: whose work fails) waits this long before the next is claimed. */
const CLAIM_RETRY_MS = 1_000;

export interface Worker {
  /** Resolves when the worker has stopped. */
  readonly stopped: Promise<void>;
  stop(): Promise<void>;
}

type RunClaimed = (execution: JobExecution) => Promise<JobOutcome>;

function createRunners(environment: WorkerEnvironment): ReadonlyMap<string, RunClaimed> {
  const capture = createCaptureJob(environment);
  const restore = createRestoreJob(environment);
  const deletion = createDeleteJob(environment);
  const verify = createVerifyJob(environment);
  const collect = createCollectJob(environment);
  const exporting = createExportJob(environment);
  return new Map<string, RunClaimed>([
    [capture.kind, async (execution) => await runJob(capture, execution)],
    [restore.kind, async (execution) => await runJob(restore, execution)],
    [deletion.kind, async (execution) => await runJob(deletion, execution)],
    [verify.kind, async (execution) => await runJob(verify, execution)],
    [collect.kind, async (execution) => await runJob(collect, execution)],
    [exporting.kind, async (execution) => await runJob(exporting, execution)],
  ]);
}

/**
 * Claims and runs this host's jobs and keeps its inventory current, until stopped. Jobs that a dead
 * worker of this host left are taken over first: undone, or finished when they were committed.
 */
export async function startWorker(environment: WorkerEnvironment): Promise<Worker> {
  const { catalog, hostId, settings, clock, logger } = environment;
  for (const folder of [settings.scratchFolder, settings.runtimeFolder]) {
    await mkdir(folder, { recursive: true, mode: 0o711 });
  }
  await clearFolder(settings.runtimeFolder);
  const ownerId = randomUUID();
  const takenOver = await takeOverJobs(catalog, { hostId, ownerId, clock });
  if (takenOver > 0) logger.warn({ takenOver }, 'jobs of a worker that died are taken over');
  await clearOrphanScratch(environment);
  const inventory = await startInventorySync(environment);
  const stop = new AbortController();
  const stopped = runLoop({ environment, inventory, ownerId, signal: stop.signal });
  return {
    stopped,
    async stop() {
      stop.abort();
      await stopped;
    },
  };
}

interface Loop {
  readonly environment: WorkerEnvironment;
  readonly inventory: InventorySync;
  readonly ownerId: string;
  readonly signal: AbortSignal;
}

async function runLoop(loop: Loop): Promise<void> {
  const { environment, inventory, ownerId, signal } = loop;
  const { catalog, hostId, settings, clock, logger } = environment;
  const runners = createRunners(environment);
  const running = new Map<string, Promise<void>>();
  const start = (job: JobRow): void => {
    const done = runClaimed(loop, runners, job).finally(() => running.delete(job.id));
    running.set(job.id, done);
  };
  while (!signal.aborted) {
    try {
      if (running.size >= settings.jobsAtOnce) {
        await Promise.race(running.values());
        continue;
      }
      start(
        await waitForNextJob(catalog, {
          hostId,
          ownerId,
          kinds: [...runners.keys()],
          excludeJobIds: [...running.keys()],
          clock,
          signal,
        }),
      );
    } catch (error) {
      if (signal.aborted) break;
      logger.error({ reason: describeThrown(error) }, 'claiming a job failed');
      await abortableDelay(CLAIM_RETRY_MS, signal);
    }
  }
  await Promise.all(running.values());
  await inventory.stop();
}

async function runClaimed(
  loop: Loop,
  runners: ReadonlyMap<string, RunClaimed>,
  job: JobRow,
): Promise<void> {
  const { environment, inventory, ownerId, signal } = loop;
  const { catalog, clock, logger } = environment;
  const run = runners.get(job.kind);
  if (!run) throw new Error(`no runner for jobs of kind ${job.kind}`);
  try {
    const outcome = await run({ catalog, job, ownerId, logger, signal, clock });
    logger.info({ jobId: job.id, kind: job.kind, state: outcome.state }, 'job ended');
    if (job.vmId !== null) await inventory.refresh(job.vmId);
    await reportRepositoryState(environment);
    await reportManifestHeads(environment, { all: false });
  } catch (error) {
    logger.error({ jobId: job.id, reason: describeThrown(error), error }, 'a job could not be run');
  }
}

async function abortableDelay(delayMs: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    signal.addEventListener('abort', done, { once: true });
  });
}

/** Sockets of a process that is gone. */
async function clearFolder(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    await rm(path.join(folder, name), { recursive: true, force: true });
  }
}

/** Scratch that no job holds was left by a kill between two steps. */
async function clearOrphanScratch(environment: WorkerEnvironment): Promise<void> {
  const { catalog, hostId, settings } = environment;
  const held = new Set(
    (await listHeldScratch(catalog.read, hostId)).map((reservation) => reservation.id),
  );
  for (const name of await readdir(settings.scratchFolder)) {
    if (!held.has(name))
      await rm(path.join(settings.scratchFolder, name), { recursive: true, force: true });
  }
}
