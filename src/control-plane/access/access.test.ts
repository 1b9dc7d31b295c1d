import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { RIGHTS, type Right } from '../../contract/rights.ts';
import { openCatalog, type Catalog } from '../database/catalog.ts';
import { insertPrincipal } from '../database/principals.ts';
import { revokeToken } from '../database/tokens.ts';
import { ensureAdministrator } from './first-administrator.ts';
import { insertBinding } from '../database/bindings.ts';
import { authorize, mayDo, rightsSomewhere, rolesFor, type Principal } from './principal.ts';
import { BUILT_IN_ROLES, ROLE_RIGHTS, type BuiltInRole } from './roles.ts';
import { authenticate, issueToken } from './tokens.ts';

const START_MS = Date.parse('2026-01-02T03:04:05.678Z');
let nowMs = START_MS;
const clock = { now: () => new Date(nowMs), monotonicMs: () => nowMs };

async function openTemporary(t: TestContext): Promise<{ catalog: Catalog; file: string }> {
  nowMs = START_MS;
  const folder = await mkdtemp(path.join(tmpdir(), 'access-'));
  const file = path.join(folder, 'catalog.db');
  const catalog = await openCatalog({ path: file });
  t.after(async () => {
    await catalog.close();
    await rm(folder, { recursive: true });
  });
  return { catalog, file };
}

async function tokenFor(
  catalog: Catalog,
  options: { role: string; rights?: readonly Right[]; expiresAt?: string },
): Promise<{ id: string; secret: string }> {
  return await catalog.write(async (tx) => {
    const id = `principal-${options.role}`;
    const at = clock.now().toISOString();
    const ref = { id, name: id, kind: 'user' } as const;
    await insertPrincipal(tx, { ...ref, at });
    await insertBinding(tx, {
      id: `binding-${options.role}`,
      principalId: id,
      roleId: options.role,
      effect: 'allow',
      scope: { kind: 'everything' },
      createdBy: ref,
      at,
    });
    const { rights = null, expiresAt = null } = options;
    return await issueToken(tx, { principalId: id, name: 't', rights, expiresAt }, clock.now());
  });
}

test('the first start makes one administrator, also when two servers start', async (t) => {
  const { catalog, file } = await openTemporary(t);
  const administer = () => catalog.write((tx) => ensureAdministrator(tx, clock.now()));
  const results = await Promise.all([administer(), administer()]);
  const made = results.filter((result) => result !== undefined);
  assert.equal(made.length, 1);
  const principal = await authenticate(catalog, made[0]?.secret, clock);
  assert.deepEqual([...rolesFor(principal, { vm: null })], ['administrator']);
  assert.deepEqual(rightsSomewhere(principal), [...RIGHTS]);
  assert.equal(await administer(), undefined);
  const bytes = Buffer.concat([await readFile(file), await readFile(`${file}-wal`)]);
  assert.equal(bytes.includes(made[0]?.secret ?? '?'), false, 'the secret is in the catalog file');
});

test('no token, a wrong one, an expired, a revoked one, and one of somebody disabled are all refused alike', async (t) => {
  const { catalog } = await openTemporary(t);
  const good = await tokenFor(catalog, { role: 'viewer' });
  const expiring = await tokenFor(catalog, {
    role: 'auditor',
    expiresAt: new Date(START_MS + 1000).toISOString(),
  });
  const disabled = await tokenFor(catalog, { role: 'operator' });
  await catalog.write((tx) =>
    tx
      .updateTable('principals')
      .set({ disabled_at: clock.now().toISOString() })
      .where('id', '=', 'principal-operator')
      .execute(),
  );
  const revoked = await tokenFor(catalog, { role: 'approver' });
  await catalog.write((tx) => revokeToken(tx, { id: revoked.id, at: clock.now().toISOString() }));
  await authenticate(catalog, good.secret, clock);
  await authenticate(catalog, expiring.secret, clock);
  nowMs += 1000;
  const flipped = good.secret.slice(0, -2) + (good.secret.endsWith('AA') ? 'BB' : 'AA');
  const wrong = [undefined, '', 'x', flipped, `${good.secret}x`, 'k'.repeat(100_000)];
  for (const secret of [...wrong, expiring.secret, disabled.secret, revoked.secret])
    await assert.rejects(authenticate(catalog, secret, clock), { code: 'unauthenticated' });
});

test('a token can only narrow the rights of its owner', async (t) => {
  const { catalog } = await openTemporary(t);
  const { secret } = await tokenFor(catalog, { role: 'viewer', rights: ['view', 'delete'] });
  assert.deepEqual(rightsSomewhere(await authenticate(catalog, secret, clock)), ['view']);
});

test('a role that is not there gives nothing', async (t) => {
  const { catalog } = await openTemporary(t);
  const { secret } = await tokenFor(catalog, { role: 'emperor' });
  assert.deepEqual(rightsSomewhere(await authenticate(catalog, secret, clock)), []);
});

test('the use of a token is noted, not more than once a minute', async (t) => {
  const { catalog } = await openTemporary(t);
  const { secret } = await tokenFor(catalog, { role: 'viewer' });
  const lastUse = async () =>
    (await catalog.read.selectFrom('tokens').select('last_used_at').executeTakeFirstOrThrow())
      .last_used_at;
  await authenticate(catalog, secret, clock);
  assert.equal(await lastUse(), new Date(START_MS).toISOString());
  nowMs += 59_000;
  await authenticate(catalog, secret, clock);
  assert.equal(await lastUse(), new Date(START_MS).toISOString());
  nowMs += 1000;
  await authenticate(catalog, secret, clock);
  assert.equal(await lastUse(), new Date(START_MS + 60_000).toISOString());
});

const VM = { id: 'vm', labels: {} };
const mine = { vm: VM, createdById: 'me' };
const others = { vm: VM, createdById: 'other' };

const principalOf = (role: BuiltInRole): Principal => ({
  ref: { id: 'me', name: 'me', kind: 'user' },
  grants: [
    {
      effect: 'allow',
      roleId: role,
      rights: new Set(ROLE_RIGHTS[role]),
      scope: { kind: 'everything' },
    },
  ],
  limits: null,
  tokenId: null,
});

test('each role has its rights and no others', () => {
  const matrix = BUILT_IN_ROLES.map((role) =>
    RIGHTS.map((right) => (mayDo(principalOf(role), right, others) ? 'x' : '.')).join(''),
  );
  //      view create restore delete delete-own export approve schedules access audit power repository emergency
  assert.deepEqual(matrix, [
    'xxxxxxxxxxxxx',
    'x.....x......',
    'xxx.xx....x..',
    'x........x...',
    'x............',
  ]);
});

test('an operator restores what others made but deletes only their own', () => {
  const operator = principalOf('operator');
  authorize(operator, 'restore', others);
  authorize(operator, 'delete', mine);
  assert.throws(() => authorize(operator, 'delete', others), { code: 'forbidden' });
  assert.throws(() => authorize(operator, 'delete', { vm: VM }), { code: 'forbidden' });
  authorize(principalOf('administrator'), 'delete', others);
});
