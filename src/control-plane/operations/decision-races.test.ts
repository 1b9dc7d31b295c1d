import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import * as fc from 'fast-check';
import { snapshotCreateInputSchema } from '../../contract/snapshot-inputs.ts';
import { GIB } from '../../shared/byte-size.ts';
import type { VmDescription } from '../../shared/inventory.ts';
import { silentLogger } from '../../shared/logger.ts';
import { loadPrincipal } from '../access/load-principal.ts';
import { verifyAuditChain } from '../audit/audit-trail.ts';
import { openCatalog, type Catalog } from '../database/catalog.ts';
import { insertConfirmationRule } from '../database/confirmation-rules.ts';
import { reportHost } from '../database/hosts.ts';
import { insertBinding } from '../database/bindings.ts';
import { insertPrincipal } from '../database/principals.ts';
import { findRequest } from '../database/requests.ts';
import { reportVm } from '../database/vms.ts';
import { claimNextJob } from '../jobs/queue.ts';
import { requestCancel } from './cancel-request.ts';
import { requestApprove, requestOverride, requestReject } from './decide-request.ts';
import { createSignInSettings, type Caller, type Environment } from './environment.ts';
import { expireRequests } from './expire-requests.ts';
import { snapshotCreate } from './snapshot-requests.ts';

const START = Date.parse('2026-01-02T03:04:05.678Z');
const WEEK_MS = 7 * 24 * 3600 * 1000;
const APPROVERS = ['ann', 'ben', 'cas'] as const;

const WEB: VmDescription = {
  id: '22222222-2222-4222-8222-222222222222',
  name: 'web',
  state: 'off',
  persistent: true,
  memoryBytes: GIB,
  vcpus: 1,
  machineType: 'q35',
  domainType: 'kvm',
  disks: [
    {
      target: 'vda',
      sourceType: 'file',
      path: '/images/web.qcow2',
      format: 'qcow2',
      sizeBytes: GIB,
      allocatedBytes: GIB,
      backingPaths: [],
      readOnly: false,
      obstacle: null,
    },
  ],
  agent: 'absent',
  firmware: 'bios',
  nvramPath: null,
  tpm: null,
  memoryObstacles: [],
  backgroundObstacles: [],
  hypervisorSnapshots: { internal: 0, external: 0 },
  jobActive: false,
  hasDisplay: false,
};

interface Stage {
  /** Two servers on one catalog, as two processes would be: each with its own connection. */
  readonly servers: readonly [Environment, Environment];
  readonly time: { nowMs: number };
  caller(name: string): Promise<Caller>;
  ask(): Promise<string>;
}

async function setStage(t: TestContext): Promise<Stage> {
  const folder = await mkdtemp(path.join(tmpdir(), 'races-'));
  const file = path.join(folder, 'catalog.db');
  const time = { nowMs: START };
  const clock = { now: () => new Date(time.nowMs), monotonicMs: () => performance.now() };
  const [one, other] = [
    await openCatalog({ path: file, clock }),
    await openCatalog({ path: file, clock }),
  ];
  t.after(async () => {
    await one.close();
    await other.close();
    await rm(folder, { recursive: true });
  });
  const at = new Date(START).toISOString();
  await seed(one, at);
  const environmentOf = (catalog: Catalog): Environment => ({
    catalog,
    clock,
    logger: silentLogger,
    signIn: createSignInSettings(),
    version: '',
  });
  const servers = [environmentOf(one), environmentOf(other)] as const;
  const caller = async (name: string): Promise<Caller> => {
    const principal = await loadPrincipal(one.read, name);
    assert.ok(principal);
    return { principal, sourceAddress: null };
  };
  return {
    servers,
    time,
    caller,
    ask: async () => {
      const input = snapshotCreateInputSchema.parse({ vm: WEB.id });
      return (await snapshotCreate(servers[0], await caller('olga'), input, {})).id;
    },
  };
}

async function seed(catalog: Catalog, at: string): Promise<void> {
  await catalog.write(async (tx) => {
    const room = { scratchFreeBytes: null, repositoryFreeBytes: null, scratchFloorBytes: 0 };
    await reportHost(tx, {
      id: 'h1',
      name: 'h1',
      state: 'ready',
      stateReason: null,
      description: null,
      room,
      at,
    });
    await reportVm(tx, { hostId: 'h1', description: WEB, at });
    const people = [
      ['olga', 'operator'],
      ['root', 'administrator'],
      ...APPROVERS.map((id) => [id, 'approver'] as const),
    ] as const;
    for (const [id, roleId] of people) {
      const createdBy = { id, name: id, kind: 'user' } as const;
      await insertPrincipal(tx, { ...createdBy, at });
      await insertBinding(tx, {
        id: `binding-${id}`,
        principalId: id,
        roleId,
        effect: 'allow',
        scope: { kind: 'everything' },
        createdBy,
        at,
      });
    }
    await insertConfirmationRule(tx, {
      id: '00000000-0000-4000-8000-0000000000aa',
      name: 'two',
      description: '',
      operations: ['create'],
      scope: { kind: 'everything' },
      roles: null,
      exceptRoles: [],
      approvals: 2,
      at,
    });
  });
}

const jobsOf = async (stage: Stage, requestId: string) =>
  await stage.servers[0].catalog.read
    .selectFrom('jobs')
    .select('id')
    .where('request_id', '=', requestId)
    .execute();

const decisionsOf = async (stage: Stage, requestId: string) =>
  await stage.servers[0].catalog.read
    .selectFrom('request_decisions')
    .select(['kind', 'decided_by_id'])
    .where('request_id', '=', requestId)
    .execute();

