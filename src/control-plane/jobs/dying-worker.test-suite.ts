import { mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { silentLogger } from '../../shared/logger.ts';
import { openCatalog } from '../database/catalog.ts';
import { runJob } from './run-job.ts';
import { claimNextJob, takeOverJobs } from './queue.ts';
import { HOST_ID, testDefinition } from './queue.test-suite.ts';

/**
 * A worker process whose steps make a folder each, and which kills itself at the given point:
 * `before:copy` (begun, no effect), `after:copy` (effect, not recorded), `undo:copy`.
 */
const [file, folder, point] = process.argv.slice(2);
if (!file || !folder || !point) throw new Error('usage: <catalog> <folder> <point>');

const dieAt = (reached: string): void => {
  if (reached === point) process.kill(process.pid, 'SIGKILL');
};
const definition = testDefinition({
  onRun: async (step) => {
    dieAt(`before:${step}`);
    mkdirSync(path.join(folder, step), { recursive: true });
    dieAt(`after:${step}`);
    if (point.startsWith('undo:') && step === 'commit') throw new Error('on purpose');
  },
  onUndo: async (step) => {
    dieAt(`undo:${step}`);
    rmSync(path.join(folder, step), { recursive: true, force: true });
  },
});

const catalog = await openCatalog({ path: file });
const ownerId = `worker-${process.pid}`;
await takeOverJobs(catalog, { hostId: HOST_ID, ownerId });
const job = await claimNextJob(catalog, { hostId: HOST_ID, ownerId, kinds: ['test'] });
if (!job) throw new Error('no job to claim');
const { signal } = new AbortController();
const outcome = await runJob(definition, { catalog, job, ownerId, logger: silentLogger, signal });
process.stdout.write(outcome.state);
await catalog.close();
