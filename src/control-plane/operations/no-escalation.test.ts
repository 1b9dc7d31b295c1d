import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import * as fc from 'fast-check';
import { RIGHTS, type Right } from '../../contract/rights.ts';
import type { Scope } from '../../contract/scope.ts';
import { OperationError } from '../../shared/errors.ts';
import { newId } from '../../shared/ids.ts';
import { silentLogger } from '../../shared/logger.ts';
import { loadPrincipal, reloadPrincipal } from '../access/load-principal.ts';
import { holds, type Principal, type VmTarget } from '../access/principal.ts';
import { BUILT_IN_ROLES } from '../access/roles.ts';
import { authenticate } from '../access/tokens.ts';
import { insertBinding, listBindings } from '../database/bindings.ts';
import { openCatalog, type Catalog } from '../database/catalog.ts';
import { reportHost } from '../database/hosts.ts';
import { insertPrincipal } from '../database/principals.ts';
import { insertRole, listRoles } from '../database/roles.ts';
import { findVmLabels, reportVm, setVmLabels } from '../database/vms.ts';
import { bindingCreate, bindingDelete, bindingUpdate } from './bindings.ts';
import { createSignInSettings, type Environment } from './environment.ts';
import { roleCreate, roleDelete, roleUpdate } from './roles.ts';
import { tokenCreate } from './tokens.ts';
import { vmUpdate } from './vms.ts';

const AT = '2026-01-02T03:04:05.678Z';
const HOST_ID = '11111111-1111-4111-8111-111111111111';
const VM_IDS = [2, 3, 4].map((n) => `${n}0000000-0000-4000-8000-000000000000`);
const PEOPLE = ['root', 'ann', 'bob', 'cleo'] as const;
const LABELS = [{}, { team: 'a' }, { team: 'b' }, { tier: 'x' }, { team: 'a', tier: 'x' }];
/** VMs that there could be one day. */
const GHOSTS: readonly VmTarget[] = LABELS.map((labels, n) => ({ id: `ghost-${n}`, labels }));

/** Those who manage access without having everything are who could try. */
const MADE_ROLES: Readonly<Record<string, readonly Right[]>> = {
  'made-1': ['manage-access', 'view'],
  'made-2': ['manage-access', 'view', 'create', 'delete-own'],
  'made-3': ['delete', 'emergency'],
};
const ROLE_IDS = [...BUILT_IN_ROLES, ...Object.keys(MADE_ROLES)];

const rightsArbitrary = fc.uniqueArray(
  fc.constantFrom<Right>('manage-access', 'view', 'delete', 'delete-own', 'create', 'emergency'),
  { maxLength: 5 },
);
const scopeArbitrary: fc.Arbitrary<Scope> = fc.oneof(
  fc.constant({ kind: 'everything' } as const),
  fc.constantFrom(
    { kind: 'label', key: 'team', value: 'a' } as const,
    { kind: 'label', key: 'team', value: 'b' } as const,
    { kind: 'label', key: 'tier', value: 'x' } as const,
  ),
  fc
    .uniqueArray(fc.constantFrom(...VM_IDS), { minLength: 1 })
    .map((vmIds) => ({ kind: 'vms' as const, vmIds })),
);
const effectArbitrary = fc.constantFrom<'allow' | 'deny'>('allow', 'allow', 'deny');
const grantArbitrary = fc.record({
  person: fc.constantFrom(...PEOPLE),
  /** Of all roles that there are then, modulo their number. */
  role: fc.nat(12),
  effect: effectArbitrary,
  scope: scopeArbitrary,
});
const stepArbitrary = fc.record({
  /** Among people and the tokens made so far. */
  actor: fc.oneof(fc.constant(0), fc.nat(9)),
  act: fc.oneof(
    grantArbitrary.map((grant) => ({ kind: 'bind' as const, ...grant })),
    grantArbitrary.map((grant) => ({ kind: 'bind' as const, ...grant })),
    fc.record({ kind: fc.constant('rebind' as const), nth: fc.nat(30), to: grantArbitrary }),
    fc.record({ kind: fc.constant('unbind' as const), nth: fc.nat(30) }),
    fc.record({ kind: fc.constant('role' as const), rights: rightsArbitrary }),
    fc.record({ kind: fc.constant('rerole' as const), nth: fc.nat(5), rights: rightsArbitrary }),
    fc.record({ kind: fc.constant('unrole' as const), nth: fc.nat(5) }),
    fc.record({
      kind: fc.constant('relabel' as const),
      vmId: fc.constantFrom(...VM_IDS),
      labels: fc.constantFrom(...LABELS),
    }),
    fc.record({
      kind: fc.constant('token' as const),
      rights: fc.option(rightsArbitrary),
      scope: fc.option(scopeArbitrary),
    }),
  ),
});
type ValueOf<A> = A extends fc.Arbitrary<infer T> ? T : never;
type Step = ValueOf<typeof stepArbitrary>;
type Grant = ValueOf<typeof grantArbitrary>;

