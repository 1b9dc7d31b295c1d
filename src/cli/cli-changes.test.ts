import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { OperationError } from '../shared/errors.ts';
import {
  REQUEST_ID,
  sampleJob,
  sampleRequest,
  sampleSnapshot,
  SNAPSHOT_ID,
} from '../client/samples.test-suite.ts';
import { startTableServer } from '../client/table-server.test-suite.ts';
import type { TableHandler, TableServer } from '../client/table-server.test-suite.ts';
import { runInProcess } from './run-in-process.test-suite.ts';
import type { CliRunOptions } from './run-in-process.test-suite.ts';

let server: TableServer;
before(async () => {
  server = await startTableServer({});
});
after(() => server.close());
afterEach(() => {
  server.calls.length = 0;
});

const run = (line: string, options: CliRunOptions = {}) =>
  runInProcess(line.split(' '), { url: server.url, ...options });

const lastBody = (operationId: string) =>
  server.calls.findLast((call) => call.operationId === operationId)?.body;

const events: TableHandler = ({ response }) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': hello\n\n');
};
const succeeded = sampleRequest({
  state: 'succeeded',
  result: { snapshotId: SNAPSHOT_ID },
});

test('create waits, shows progress as plain lines, and ends with the snapshot’s id', async () => {
  let reads = 0;
  server.handlers = {
    snapshotCreate: () => sampleRequest(),
    eventStream: events,
    requestGet: () => (++reads > 1 ? succeeded : sampleRequest()),
    jobGet: () => {
      // The end comes at once, so that the test does not wait for a poll.
      server.calls
        .findLast((call) => call.operationId === 'eventStream')
        ?.response.write(
          `data: ${JSON.stringify({ type: 'changed', sequence: 1, resource: 'request', id: REQUEST_ID, at: '2026-03-01T09:30:00Z' })}\n\n`,
        );
      return sampleJob();
    },
    snapshotGet: () => sampleSnapshot(),
  };
  const made = await run('snapshot create --label tier=web --expires 7d web-01 --reason upgrade');
  assert.equal(made.errors, 'capture: 25% (1.0 GiB of 4.0 GiB), 200 MiB/s, 15.0 s left\n');
  assert.equal(made.code, 0);
  assert.match(
    made.output,
    /before-upgrade of web-01 is taken: level memory, the guest paused for 23 ms/,
  );
  assert.equal(made.output.trim().split('\n').at(-1), SNAPSHOT_ID);
  assert.deepEqual(lastBody('snapshotCreate'), {
    vm: 'web-01',
    description: '',
    kind: 'full',
    quiesce: 'prefer',
    skipDisks: [],
    labels: { tier: 'web' },
    expiresAt: '2026-03-08T00:00:00.000Z',
    reason: 'upgrade',
  });
});

test('the JSON of a finished request is all there is on stdout', async () => {
  server.handlers = {
    snapshotCreate: () => sampleRequest(),
    eventStream: events,
    requestGet: () => succeeded,
    jobGet: () => sampleJob({ state: 'succeeded' }),
  };
  const made = await run('snapshot create web-01 --json');
  assert.deepEqual(JSON.parse(made.output), succeeded);
  assert.equal(made.errors, '');
  const early = await run('snapshot create web-01 --json --no-wait');
  assert.deepEqual(JSON.parse(early.output), sampleRequest());
});

test('what needs approval is not waited for, and says how to approve', async () => {
  server.handlers = {
    snapshotCreate: () => sampleRequest({ state: 'pending', jobId: null, approvalsNeeded: 1 }),
  };
  const pending = await run('snapshot create web-01');
  assert.equal(pending.code, 0);
  assert.match(pending.output, new RegExp(`komadori request approve ${REQUEST_ID}`));
  assert.deepEqual(
    server.calls.map((call) => call.operationId),
    ['snapshotCreate'],
  );
});

test('the end of a request decides the exit code', async () => {
  const table = [
    [{ state: 'failed', failure: { code: 'insufficient_space', message: 'Full.' } }, 9, /Full\./],
    [{ state: 'rejected', decisionComment: 'not today' }, 4, /not today/],
    [{ state: 'expired' }, 6, /expired/],
    [{ state: 'cancelled' }, 14, /cancelled/],
  ] as const;
  for (const [changes, code, message] of table) {
    server.handlers = {
      snapshotVerify: () => sampleRequest(),
      snapshotGet: () => sampleSnapshot(),
      eventStream: events,
      requestGet: () => sampleRequest({ operation: 'verify', jobId: null, ...changes }),
    };
    const ended = await run(`snapshot verify ${SNAPSHOT_ID}`);
    assert.equal(ended.code, code, changes.state);
    assert.match(ended.errors, message);
  }
  server.handlers.requestGet = () =>
    sampleRequest({
      operation: 'verify',
      state: 'succeeded',
      jobId: null,
      result: { damageCount: 2 },
    });
  const damaged = await run(`snapshot verify ${SNAPSHOT_ID}`);
  assert.equal(damaged.code, 11);
  assert.match(damaged.errors, /damaged in 2 places/);
});

