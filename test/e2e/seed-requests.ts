import { createClient } from '../../src/client/client.ts';
import { openCatalog } from '../../src/control-plane/database/catalog.ts';
import type { Catalog } from '../../src/control-plane/database/catalog.ts';
import { updateLeasedJob } from '../../src/control-plane/database/job-leases.ts';
import { insertMissingSteps, updateStep } from '../../src/control-plane/database/job-steps.ts';
import { notifyJob } from '../../src/control-plane/database/jobs.ts';
import { finishRequest } from '../../src/control-plane/database/requests.ts';
import type { StoredFailure } from '../../src/control-plane/database/stored-shapes.ts';
import { claimNextJob } from '../../src/control-plane/jobs/queue.ts';
import { GIB, MIB } from '../../src/shared/byte-size.ts';
import { newId } from '../../src/shared/ids.ts';
import { HOST_ID } from './seed-vms.ts';

const DAY_MS = 86_400_000;
const OWNER_ID = newId(Date.now());

/** One request waits, one job runs, one failed: made through the API, moved on as a worker would. */
export async function seedRequests(
  catalog: Catalog,
  url: string,
  tokens: { readonly administrator: string; readonly operator: string },
): Promise<string> {
  const administrator = createClient({ baseUrl: url, token: tokens.administrator });
  const operator = createClient({ baseUrl: url, token: tokens.operator });
  const create = { kind: 'disk', quiesce: 'prefer' } as const;
  await administrator.call('snapshotCreate', {
    body: { ...create, vm: 'mail-01', name: 'nightly' },
  });
  const failed = await claim(catalog);
  await catalog.write(async (tx) => {
    const failure: StoredFailure = {
      code: 'insufficient_space',
      message: 'The scratch file system of hv1 would fall below its floor of 5 GiB.',
    };
    const at = new Date().toISOString();
    await insertMissingSteps(tx, {
      jobId: failed.id,
      names: ['check', 'reserve scratch', 'freeze'],
    });
    await updateStep(tx, { jobId: failed.id, name: 'check', state: 'running', failure: null, at });
    await updateStep(tx, { jobId: failed.id, name: 'check', state: 'undone', failure: null, at });
    await updateStep(tx, {
      jobId: failed.id,
      name: 'reserve scratch',
      state: 'running',
      failure: null,
      at,
    });
    await updateStep(tx, {
      jobId: failed.id,
      name: 'reserve scratch',
      state: 'failed',
      failure,
      at,
    });
    await updateLeasedJob(tx, leaseOf(failed), {
      state: 'failed',
      finished_at: at,
      failure: JSON.stringify(failure),
      lease_owner: null,
      lease_expires_at: null,
    });
    await finishRequest(tx, { id: failed.requestId, state: 'failed', failure, result: null, at });
  });
  await administrator.call('snapshotCreate', {
    body: { kind: 'full', vm: 'web-02', name: 'before-migration', reason: 'CHG-2041' },
  });
  const running = await claim(catalog);
  await catalog.write(async (tx) => {
    const at = new Date().toISOString();
    const names = ['check', 'reserve scratch', 'freeze', 'stream', 'commit', 'release'];
    await insertMissingSteps(tx, { jobId: running.id, names });
    for (const [index, name] of names.slice(0, 4).entries()) {
      const step = { jobId: running.id, name, failure: null };
      const begun = Date.parse(at) + index * 140;
      await updateStep(tx, { ...step, state: 'running', at: new Date(begun).toISOString() });
      if (name !== 'stream')
        await updateStep(tx, { ...step, state: 'done', at: new Date(begun + 95).toISOString() });
    }
  });
  await reportProgress(catalog, running.id, 0.42);
  await operator.call('snapshotCreate', {
    body: {
      ...create,
      vm: 'db-01',
      name: 'before-patch',
      reason: 'Quarterly patch of PostgreSQL, window 22:00 to 23:00.',
      reference: 'CHG-2044',
    },
  });
  return running.id;
}

const leaseOf = (job: { id: string; fencing: number }) => ({
  jobId: job.id,
  ownerId: OWNER_ID,
  fencing: job.fencing,
});

async function claim(catalog: Catalog) {
  const job = await claimNextJob(catalog, {
    hostId: HOST_ID,
    ownerId: OWNER_ID,
    kinds: ['create'],
    leaseMs: DAY_MS,
  });
  if (!job) throw new Error('there is no job to claim');
  return job;
}

/** As the worker of the running job does. */
async function reportProgress(catalog: Catalog, jobId: string, share: number): Promise<void> {
  const totalBytes = 13 * GIB;
  const doneBytes = Math.round(totalBytes * share);
  const ratePerSecond = 412 * MIB;
  await catalog.write(async (tx) => {
    await tx
      .updateTable('jobs')
      .set({
        progress: JSON.stringify({
          phase: 'stream',
          doneBytes,
          totalBytes,
          ratePerSecond,
          secondsLeft: (totalBytes - doneBytes) / ratePerSecond,
        }),
      })
      .where('id', '=', jobId)
      .execute();

    await notifyJob(tx, { id: jobId, vmId: null, at: new Date().toISOString() }, 'progress');
  });
}

export async function advanceJob(options: {
  databasePath: string;
  jobId: string;
  share: number;
}): Promise<void> {
  const catalog = await openCatalog({ path: options.databasePath });
  try {
    await reportProgress(catalog, options.jobId, options.share);
  } finally {
    await catalog.close();
  }
}
