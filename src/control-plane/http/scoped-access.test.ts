import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { ServerEvent } from '../../contract/events.ts';
import { problemSchema } from '../../contract/problem.ts';
import { operationIds, routeOf } from '../../contract/routes.ts';
import { newId } from '../../shared/ids.ts';
import { silentLogger } from '../../shared/logger.ts';
import { authenticate } from '../access/tokens.ts';
import { insertBinding } from '../database/bindings.ts';
import { insertPrincipal } from '../database/principals.ts';
import { reportVm, setVmLabels } from '../database/vms.ts';
import { createSignInSettings } from '../operations/environment.ts';
import { createEventFeed } from '../operations/event-feed.ts';
import { callRoute } from './route-calls.test-suite.ts';
import {
  HOST_ID,
  START_MS,
  startTestServer,
  UNKNOWN_ID,
  VM_ID,
  WEB,
  type TestServer,
} from './server.test-suite.ts';

const HIDDEN_ID = '33333333-3333-4333-8333-333333333333';
const AT = new Date(START_MS).toISOString();
const BY = { id: 'principal-administrator', name: 'administrator', kind: 'user' } as const;

interface World {
  readonly server: TestServer;
  /** All rights, over the VM "web" only. */
  readonly scoped: string;
  readonly administrator: string;
  /** Ids of things that are not of "web", by the collection in the address. */
  readonly hidden: Readonly<Record<string, string>>;
}

async function startWorld(t: TestContext): Promise<World> {
  const server = await startTestServer(t, {
    rateLimits: { perTokenAndMinute: 10_000, failuresPerAddressAndMinute: 10_000 },
  });
  const administrator = await server.token('administrator');
  await server.catalog.write(async (tx) => {
    const description = { ...WEB, id: HIDDEN_ID, name: 'payroll' };
    await reportVm(tx, { hostId: HOST_ID, description, at: AT });
    await setVmLabels(tx, { vmId: HIDDEN_ID, labels: { team: 'finance' }, at: AT });
  });
  const made: { id: string; jobId: string }[] = [];
  for (const vm of ['web', 'payroll']) {
    const body = { vm, name: `first-of-${vm}` };
    made.push((await server.call(administrator, 'POST', '/api/v1/snapshots', { body })).json());
    await server.runNextJob();
  }
  const list = await server.call(administrator, 'GET', `/api/v1/snapshots?vmId=${HIDDEN_ID}`);
  const bound = await server.call(administrator, 'POST', '/api/v1/bindings', {
    body: { principalId: BY.id, roleId: 'viewer', scope: { kind: 'vms', vmIds: [HIDDEN_ID] } },
  });
  assert.equal(bound.statusCode, 201, bound.body);
  const tokens = await server.call(administrator, 'GET', '/api/v1/tokens');
  const scoped = await server.token('administrator', {
    name: 'web-admin',
    scope: { kind: 'vms', vmIds: [VM_ID] },
  });
  return {
    server,
    administrator,
    scoped,
    hidden: {
      vms: HIDDEN_ID,
      snapshots: firstId(list.json()),
      requests: made[1]?.id ?? '',
      jobs: made[1]?.jobId ?? '',
      bindings: bound.json<{ id: string }>().id,
      tokens: firstId(tokens.json()),
      repositories: 'repo-1',
      principals: BY.id,
      roles: 'operator',
      users: BY.id,
      sessions: UNKNOWN_ID,
      'confirmation-rules': await firstRuleId(server, administrator),
    },
  };
}

const firstId = (page: { items: { id: string }[] }): string => page.items[0]?.id ?? '';

const firstRuleId = async (server: TestServer, token: string): Promise<string> =>
  firstId((await server.call(token, 'GET', '/api/v1/confirmation-rules')).json());

/** Roles are words for sets of rights, and no secret to whoever manages access to anything. */
const OPEN_TO_ALL_MANAGERS = ['roleGet'];

