import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sampleVm, VM_ID } from '../client/samples.test-suite.ts';
import { startTableServer, type TableServer } from '../client/table-server.test-suite.ts';
import { runInProcess } from './run-in-process.test-suite.ts';

let server: TableServer;
before(async () => {
  server = await startTableServer({});
});
after(() => server.close());

const run = (...argv: string[]) => runInProcess(argv, { url: server.url });
const lastCall = (operationId: string) =>
  server.calls.findLast((call) => call.operationId === operationId);

const AT = '2026-03-01T09:30:00.000Z';
const ANN = { id: 'u1', name: 'ann', kind: 'user' } as const;
const ROLE_ID = '0193b0f0-0000-7000-8000-0000000000e1';
const BINDING_ID = '0193b0f0-0000-7000-8000-0000000000e2';
const role = {
  id: ROLE_ID,
  name: 'Night shift',
  description: '',
  rights: ['view' as const],
  builtIn: false,
  createdAt: AT,
  updatedAt: AT,
};
const binding = {
  id: BINDING_ID,
  principal: ANN,
  role: { id: ROLE_ID, name: role.name },
  effect: 'deny' as const,
  scope: { kind: 'label' as const, key: 'env', value: 'prod' },
  createdBy: ANN,
  createdAt: AT,
  updatedAt: AT,
};

test('roles and bindings are listed, made, changed and removed', async () => {
  server.handlers = {
    vmGet: () => sampleVm(),
    roleList: () => ({ items: [role], nextCursor: null }),
    roleGet: () => role,
    roleCreate: () => role,
    roleUpdate: () => role,
    roleDelete: () => undefined,
    bindingList: () => ({ items: [binding], nextCursor: null }),
    bindingCreate: () => binding,
    bindingDelete: () => undefined,
  };
  assert.match((await run('role', 'list')).output, /Night shift +view/);
  assert.match((await run('role', 'create', 'Night shift', '--right', 'view')).output, /Night/);
  assert.deepEqual(lastCall('roleCreate')?.body, {
    name: 'Night shift',
    description: '',
    rights: ['view'],
  });
  await run('role', 'edit', ROLE_ID, '--right', 'view', '--right', 'create');
  assert.deepEqual(lastCall('roleUpdate')?.body, { rights: ['view', 'create'] });
  assert.equal((await run('role', 'edit', ROLE_ID)).code, 2);
  assert.equal((await run('role', 'delete', ROLE_ID)).code, 0);
  assert.match((await run('binding', 'list')).output, /ann +deny +Night shift +env=prod/);
  const make = ['binding', 'create', '--user', 'u1', '--role', 'viewer'];
  assert.equal((await run(...make)).code, 2, 'a scope has to be said');
  assert.equal((await run(...make, '--everything', '--vm', VM_ID)).code, 2);
  assert.equal((await run(...make, '--deny', '--vm', VM_ID)).code, 0);
  assert.deepEqual(lastCall('bindingCreate')?.body, {
    principalId: 'u1',
    roleId: 'viewer',
    effect: 'deny',
    scope: { kind: 'vms', vmIds: [VM_ID] },
  });
  assert.equal((await run('binding', 'delete', BINDING_ID)).code, 0);
});

test('rights says what one may do, or somebody else, over one VM', async () => {
  server.handlers = {
    vmGet: () => sampleVm(),
    principalRights: () => ({
      principal: ANN,
      vm: null,
      roles: ['viewer'],
      rights: ['view'],
      fleetRights: [],
    }),
  };
  assert.match((await run('rights')).output, /viewer/);
  assert.equal(lastCall('principalRights')?.params['id'], 'me');
  assert.equal((await run('rights', 'u1', '--vm', VM_ID)).code, 0);
  assert.equal(lastCall('principalRights')?.params['id'], 'u1');
});
