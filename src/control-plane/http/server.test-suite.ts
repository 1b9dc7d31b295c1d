import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify';
import type { Right } from '../../contract/rights.ts';
import { GIB } from '../../shared/byte-size.ts';
import { newId } from '../../shared/ids.ts';
import type { VmDescription } from '../../shared/inventory.ts';
import { silentLogger, type Logger } from '../../shared/logger.ts';
import { createPasswordHasher } from '../access/passwords.ts';
import { issueToken } from '../access/tokens.ts';
import { openCatalog, type Catalog } from '../database/catalog.ts';
import { insertBinding } from '../database/bindings.ts';
import { reportHost } from '../database/hosts.ts';
import { insertPrincipal } from '../database/principals.ts';
import { reportRepository } from '../database/repositories.ts';
import { finishRequest } from '../database/requests.ts';
import { activateSnapshot } from '../database/snapshots.ts';
import type { StoredScope } from '../database/stored-shapes.ts';
import { reportVm } from '../database/vms.ts';
import { claimNextJob } from '../jobs/queue.ts';
import { runJob } from '../jobs/run-job.ts';
import { z } from 'zod';
import { createSignInSettings } from '../operations/environment.ts';
import { checkDescribed } from './described-answers.test-suite.ts';
import { createServer } from './create-server.ts';
import type { RateLimits } from './identify.ts';

export const HOST_ID = '11111111-1111-4111-8111-111111111111';
export const VM_ID = '22222222-2222-4222-8222-222222222222';
export const UNKNOWN_ID = '99999999-9999-4999-8999-999999999999';
/** What a hash costs is not what these tests are about. */
const CHEAP_HASH = { memoryKib: 64, passes: 1, lanes: 1 };
export const START_MS = Date.parse('2026-01-02T03:04:05.678Z');

export const WEB: VmDescription = {
  id: VM_ID,
  name: 'web',
  state: 'running',
  persistent: true,
  memoryBytes: 2 * GIB,
  vcpus: 2,
  machineType: 'q35',
  domainType: 'kvm',
  disks: [
    {
      target: 'vda',
      sourceType: 'file',
      path: '/images/web.qcow2',
      format: 'qcow2',
      sizeBytes: 20 * GIB,
      allocatedBytes: 4 * GIB,
      backingPaths: [],
      readOnly: false,
      obstacle: null,
    },
  ],
  agent: 'connected',
  firmware: 'bios',
  nvramPath: null,
  tpm: null,
  memoryObstacles: [],
  backgroundObstacles: [],
  hypervisorSnapshots: { internal: 0, external: 0 },
  jobActive: false,
  hasDisplay: false,
};

const EVERYTHING: StoredScope = { kind: 'everything' };

export interface TokenOptions {
  readonly rights?: Right[];
  readonly name?: string;
  /** What the role is over, everything unless told. */
  readonly scope?: StoredScope;
}

export interface TestServer {
  readonly app: FastifyInstance;
  readonly catalog: Catalog;
  readonly clock: { nowMs: number };
  /** A new principal of that role, or another token of it. */
  token(role: string, options?: TokenOptions): Promise<string>;
  call(
    token: string | null,
    method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
    url: string,
    more?: { body?: object; headers?: Record<string, string> },
  ): Promise<LightMyRequestResponse>;
  /** Does the oldest job as a worker would, without a VM. */
  runNextJob(): Promise<string>;
}