test('invariant 7: no id in any route tells whether a thing exists that may not be seen', async (t) => {
  const { server, scoped, hidden } = await startWorld(t);
  for (const operationId of operationIds) {
    const { path, params } = routeOf(operationId);
    if (!params || OPEN_TO_ALL_MANAGERS.includes(operationId)) continue;
    const id = hidden[path.split('/')[3] ?? ''];
    assert.ok(id, `${operationId}: give this test something that is hidden`);
    const unknownId = id === 'repo-1' ? 'repo-2' : UNKNOWN_ID;
    const [known, unknown] = [
      await callRoute(server, operationId, scoped, id),
      await callRoute(server, operationId, scoped, unknownId),
    ];
    assert.ok([403, 404].includes(known.statusCode), `${operationId}: ${known.body}`);
    const plain = (text: string, ownId: string) => {
      const problem = problemSchema.parse(JSON.parse(text.replaceAll(ownId, 'ID')));
      return { ...problem, requestId: '' };
    };
    assert.deepEqual(plain(known.body, id), plain(unknown.body, unknownId), operationId);
  }
});

test('no list, count or event holds anything of a VM that may not be seen', async (t) => {
  const { server, scoped, hidden, administrator } = await startWorld(t);
  const secrets = [
    'payroll',
    'finance',
    ...Object.entries(hidden)
      .filter(
        ([kind]) =>
          !['roles', 'principals', 'users', 'sessions', 'confirmation-rules'].includes(kind),
      )
      .map(([, id]) => id),
  ];
  const urls = operationIds
    .filter((id) => routeOf(id).method === 'GET' && !routeOf(id).params && id !== 'eventStream')
    .map((id) => routeOf(id).path);
  for (const url of urls)
    for (const more of ['', `?vmId=${HIDDEN_ID}&label=team%3Dfinance&search=payroll`]) {
      const answer = await server.call(scoped, 'GET', `${url}${more}`);
      for (const secret of secrets)
        assert.ok(!answer.body.includes(secret), `${url}${more} shows ${secret}: ${answer.body}`);
    }
  const hosts = await server.call(scoped, 'GET', '/api/v1/hosts');
  assert.equal(hosts.json<{ items: { vmCount: number }[] }>().items[0]?.vmCount, 1);
  assert.equal((await server.call(scoped, 'GET', '/metrics')).statusCode, 403);
  const seen = await server.call(scoped, 'GET', '/api/v1/audit-events');
  assert.match(seen.body, /first-of-web/);
  const all = await server.call(administrator, 'GET', '/api/v1/vms');
  assert.equal(all.json<{ items: object[] }>().items.length, 2);
});

test('names, ids in bodies and filters tell nothing either', async (t) => {
  const { server, scoped } = await startWorld(t);
  const codeOf = async (url: string, body: object) => {
    const answer = await server.call(scoped, 'POST', url, { body });
    const { code, detail } = problemSchema.parse(answer.json());
    return [code, detail.replaceAll(/payroll|nothing|[0-9a-f-]{36}/g, 'X')];
  };
  for (const [url, hiddenBody, unknownBody] of [
    ['/api/v1/snapshots', { vm: 'payroll' }, { vm: 'nothing' }],
    ['/api/v1/snapshots', { vm: HIDDEN_ID }, { vm: UNKNOWN_ID }],
    ...[HIDDEN_ID, UNKNOWN_ID].map(() => [
      '/api/v1/bindings',
      { principalId: 'x', roleId: 'viewer', scope: { kind: 'vms', vmIds: [HIDDEN_ID] } },
      { principalId: 'x', roleId: 'viewer', scope: { kind: 'vms', vmIds: [UNKNOWN_ID] } },
    ]),
  ] as [string, object, object][])
    assert.deepEqual(await codeOf(url, hiddenBody), await codeOf(url, unknownBody));
  const rights = (vmId: string) =>
    server.call(scoped, 'GET', `/api/v1/principals/me/rights?vmId=${vmId}`);
  assert.equal((await rights(VM_ID)).statusCode, 200);
  assert.equal((await rights(HIDDEN_ID)).statusCode, 404);
  const snapshots = await server.call(scoped, 'GET', '/api/v1/snapshots');
  const restored = await server.call(
    scoped,
    'POST',
    `/api/v1/snapshots/${firstId(snapshots.json())}/restore`,
    { body: { mode: 'new-vm', name: 'payroll' } },
  );
  assert.equal(restored.statusCode, 202, 'a name that is taken by a hidden VM is not told');
});

