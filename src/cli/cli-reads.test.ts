import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { OperationError } from '../shared/errors.ts';
import {
  JOB_ID,
  REQUEST_ID,
  sampleHost,
  sampleJob,
  samplePlan,
  sampleRepository,
  sampleRequest,
  sampleSnapshot,
  sampleVm,
  SNAPSHOT_ID,
  VM_ID,
} from '../client/samples.test-suite.ts';
import { startTableServer } from '../client/table-server.test-suite.ts';
import type { TableServer } from '../client/table-server.test-suite.ts';
import { runInProcess } from './run-in-process.test-suite.ts';
import type { CliRunOptions } from './run-in-process.test-suite.ts';
import { textWidth } from './text-width.ts';

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

const page = <Item>(...items: Item[]) => ({ items, nextCursor: null });
const lastBody = (operationId: string) =>
  server.calls.findLast((call) => call.operationId === operationId)?.body;

test('a table for people, the page for programs', async () => {
  server.handlers = { vmList: () => page(sampleVm()) };
  const table = await run('vm list');
  assert.equal(table.code, 0);
  assert.match(table.output, /^NAME +STATE +HOST/);
  assert.match(table.output, /web-01 +running +hv1 +2\.0 GiB +20\.0 GiB +1 /);
  assert.equal(server.calls[0]?.query['present'], true);
  const json = await run('vm list --json');
  assert.deepEqual(JSON.parse(json.output), page(sampleVm()));
  assert.equal(json.errors, '');
});

test('a list that was cut says so', async () => {
  server.handlers = {
    vmList: () => ({ items: [sampleVm(), sampleVm()], nextCursor: 'more' }),
  };
  const cut = await run('vm list --limit 2');
  assert.match(cut.errors, /more than 2/);
  assert.equal(cut.output.trim().split('\n').length, 3);
  const json = await run('vm list --limit 2 --json');
  assert.equal((JSON.parse(json.output) as { nextCursor: string }).nextCursor, 'more');
});

test('tables fit the terminal, with wide characters counted as two columns', async () => {
  const names = ['とても長い名前の仮想マシンでございます'.repeat(3), 'web\u001b[31m-01'];
  server.handlers = { snapshotList: () => page(...names.map((name) => sampleSnapshot({ name }))) };
  const shown = await run('snapshot list', { columns: 150 });
  const lines = shown.output.trimEnd().split('\n');
  assert.equal(lines.length, 3);
  for (const line of lines) assert.ok(textWidth(line) <= 150, `${textWidth(line)}: ${line}`);
  assert.match(lines[1] ?? '', /…/);
  const column = (line: string | undefined, word: string) =>
    textWidth((line ?? '').split(word)[0] ?? '');
  assert.equal(column(lines[1], 'active'), column(lines[2], 'active'));
  assert.ok(!shown.output.includes('\u001b'), 'names cannot steer the terminal');
  const piped = await run('snapshot list');
  assert.ok(piped.output.includes(names[0]!), 'nothing is cut in a pipe');
});

test('a tree shows what grew out of what', async () => {
  const id = (last: string) => `0193b0f0-0000-7000-8000-00000000000${last}`;
  const at = (minute: number) => `2026-03-01T09:0${minute}:00.000Z`;
  server.handlers = {
    snapshotList: () =>
      page(
        sampleSnapshot({ id: id('3'), name: 'third', parentSnapshotId: id('1'), createdAt: at(3) }),
        sampleSnapshot({
          id: id('2'),
          name: 'second',
          parentSnapshotId: id('1'),
          createdAt: at(2),
        }),
        sampleSnapshot({ id: id('1'), name: 'first', parentSnapshotId: id('9'), createdAt: at(1) }),
      ),
  };
  const { output } = await run('snapshot list web-01 --tree');
  assert.deepEqual(
    output
      .split('\n')
      .slice(1, 4)
      .map((line) => line.slice(0, 9).trimEnd()),
    ['first', '└─ second', '└─ third'],
  );
  assert.equal(server.calls[0]?.query['vmName'], 'web-01');
});

test('a VM is found by name or id; an ambiguous or unknown name is an error that helps', async () => {
  server.handlers = { vmGet: () => sampleVm(), vmList: () => page(sampleVm()) };
  assert.match((await run(`vm show ${VM_ID}`)).output, /web-01/);
  assert.equal(server.calls[0]?.operationId, 'vmGet');
  assert.match((await run('vm show web-01')).output, /qcow2/);
  const other = '5f0c0b1e-6e0a-4f43-9d0e-2f1a6c3b7d11';
  server.handlers = { vmList: () => page(sampleVm(), sampleVm({ id: other })) };
  const ambiguous = await run('vm show web-01');
  assert.equal(ambiguous.code, 2);
  assert.match(ambiguous.errors, new RegExp(`2 VMs are named web-01[^]*${VM_ID} ${other}`));
  server.handlers = { vmList: () => page(sampleVm({ present: false, id: other }), sampleVm()) };
  assert.equal(
    (await run('vm show web-01')).code,
    0,
    'the one that is there wins over one that is gone',
  );
  server.handlers = { vmList: () => page() };
  const unknown = await run('vm show web-02');
  assert.equal(unknown.code, 5);
  assert.match(unknown.errors, /no VM named web-02[^]*komadori vm list/);
});