const clock = { now: () => new Date(AT), monotonicMs: () => performance.now() };

async function open(t: TestContext): Promise<Environment> {
  const folder = await mkdtemp(path.join(tmpdir(), 'escalation-'));
  const catalog = await openCatalog({ path: path.join(folder, 'catalog.db'), clock });
  t.after(async () => {
    await catalog.close();
    await rm(folder, { recursive: true });
  });
  await catalog.write(async (tx) => {
    const host = { id: HOST_ID, name: 'h', state: 'ready', stateReason: null } as const;
    await reportHost(tx, { ...host, description: null, room: null, at: AT });
    for (const [n, id] of VM_IDS.entries())
      await reportVm(tx, { hostId: HOST_ID, description: describeVm(id, `vm-${n}`), at: AT });
    for (const id of PEOPLE) await insertPrincipal(tx, { id, name: id, kind: 'user', at: AT });
  });
  return {
    catalog,
    clock,
    logger: silentLogger,
    version: '1',
    signIn: createSignInSettings(),
  };
}

const describeVm = (id: string, name: string) => ({
  id,
  name,
  state: 'running' as const,
  persistent: true,
  memoryBytes: 1024,
  vcpus: 1,
  machineType: 'q35',
  domainType: 'kvm',
  disks: [],
  agent: 'absent' as const,
  firmware: 'bios' as const,
  nvramPath: null,
  tpm: null,
  memoryObstacles: [],
  backgroundObstacles: [],
  hypervisorSnapshots: { internal: 0, external: 0 },
  jobActive: false,
  hasDisplay: false,
});

async function reset(catalog: Catalog, grants: readonly Grant[]): Promise<void> {
  await catalog.write(async (tx) => {
    for (const table of ['bindings', 'roles', 'tokens'] as const)
      await tx.deleteFrom(table).execute();
    for (const [id, rights] of Object.entries(MADE_ROLES))
      await insertRole(tx, { id, name: id, description: '', rights, at: AT });
    for (const [n, vmId] of VM_IDS.entries())
      await setVmLabels(tx, { vmId, labels: LABELS[n] ?? {}, at: AT });
    const all = [
      { person: 'root', role: 0, effect: 'allow', scope: { kind: 'everything' } } as const,
      ...grants.filter(({ person }) => person !== 'root'),
    ];
    for (const { person, role, effect, scope } of all)
      await insertBinding(tx, {
        id: newId(Date.parse(AT)),
        principalId: person,
        roleId: ROLE_IDS[role % ROLE_IDS.length] ?? '',
        effect,
        scope,
        createdBy: { id: 'root', name: 'root', kind: 'user' },
        at: AT,
      });
  });
}

/** Everything that somebody holds: `right target`, for VMs, VMs to come, and the fleet. */
async function holdings(catalog: Catalog, principal: Principal): Promise<Set<string>> {
  const vms = [...GHOSTS];
  for (const id of VM_IDS) vms.push((await findVmLabels(catalog.read, id)) ?? { id, labels: {} });
  const targets = [...vms.map((vm) => ({ name: vm.id, vm })), { name: 'fleet', vm: null }];
  return new Set(
    targets.flatMap(({ name, vm }) =>
      RIGHTS.filter((right) => holds(principal, right, vm)).map((right) => `${right} ${name}`),
    ),
  );
}