test('an answer is not given again to whoever may not see it any more', async (t) => {
  const { server } = await startWorld(t);
  const operator = await server.token('operator', { scope: { kind: 'vms', vmIds: [VM_ID] } });
  const ask = (vm: string) =>
    server.call(operator, 'POST', '/api/v1/snapshots', {
      body: { vm },
      headers: { 'idempotency-key': 'again' },
    });
  const first = (await ask(VM_ID)).json<{ id: string }>();
  assert.equal((await ask(VM_ID)).json<{ id: string }>().id, first.id);
  await server.catalog.write((tx) =>
    tx
      .updateTable('bindings')
      .set({ scope: JSON.stringify({ kind: 'vms', vmIds: [HIDDEN_ID] }) })
      .where('principal_id', '=', 'principal-operator')
      .execute(),
  );
  const again = await ask(VM_ID);
  assert.equal(again.statusCode, 404);
  assert.match(again.body, new RegExp(`There is no VM ${VM_ID}`));
});

test('a denial wins over any allowance, and a changed label counts at once', async (t) => {
  const { server, administrator } = await startWorld(t);
  const viewer = await server.token('viewer');
  const names = async () =>
    (await server.call(viewer, 'GET', '/api/v1/vms'))
      .json<{ items: { name: string }[] }>()
      .items.map(({ name }) => name);
  assert.deepEqual(await names(), ['payroll', 'web']);
  const denial = await server.call(administrator, 'POST', '/api/v1/bindings', {
    body: {
      principalId: 'principal-viewer',
      roleId: 'viewer',
      effect: 'deny',
      scope: { kind: 'label', key: 'team', value: 'finance' },
    },
  });
  assert.equal(denial.statusCode, 201, denial.body);
  assert.deepEqual(await names(), ['web']);
  const label = (vmId: string, labels: object) =>
    server.call(administrator, 'PATCH', `/api/v1/vms/${vmId}`, { body: { labels } });
  assert.equal((await label(VM_ID, { team: 'finance' })).statusCode, 200);
  assert.deepEqual(await names(), []);
  const { id } = denial.json<{ id: string }>();
  const url = `/api/v1/bindings/${id}`;
  const stale = await server.call(administrator, 'DELETE', url, { headers: { 'if-match': '"x"' } });
  assert.equal(stale.statusCode, 412);
  assert.equal((await server.call(administrator, 'DELETE', url)).statusCode, 204);
  assert.deepEqual(await names(), ['payroll', 'web']);
});

test('events follow the rights of the moment in which they happen', async (t) => {
  const { server, scoped } = await startWorld(t);
  const { catalog } = server;
  const clock = { now: () => new Date(START_MS), monotonicMs: () => performance.now() };
  const environment = {
    catalog,
    clock,
    logger: silentLogger,
    version: '1',
    signIn: createSignInSettings(),
  };
  const feed = createEventFeed(environment);
  t.after(() => feed.close());
  const principal = await authenticate(catalog, scoped, clock);
  const events: ServerEvent[] = [];
  const arrived = Promise.withResolvers<void>();
  await feed.follow({ principal, sourceAddress: null }, { lastEventId: 0 }, (event) => {
    events.push(event);
    if ('id' in event && event.id === VM_ID && events.length > 1) arrived.resolve();
  });
  await catalog.write(async (tx) => {
    await setVmLabels(tx, { vmId: HIDDEN_ID, labels: {}, at: AT });
    await setVmLabels(tx, { vmId: VM_ID, labels: {}, at: AT });
  });
  await arrived.promise;
  const ids = events.map((event) => ('id' in event ? event.id : event.type));
  assert.ok(ids.length > 0 && !ids.includes(HIDDEN_ID), ids.join());
  await catalog.write(async (tx) => {
    await tx.deleteFrom('bindings').where('principal_id', '=', 'principal-web-admin').execute();
    await setVmLabels(tx, { vmId: VM_ID, labels: {}, at: AT });
  });
  const other = Promise.withResolvers<void>();
  const reader = await authenticate(catalog, await server.token('viewer'), clock);
  const count = events.length;
  await feed.follow({ principal: reader, sourceAddress: null }, { lastEventId: 0 }, (event) => {
    if ('id' in event && event.id === VM_ID) other.resolve();
  });
  await other.promise;
  assert.equal(events.length, count);
});