test('a snapshot is found by id or vm/name', async () => {
  server.handlers = {
    snapshotList: () => page(sampleSnapshot()),
    snapshotGet: () => sampleSnapshot(),
  };
  assert.equal((await run('snapshot show web-01/before-upgrade')).code, 0);
  assert.deepEqual(
    [server.calls[0]?.query['vmName'], server.calls[0]?.query['name']],
    ['web-01', 'before-upgrade'],
  );
  assert.equal((await run(`snapshot show ${SNAPSHOT_ID}`)).code, 0);
  assert.equal((await run('snapshot show before-upgrade')).code, 2);
  server.handlers = {
    snapshotList: () => page(sampleSnapshot(), sampleSnapshot({ id: VM_ID, state: 'failed' })),
  };
  const ambiguous = await run('snapshot show web-01/before-upgrade');
  assert.equal(ambiguous.code, 2);
  assert.ok(ambiguous.errors.includes(SNAPSHOT_ID) && ambiguous.errors.includes(VM_ID));
});

test('preflight shows the plan, and fails when it is not possible', async () => {
  server.handlers = { vmList: () => page(sampleVm()), vmPreflight: () => samplePlan() };
  const fine = await run('vm preflight web-01 --kind disk --skip-disk vdb --skip-disk vdc');
  assert.equal(fine.code, 0);
  assert.match(fine.output, /possible +yes/);
  assert.deepEqual(lastBody('vmPreflight'), {
    kind: 'disk',
    quiesce: 'prefer',
    skipDisks: ['vdb', 'vdc'],
  });
  server.handlers.vmPreflight = () =>
    samplePlan({
      possible: false,
      problems: [{ code: 'insufficient_space', reason: 'Room is short.', whatToDo: 'Make room.' }],
    });
  const impossible = await run('vm preflight web-01');
  assert.equal(impossible.code, 9);
  assert.match(impossible.output, /Room is short\. Make room\./);
});

test('the other lists and sheets', async () => {
  server.handlers = {
    hostList: () => page(sampleHost()),
    repositoryList: () => page(sampleRepository()),
    requestList: () => page(sampleRequest()),
    requestGet: () => sampleRequest(),
    jobList: () => page(sampleJob()),
    jobGet: () => sampleJob(),
    requestApprove: () => sampleRequest({ state: 'approved' }),
    jobCancel: () => sampleJob({ cancelRequested: true }),
    whoami: () => ({
      principal: { id: 'u1', name: 'aya', kind: 'user' },
      roles: ['operator'],
      rights: ['view', 'create'],
      signInMethod: 'token',
      session: null,
      serverVersion: '1',
    }),
    auditEventList: () => page(),
    auditVerify: () => ({
      intact: false,
      eventsChecked: 6,
      headHash: null,
      headsChecked: 0,
      firstBroken: { sequence: 7, kind: 'altered' as const, reason: 'The hash does not match.' },
    }),
  };
  const table: readonly (readonly [string, number, RegExp])[] = [
    ['host list', 0, /hv1 +ready +1 +background/],
    ['repository status', 0, /main +ready +1 +9\.0 GiB +4\.0 GiB +100 GiB/],
    ['request list --state pending --mine', 0, /create +executing +web-01/],
    [`request show ${REQUEST_ID}`, 0, /possible +yes/],
    [`request approve ${REQUEST_ID} --comment fine`, 0, /is approved/],
    ['job list', 0, /capture: 25% \(1\.0 GiB of 4\.0 GiB\)/],
    [`job show ${JOB_ID}`, 0, /prepare +done/],
    [`job cancel ${JOB_ID}`, 0, /told to stop/],
    ['whoami', 0, /aya \(user\)[^]*view, create/],
    ['audit verify', 11, /^$/],
    ['audit list --since 2026-03-01', 0, /^$/],
  ];
  for (const [line, code, expected] of table) {
    const shown = await run(line);
    assert.equal(shown.code, code, `${line}: ${shown.errors}`);
    assert.match(shown.output, expected, line);
    if (code !== 0) continue;
    const json = await run(`${line} --json`);
    assert.ok(JSON.parse(json.output), line);
  }
});

test('errors say what, why and what to do, in JSON where asked for', async () => {
  server.handlers = {
    whoami: () => {
      throw new OperationError('rate_limited', 'Too many\u001b[2J requests.', {
        details: { whatToDo: 'Wait a minute.' },
      });
    },
  };
  const plain = await run('whoami');
  assert.equal(plain.code, 7);
  assert.equal(
    plain.errors,
    'Error (rate_limited): Too many?[2J requests.\nWhat to do: Wait a minute.\n',
  );
  const json = await run('whoami --json');
  assert.equal(json.output, '');
  assert.deepEqual(Object.keys(JSON.parse(json.errors) as object), [
    'code',
    'message',
    'whatToDo',
    'details',
  ]);
  assert.equal((await run('whoami', { url: undefined })).code, 3);
  assert.equal((await run('whoami --frob')).code, 2);
  assert.equal((await run('snapshot frob')).code, 2);
  assert.equal((await run('vm list --limit many')).code, 2);
  const group = await run('snapshot');
  assert.equal(group.code, 2);
  assert.match(group.errors, /^Usage: komadori snapshot/);
});