async function perform(
  environment: Environment,
  principal: Principal,
  act: Step['act'],
): Promise<string | undefined> {
  const caller = { principal, sourceAddress: null };
  const { read } = environment.catalog;
  const made = (await listRoles(read, { limit: 100 })).map(({ id }) => id);
  const roles = [...BUILT_IN_ROLES, ...made];
  const nth = <Item>(items: readonly Item[], n: number): Item | undefined =>
    items[n % Math.max(1, items.length)];
  const bindings = (await listBindings(read, {}, { limit: 500 })).map(({ id }) => id);
  const ifMatch = undefined;
  if (act.kind === 'token') {
    const input = { name: 't', rights: act.rights, scope: act.scope, expiresAt: null };
    return (await tokenCreate(environment, caller, input)).secret;
  }
  switch (act.kind) {
    case 'bind': {
      const { person, role, effect, scope } = act;
      const input = { principalId: person, roleId: nth(roles, role) ?? '', effect, scope };
      await bindingCreate(environment, caller, input, {});
      break;
    }
    case 'rebind': {
      const { role, effect, scope } = act.to;
      const input = { roleId: nth(roles, role) ?? '', effect, scope };
      const id = nth(bindings, act.nth) ?? '';
      await bindingUpdate(environment, caller, { id, input, ifMatch });
      break;
    }
    case 'unbind': {
      const id = nth(bindings, act.nth) ?? '';
      await bindingDelete(environment, caller, { id, ifMatch });
      break;
    }
    case 'role': {
      const input = { name: newId(Date.parse(AT)), description: '', rights: act.rights };
      await roleCreate(environment, caller, input, {});
      break;
    }
    case 'rerole': {
      const input = { rights: act.rights };
      const id = nth(made, act.nth) ?? '';
      await roleUpdate(environment, caller, { id, input, ifMatch });
      break;
    }
    case 'unrole': {
      await roleDelete(environment, caller, {
        id: nth(made, act.nth) ?? '',
        ifMatch,
      });
      break;
    }
    case 'relabel': {
      const input = { labels: act.labels };
      await vmUpdate(environment, caller, { id: act.vmId, input, ifMatch });
      break;
    }
  }
  return undefined;
}

test('invariant 7: no sequence of acts gives anybody a right that the one who acted did not have', async (t) => {
  const environment = await open(t);
  const { catalog } = environment;
  const counts = { done: 0, gained: 0, refused: 0 };
  const people = async (): Promise<Principal[]> => {
    const loaded = await Promise.all(PEOPLE.map((id) => loadPrincipal(catalog.read, id)));
    return loaded.filter((one) => one !== undefined);
  };
  const scenario = fc.asyncProperty(
    fc.array(grantArbitrary, { maxLength: 6 }),
    fc.array(stepArbitrary, { minLength: 5, maxLength: 15 }),
    async (grants, steps) => {
      await reset(catalog, grants);
      /** Tokens with whoever made them: a person, or another token. */
      const tokens: { token: Principal; maker: Principal }[] = [];
      const now = async (principal: Principal): Promise<Principal> => {
        const fresh = await reloadPrincipal(catalog.read, principal, clock);
        assert.ok(fresh);
        return fresh;
      };
      for (const { actor: nth, act } of steps) {
        const before = await people();
        const actors = [...before, ...tokens.map(({ token }) => token)];
        const actor = await now(actors[nth % actors.length]!);
        const had = await holdings(catalog, actor);
        const heldBefore = await Promise.all(before.map((one) => holdings(catalog, one)));
        try {
          const secret = await perform(environment, actor, act);
          counts.done += 1;
          if (secret !== undefined)
            tokens.push({ token: await authenticate(catalog, secret, clock), maker: actor });
        } catch (error) {
          assert.ok(error instanceof OperationError && error.code !== 'internal', String(error));
          counts.refused += 1;
        }
        for (const [n, person] of (await people()).entries()) {
          const gained = (await holdings(catalog, person)).difference(heldBefore[n]!);
          counts.gained += gained.size;
          for (const one of gained) {
            assert.ok(had.has(one), `${actor.ref.id} gave ${person.ref.id} "${one}": ${act.kind}`);
            const manages = `manage-access ${one.split(' ')[1]}`;
            assert.ok(had.has(manages), `${actor.ref.id} gave "${one}" without ${manages}`);
          }
        }
        for (const { token, maker } of tokens) {
          const more = (await holdings(catalog, await now(token))).difference(
            await holdings(catalog, await now(maker)),
          );
          assert.deepEqual([...more], [], 'a token exceeds the one that made it');
        }
        const everything = RIGHTS.length * (GHOSTS.length + VM_IDS.length + 1);
        const owners = await Promise.all((await people()).map((one) => holdings(catalog, one)));
        assert.ok(
          owners.some(({ size }) => size > 0),
          'somebody must be left',
        );
        assert.ok(
          new Set(owners.flatMap((one) => [...one])).size === everything,
          'each right over everything must stay with somebody',
        );
      }
    },
  );
  await fc.assert(scenario, { numRuns: 25 });
  t.diagnostic(JSON.stringify(counts));
  assert.ok(counts.done > 20 && counts.gained > 20 && counts.refused > 20, JSON.stringify(counts));
});