test('roles are made, changed and deleted; built-in ones and those in use are kept', async (t) => {
  const { server, administrator } = await startWorld(t);
  const call = (method: 'POST' | 'PATCH' | 'DELETE' | 'GET', url: string, body?: object) =>
    server.call(administrator, method, `/api/v1/roles${url}`, body ? { body } : {});
  const made = await call('POST', '', { name: 'Night shift', rights: ['view', 'restore'] });
  const { id } = made.json<{ id: string }>();
  assert.equal(made.headers['location'], `/api/v1/roles/${id}`);
  assert.equal((await call('POST', '', { name: 'night SHIFT', rights: [] })).statusCode, 409);
  assert.equal((await call('POST', '', { name: 'Operator', rights: [] })).statusCode, 409);
  assert.equal((await call('PATCH', '/operator', { rights: [] })).statusCode, 409);
  assert.equal((await call('DELETE', '/viewer')).statusCode, 409);
  await server.catalog.write(async (tx) => {
    await insertPrincipal(tx, { id: 'nina', name: 'nina', kind: 'user', at: AT });
    await insertBinding(tx, {
      id: newId(START_MS),
      principalId: 'nina',
      roleId: id,
      effect: 'allow',
      scope: { kind: 'everything' },
      createdBy: BY,
      at: AT,
    });
  });
  assert.equal((await call('DELETE', `/${id}`)).statusCode, 409);
  const rights = async () =>
    (await server.call(administrator, 'GET', '/api/v1/principals/nina/rights')).json<{
      rights: string[];
    }>().rights;
  assert.deepEqual(await rights(), ['view', 'restore']);
  assert.equal((await call('PATCH', `/${id}`, { rights: ['view'] })).statusCode, 200);
  assert.deepEqual(await rights(), ['view']);
  const names = (await call('GET', '?limit=2')).json<{ nextCursor: string | null }>();
  const rest = (await call('GET', `?cursor=${names.nextCursor}`)).json<{ items: object[] }>();
  assert.equal(rest.items.length, 4);
});

test('the last who could give a right keeps it', async (t) => {
  const { server, administrator } = await startWorld(t);
  const own = await server.call(administrator, 'GET', `/api/v1/bindings?principalId=${BY.id}`);
  const bindings = own.json<{ items: { id: string; role: { id: string } }[] }>().items;
  const root = bindings.find(({ role }) => role.id === 'administrator');
  const url = `/api/v1/bindings/${root?.id}`;
  const tries = [
    await server.call(administrator, 'DELETE', url),
    await server.call(administrator, 'PATCH', url, { body: { roleId: 'operator' } }),
    await server.call(administrator, 'PATCH', url, { body: { effect: 'deny' } }),
    await server.call(administrator, 'POST', '/api/v1/bindings', {
      body: {
        principalId: BY.id,
        roleId: 'operator',
        effect: 'deny',
        scope: { kind: 'label', key: 'team', value: 'x' },
      },
    }),
  ];
  for (const answer of tries) assert.equal(problemSchema.parse(answer.json()).code, 'in_use');
  await server.token('administrator', { name: 'second' });
  assert.equal((await server.call(administrator, 'DELETE', url)).statusCode, 204);
  assert.equal((await server.call(administrator, 'GET', '/api/v1/roles')).statusCode, 403);
});
