import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findRequest } from '../control-plane/database/requests.ts';
import { claimNextJob } from '../control-plane/jobs/queue.ts';
import {
  enqueueTestJob,
  HOST_ID,
  temporaryCatalog,
} from '../control-plane/jobs/queue.test-suite.ts';
import { recordFailure, recordSuccess } from './job-outcomes.ts';

const AT = '2026-03-01T00:00:00.000Z';

test('what began as an emergency is marked as one in its outcome, and nothing else is', async (t) => {
  const { catalog } = await temporaryCatalog(t);
  for (const emergency of [0, 1])
    for (const fails of [false, true]) {
      await enqueueTestJob(catalog);
      const job = await claimNextJob(catalog, { hostId: HOST_ID, ownerId: 'w', kinds: ['test'] });
      assert.ok(job);
      await catalog.write(async (tx) => {
        await tx
          .updateTable('requests')
          .set({ emergency })
          .where('id', '=', job.requestId)
          .execute();
        const facts = { job, data: {}, at: AT, committed: false };
        const failure = { code: 'timed_out', message: 'It hung.' } as const;
        await (fails
          ? recordFailure(tx, { ...facts, state: 'failed', failure })
          : recordSuccess(tx, facts, {}));
        await tx.updateTable('jobs').set({ state: 'failed' }).where('id', '=', job.id).execute();
      });
      const request = await findRequest(catalog.read, job.requestId);
      assert.deepEqual(
        [request?.state, request?.approvalExpiresAt],
        [fails ? 'failed' : 'succeeded', null],
      );
      const event = await catalog.read
        .selectFrom('audit_events')
        .select('details')
        .where('request_id', '=', job.requestId)
        .executeTakeFirstOrThrow();
      assert.equal(event.details, emergency === 1 ? '{"emergency":true}' : '{}');
    }
});