export async function startTestServer(
  t: TestContext,
  options: { rateLimits?: RateLimits; logger?: Logger; trustedProxies?: string[] } = {},
): Promise<TestServer> {
  const folder = await mkdtemp(path.join(tmpdir(), 'http-'));
  const time = { nowMs: START_MS };
  const clock = { now: () => new Date(time.nowMs), monotonicMs: () => performance.now() };
  const catalog = await openCatalog({ path: path.join(folder, 'catalog.db'), clock });
  const environment = {
    catalog,
    clock,
    logger: options.logger ?? silentLogger,
    version: '1.2.3',
    signIn: createSignInSettings({ passwords: createPasswordHasher(CHEAP_HASH) }),
  };
  const app = await createServer({ environment, ...options });
  t.after(async () => {
    await app.close();
    await catalog.close();
    await rm(folder, { recursive: true });
  });
  await seed(catalog, new Date(time.nowMs).toISOString());
  return {
    app,
    catalog,
    clock: time,
    token: async (role, { rights = null, name = role, scope = EVERYTHING } = {}) =>
      await catalog.write(async (tx) => {
        const id = `principal-${name}`;
        const known = await tx
          .selectFrom('principals')
          .select('id')
          .where('id', '=', id)
          .executeTakeFirst();
        if (!known) {
          const at = clock.now().toISOString();
          const ref = { id, name, kind: 'user' } as const;
          await insertPrincipal(tx, { ...ref, at });
          await insertBinding(tx, {
            id: newId(time.nowMs),
            principalId: id,
            roleId: role,
            effect: 'allow',
            scope,
            createdBy: ref,
            at,
          });
        }
        const wish = { principalId: id, name: 'test', rights, expiresAt: null };
        return (await issueToken(tx, wish, clock.now())).secret;
      }),
    call: async (token, method, url, { body, headers } = {}) => {
      const injected: InjectOptions = {
        method,
        url,
        headers: { ...(token !== null && { authorization: `Bearer ${token}` }), ...headers },
        ...(body && { payload: body }),
      };
      const response = await app.inject(injected);
      const { statusCode, body: text } = response;
      const contentType = response.headers['content-type'] ?? '';
      checkDescribed({ method, url }, { statusCode, body: text, contentType });
      return response;
    },
    runNextJob: () => pretendToWork(catalog, time),
  };
}

async function seed(catalog: Catalog, at: string): Promise<void> {
  await catalog.write(async (tx) => {
    await reportHost(tx, {
      id: HOST_ID,
      name: 'host-1',
      state: 'ready',
      stateReason: null,
      description: {
        hostname: 'host-1',
        hypervisorVersion: '9.0.0',
        emulatorVersion: '7.2.0',
        cpus: 8,
        memoryBytes: 64 * GIB,
        memoryModes: ['background', 'pre-copy'],
        memoryModeHints: [],
      },
      room: {
        scratchFreeBytes: 100 * GIB,
        repositoryFreeBytes: 500 * GIB,
        scratchFloorBytes: GIB,
      },
      at,
    });
    await reportVm(tx, { hostId: HOST_ID, description: WEB, at });
    await reportRepository(tx, {
      id: 'repo-1',
      name: 'main',
      hostId: HOST_ID,
      location: '/srv/komadori',
      state: 'ready',
      stateReason: null,
      statistics: null,
      at,
    });
  });
}

async function pretendToWork(catalog: Catalog, time: { nowMs: number }): Promise<string> {
  const clock = { now: () => new Date(time.nowMs), monotonicMs: () => performance.now() };
  const kinds = ['create', 'restore', 'delete', 'export', 'verify', 'collect'];
  const ownerId = newId(time.nowMs);
  const job = await claimNextJob(catalog, { hostId: HOST_ID, ownerId, kinds, clock });
  if (!job) throw new Error('there is no job');
  const { signal } = new AbortController();
  const { state } = await runJob(
    {
      kind: job.kind,
      parametersSchema: z.looseObject({}),
      dataSchema: z.object({}),
      commitStep: 'commit',
      steps: [{ name: 'commit', run: async () => undefined }],
      onSucceeded: async (tx, { at }) => {
        if (job.kind === 'create' && job.snapshotId)
          await activateSnapshot(tx, { id: job.snapshotId, at, facts: captured(at) });
        await finishRequest(tx, {
          id: job.requestId,
          state: 'succeeded',
          failure: null,
          result: {},
          at,
        });
      },
      onFailed: (tx, { at, state: end, failure }) =>
        finishRequest(tx, { id: job.requestId, state: end, failure, result: null, at }),
    },
    { catalog, job, ownerId, logger: silentLogger, signal, clock },
  );
  return state;
}

const captured = (at: string) => ({
  kind: 'full' as const,
  level: 'memory' as const,
  levelReason: 'Because.',
  capturedAt: at,
  pauseMs: 42.5,
  pausePhases: [],
  sizes: { logicalBytes: 4, readBytes: 3, newBytes: 2, storedBytes: 1 },
  disks: [{ target: 'vda', format: 'qcow2', sizeBytes: 4 }],
  skippedDisks: [],
  memoryMode: 'background' as const,
  memoryBytes: 2 * GIB,
  parentSnapshotId: null,
  checkpoint: null,
  manifestDigest: 'abc',
});