test('Ctrl-C while waiting leaves the operation running and says so', async () => {
  const interrupt = new AbortController();
  server.handlers = {
    snapshotCreate: () => sampleRequest(),
    eventStream: events,
    requestGet: () => sampleRequest(),
    jobGet: () => {
      setImmediate(() => interrupt.abort());
      return sampleJob();
    },
  };
  const stopped = await run('snapshot create web-01', { signal: interrupt.signal });
  assert.equal(stopped.code, 130);
  assert.match(stopped.errors, new RegExp(`goes on[^]*komadori request cancel ${REQUEST_ID}`));
  assert.ok(!server.calls.some((call) => call.operationId === 'requestCancel'));
});

const destructive = ['delete', 'restore'] as const;
for (const verb of destructive) {
  const operationId = verb === 'delete' ? 'snapshotDelete' : 'snapshotRestore';
  const prepare = () => {
    server.handlers = {
      snapshotGet: () => sampleSnapshot(),
      [operationId]: () => sampleRequest({ operation: verb, state: 'pending', jobId: null }),
    };
  };

  test(`${verb} does nothing without the VM’s name`, async () => {
    prepare();
    for (const flags of ['', ' --yes', ' --confirm web-01', ' --yes --confirm web-02']) {
      const refused = await run(`snapshot ${verb} ${SNAPSHOT_ID}${flags}`);
      assert.equal(refused.code, 2, flags);
      assert.match(refused.errors, /confirmation_mismatch/, flags);
    }
    const mistyped = await run(`snapshot ${verb} ${SNAPSHOT_ID}`, {
      columns: 100,
      typed: 'web-1\n',
    });
    assert.equal(mistyped.code, 2);
    assert.match(mistyped.errors, /“web-1” is not the name of the VM \(web-01\); nothing was done/);
    assert.ok(!server.calls.some((call) => call.operationId === operationId));
  });

  test(`${verb} says what is lost, asks, and passes the name on`, async () => {
    prepare();
    const asked = await run(`snapshot ${verb} ${SNAPSHOT_ID}`, { columns: 100, typed: 'web-01\n' });
    assert.equal(asked.code, 0, asked.errors);
    assert.match(asked.errors, /lost[^]*Type the name of the VM \(web-01\) to go on: /);
    assert.equal(lastBody(operationId)?.['confirmVmName'], 'web-01');
    server.calls.length = 0;
    const flagged = await run(`snapshot ${verb} ${SNAPSHOT_ID} --yes --confirm web-01`);
    assert.equal(flagged.code, 0);
    assert.equal(lastBody(operationId)?.['confirmVmName'], 'web-01');
  });
}

test('the end of input at the question is a cancel, not a hang', async () => {
  server.handlers = { snapshotGet: () => sampleSnapshot() };
  const ended = await run(`snapshot delete ${SNAPSHOT_ID}`, { columns: 100, piped: '' });
  assert.equal(ended.code, 14);
});

test('restore and clone send what their options say', async () => {
  server.handlers = {
    snapshotGet: () => sampleSnapshot(),
    snapshotRestore: () => sampleRequest({ operation: 'restore', state: 'pending', jobId: null }),
  };
  await run(
    `snapshot restore ${SNAPSHOT_ID} --no-safety-snapshot --start no --yes --confirm web-01`,
  );
  assert.deepEqual(lastBody('snapshotRestore'), {
    mode: 'rollback',
    safetySnapshot: false,
    start: false,
    confirmVmName: 'web-01',
  });
  await run(`snapshot clone ${SNAPSHOT_ID} --name copy --resume-memory`);
  assert.deepEqual(lastBody('snapshotRestore'), {
    mode: 'new-vm',
    name: 'copy',
    linksDown: true,
    start: false,
    resumeMemory: true,
  });
});

test('edit merges labels and tries again when somebody else was quicker', async () => {
  let stale = true;
  server.handlers = {
    snapshotGet: () => sampleSnapshot({ labels: { keep: '1', drop: '2' } }),
    snapshotUpdate: ({ headers }) => {
      assert.equal(headers['if-match'], '"1"');
      if (stale) {
        stale = false;
        throw new OperationError('precondition_failed', 'It changed.');
      }
      return sampleSnapshot();
    },
  };
  const edited = await run(
    `snapshot edit ${SNAPSHOT_ID} --label new=3 --unlabel drop --pin --expires none`,
  );
  assert.equal(edited.code, 0, edited.errors);
  assert.deepEqual(lastBody('snapshotUpdate'), {
    labels: { keep: '1', new: '3' },
    pinned: true,
    expiresAt: null,
  });
  assert.equal((await run(`snapshot edit ${SNAPSHOT_ID}`)).code, 2);
});
