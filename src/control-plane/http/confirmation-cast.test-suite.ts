import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { Request } from '../../contract/requests.ts';
import { silentLogger } from '../../shared/logger.ts';
import { reportVm } from '../database/vms.ts';
import { createSignInSettings } from '../operations/environment.ts';
import { maintain } from '../operations/maintenance.ts';
import { HOST_ID, startTestServer, WEB, type TestServer } from './server.test-suite.ts';

export interface Cast {
  readonly server: TestServer;
  readonly operator: string;
  readonly ann: string;
  readonly ben: string;
  readonly administrator: string;
}

/** An operator who asks, two approvers, an administrator. */
export async function startCast(t: TestContext): Promise<Cast> {
  const server = await startTestServer(t);
  return {
    server,
    operator: await server.token('operator'),
    ann: await server.token('approver', { name: 'ann' }),
    ben: await server.token('approver', { name: 'ben' }),
    administrator: await server.token('administrator'),
  };
}

export const addRule = async ({ server, administrator }: Cast, rule: object) =>
  await server.call(administrator, 'POST', '/api/v1/confirmation-rules', {
    body: { name: 'Two of us', operations: ['create', 'delete'], approvals: 2, ...rule },
  });

export const ask = async ({ server, operator }: Cast, body: object = {}, token = operator) => {
  const answer = await server.call(token, 'POST', '/api/v1/snapshots', {
    body: { vm: 'web', ...body },
  });
  assert.equal(answer.statusCode, 202, answer.body);
  return answer.json<Request>();
};

export const act = (
  server: TestServer,
  token: string,
  id: string,
  verb: string,
  body: object = {},
) => server.call(token, 'POST', `/api/v1/requests/${id}/${verb}`, { body });

export const read = async (server: TestServer, token: string, id: string) =>
  (await server.call(token, 'GET', `/api/v1/requests/${id}`)).json<Request>();

export const jobCount = async ({ catalog }: TestServer) =>
  (await catalog.read.selectFrom('jobs').select('id').execute()).length;

export const expire = (server: TestServer) =>
  maintain({
    catalog: server.catalog,
    clock: { now: () => new Date(server.clock.nowMs), monotonicMs: () => 0 },
    logger: silentLogger,
    version: '',
    signIn: createSignInSettings(),
  });

export const changeVm = (server: TestServer, changes: object) =>
  server.catalog.write((tx) =>
    reportVm(tx, {
      hostId: HOST_ID,
      description: { ...WEB, ...changes },
      at: new Date(server.clock.nowMs).toISOString(),
    }),
  );