test('two approvers at once both count, and the job begins exactly once', async (t) => {
  const stage = await setStage(t);
  for (let round = 0; round < 5; round += 1) {
    const id = await stage.ask();
    const wish = { id, comment: '' };
    const answers = await Promise.all([
      requestApprove(stage.servers[0], await stage.caller('ann'), wish),
      requestApprove(stage.servers[1], await stage.caller('ben'), wish),
    ]);
    assert.deepEqual(answers.map(({ state }) => state).toSorted(), ['approved', 'pending']);
    assert.equal((await jobsOf(stage, id)).length, 1);
  }
});

test('the same approver at once on two servers counts once', async (t) => {
  const stage = await setStage(t);
  const id = await stage.ask();
  const ann = await stage.caller('ann');
  const outcomes = await Promise.allSettled(
    stage.servers.map((server) => requestApprove(server, ann, { id, comment: '' })),
  );
  assert.deepEqual(outcomes.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected']);
  assert.equal((await findRequest(stage.servers[0].catalog.read, id))?.state, 'pending');
  assert.equal((await jobsOf(stage, id)).length, 0);
});

const ACTS = ['ann', 'ben', 'cas', 'ann again', 'reject', 'cancel', 'override', 'expire'] as const;
type ActName = (typeof ACTS)[number];

/** In turn on both servers. */
const atOnce = (...names: ActName[]): { name: ActName; server: 0 | 1 }[] =>
  names.map((name, index) => ({ name, server: index % 2 === 0 ? 0 : 1 }));

async function perform(stage: Stage, name: ActName, at: { server: 0 | 1; id: string }) {
  const server = stage.servers[at.server];
  const wish = { id: at.id, comment: 'why' };
  if (name === 'expire') return await expireRequests(server);
  if (name === 'reject') return await requestReject(server, await stage.caller('cas'), wish);
  if (name === 'cancel') return await requestCancel(server, await stage.caller('olga'), wish);
  if (name === 'override') return await requestOverride(server, await stage.caller('root'), wish);
  const who = name === 'ann again' ? 'ann' : name;
  return await requestApprove(server, await stage.caller(who), wish);
}

test('of all that happens at once exactly one decides, and a job is there if and only if it was approved', async (t) => {
  const stage = await setStage(t);
  const ends = new Set<string>();
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ name: fc.constantFrom(...ACTS), server: fc.constantFrom(0, 1) }), {
        minLength: 2,
        maxLength: 6,
      }),
      fc.boolean(),
      async (acts, isLate) => {
        stage.time.nowMs += 1000;
        const id = await stage.ask();
        if (isLate) stage.time.nowMs += WEEK_MS;
        await Promise.allSettled(
          acts.map(({ name, server }) => perform(stage, name, { server, id })),
        );
        const { read } = stage.servers[0].catalog;
        const request = await findRequest(read, id);
        const decisions = await decisionsOf(stage, id);
        const jobs = await jobsOf(stage, id);
        const approvers = decisions.filter(({ kind }) => kind === 'approve');
        const count = (kind: string) => decisions.filter((one) => one.kind === kind).length;
        assert.equal(new Set(approvers.map((one) => one.decided_by_id)).size, approvers.length);
        assert.equal(jobs.length, request?.jobId === null ? 0 : 1);
        const wasBegun = approvers.length >= 2 || count('override') > 0;
        assert.equal(jobs.length === 1, wasBegun);
        assert.ok(approvers.length <= 2 && count('override') <= 1 && count('reject') <= 1);
        if (count('reject') > 0) assert.deepEqual([request?.state, jobs.length], ['rejected', 0]);
        if (isLate) assert.equal(decisions.length, 0);
        assert.equal(request?.emergency, count('override') === 1);
        ends.add(`${request?.state} ${request?.emergency}`);
      },
    ),
    {
      numRuns: 40,
      examples: [
        [atOnce('ann', 'ben', 'expire'), false],
        [atOnce('ann', 'reject'), false],
        [atOnce('override', 'ann', 'ben'), false],
        [atOnce('expire', 'ann', 'ben'), true],
      ],
    },
  );
  for (const end of ['approved false', 'approved true', 'rejected false', 'expired false'])
    assert.ok(ends.has(end), end);
  assert.equal((await verifyAuditChain(stage.servers[0].catalog.read)).intact, true);
});

test('a worker that claims and the approval that expires at once: exactly one wins', async (t) => {
  const stage = await setStage(t);
  const [server, other] = stage.servers;
  for (const lateMs of [-1, 0, 1]) {
    const id = await stage.ask();
    for (const name of ['ann', 'ben'])
      await perform(stage, name === 'ann' ? 'ann' : 'ben', { server: 0, id });
    const deadline = (await findRequest(server.catalog.read, id))?.approvalExpiresAt ?? '';
    stage.time.nowMs = Date.parse(deadline) + lateMs;
    const claim = { hostId: 'h1', ownerId: `w${lateMs}`, kinds: ['create'], clock: server.clock };
    const [job, expired] = await Promise.all([
      claimNextJob(server.catalog, claim),
      expireRequests(other),
    ]);
    assert.equal(job !== undefined, lateMs < 0);
    assert.equal(expired, lateMs < 0 ? 0 : 1);
    const after = await findRequest(server.catalog.read, id);
    assert.equal(after?.state, lateMs < 0 ? 'executing' : 'expired');
    if (job)
      await server.catalog.write((tx) =>
        tx.updateTable('jobs').set({ state: 'failed' }).where('id', '=', job.id).execute(),
      );
  }
});
