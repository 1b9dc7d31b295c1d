import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { copyFile, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createClient } from '../../src/client/client.ts';
import { OperationError, type ErrorCode } from '../../src/shared/errors.ts';
import { createTestGuest, type TestGuest } from '../support/guest/create-test-guest.ts';
import { runVirsh } from '../support/guest/virsh.ts';
import { findRemains } from '../support/service/capture-remains.ts';
import { damageLargestPack } from '../support/service/damage-pack.ts';
import {
  askForRollback,
  askForSnapshot,
  fail,
  getSnapshot,
  listSnapshots,
  readPowerState,
  refusalOf,
  takeSnapshot,
  verifySnapshot,
  waitForVm,
} from '../support/service/operations.ts';
import { startTestService, type TestService } from '../support/service/start-service.ts';
import { waitUntil } from '../support/service/wait-until.ts';

const BOOT_TIMEOUT_MS = 240_000;
/** More than any disk has free. */
const ENDLESS_BYTES = Number.MAX_SAFE_INTEGER;

let service: TestService;
let guest: TestGuest;

before(async () => {
  service = await startTestService();
  guest = await createTestGuest({
    name: 'refusals',
    memoryMiB: 128,
    start: false,
    disks: [
      { target: 'vda', format: 'qcow2', sizeMiB: 40, content: 'random', filledMiB: 32 },
      { target: 'vdb', format: 'raw', sizeMiB: 16 },
    ],
  });
  await waitForVm(service, guest.id, 'off');
});
after(async () => {
  await guest?.destroy();
  await service?.destroy();
});

const isRefusal =
  (code: ErrorCode, status: number) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof OperationError, String(error));
    assert.equal(error.code, code, error.message);
    assert.equal(error.details['httpStatus'], status);
    return true;
  };

/** Nothing is half done: no snapshot that is not failed, nothing on the host, the VM as it was. */
async function assertNothingDone(state: string): Promise<void> {
  const alive = (await listSnapshots(service, guest.id)).filter((one) => one.state !== 'failed');
  assert.deepEqual(alive, []);
  assert.deepEqual(await findRemains(service, guest), []);
  assert.equal(await readPowerState(guest.name), state);
}

async function restartWith(config: Readonly<Record<string, unknown>>): Promise<void> {
  await service.stop();
  await service.configure(config);
  await service.start();
  await waitForVm(service, guest.id);
}

async function startGuest(): Promise<void> {
  if ((await readPowerState(guest.name)) === 'running') return;
  await runVirsh(['start', guest.name]);
  await guest.waitForLine('guest ready', { timeoutMs: BOOT_TIMEOUT_MS });
}

describe('what cannot be done is refused with a code, and nothing is half done', () => {
  test('a VM that nobody knows', async () => {
    const stranger = { id: randomUUID(), name: 'nobody' };
    await assert.rejects(askForSnapshot(service, stranger), isRefusal('not_found', 404));
  });

  test('a token that is wrong, or none', async () => {
    const { url: baseUrl } = service;
    for (const token of [undefined, 'kmd_wrong', `${service.token}x`]) {
      const stranger = createClient({ baseUrl, token });
      await assert.rejects(
        stranger.call('vmList', { query: {} }),
        isRefusal('unauthenticated', 401),
      );
    }
  });

  test('a VM with snapshots of the hypervisor', async () => {
    const overlay = path.join(guest.folder, 'overlay.qcow2');
    await runVirsh([
      'snapshot-create-as',
      guest.name,
      'theirs',
      '--disk-only',
      '--diskspec',
      `vda,snapshot=external,file=${overlay}`,
      '--diskspec',
      'vdb,snapshot=no',
    ]);
    const refusal = await refusalOf(service, guest);
    assert.equal(refusal.code, 'mixed_hypervisor_snapshots', refusal.message);
    await assertNothingDone('shut off');
    await runVirsh(['snapshot-delete', guest.name, 'theirs', '--metadata']);
  });

  test('a disk that other VMs may write to, unless it is left out, which is recorded', async () => {
    const image = path.join(guest.folder, 'shared.raw');
    await writeFile(image, Buffer.alloc(1024 * 1024, 7));
    const attach = ['attach-disk', guest.name, image, 'vdc', '--mode', 'shareable', '--config'];
    await runVirsh([...attach, '--driver', 'qemu', '--subdriver', 'raw']);
    // libvirt tells nobody of a changed definition, but of a changed description.
    await runVirsh(['desc', guest.name, '--config', 'has a shared disk']);
    await waitUntil('The shared disk in the inventory', async () => {
      const { description } = await waitForVm(service, guest.id);
      return description.disks.find(({ target }) => target === 'vdc');
    });
    await assert.rejects(askForSnapshot(service, guest), isRefusal('unsupported_disk', 422));
    await assertNothingDone('shut off');

    const snapshot = await takeSnapshot(service, guest, { skipDisks: ['vdc'], name: 'partly' });
    assert.deepEqual(
      snapshot.skippedDisks.map(({ target }) => target),
      ['vdc'],
    );
    assert.match(snapshot.skippedDisks[0]?.reason ?? '', /request/i);
    await assert.rejects(
      askForSnapshot(service, guest, { skipDisks: ['vdc'], name: 'partly' }),
      isRefusal('name_taken', 409),
    );
    await assert.rejects(
      service.client.call('snapshotDelete', {
        params: { id: snapshot.id },
        body: { confirmVmName: 'another' },
      }),
      isRefusal('confirmation_mismatch', 422),
    );
    await assert.rejects(
      service.client.call('snapshotRestore', {
        params: { id: snapshot.id },
        body: { mode: 'rollback', confirmVmName: '' },
      }),
      isRefusal('confirmation_mismatch', 422),
    );
    assert.equal((await getSnapshot(service, snapshot.id)).state, 'active');
    await runVirsh(['detach-disk', guest.name, 'vdc', '--config']);
  });
});

describe('room that is not there', () => {
  const aliveNames = async (): Promise<string[]> =>
    (await listSnapshots(service, guest.id))
      .filter(({ state }) => state !== 'failed')
      .map(({ name }) => name);

  before(startGuest);

  test('no scratch space', async () => {
    await restartWith({ scratchFloorBytes: ENDLESS_BYTES });
    await waitForVm(service, guest.id, 'running');
    const refusal = await refusalOf(service, guest);
    assert.equal(refusal.code, 'insufficient_space', refusal.message);
    assert.match(refusal.message, /scratch/);
    assert.deepEqual(await aliveNames(), ['partly']);
    assert.deepEqual(await findRemains(service, guest), []);
    assert.equal(await readPowerState(guest.name), 'running');
  });

  test('invariants 1 and 2: a repository that runs full while a capture goes on', async () => {
    await restartWith({ repositoryFloorBytes: ENDLESS_BYTES });
    await waitForVm(service, guest.id, 'running');
    const refusal = await refusalOf(service, guest);
    assert.equal(refusal.code, 'insufficient_space', refusal.message);
    assert.match(refusal.message, /repository/);
    assert.deepEqual(await aliveNames(), ['partly']);
    assert.deepEqual(await findRemains(service, guest), []);
    assert.equal(await readPowerState(guest.name), 'running');
    await restartWith({});
  });
});

describe('a repository that is not what it should be', () => {
  before(startGuest);

  test('a damaged chunk: the restore is refused before the VM is touched', async (t) => {
    await waitForVm(service, guest.id, 'running');
    const snapshot = await takeSnapshot(service, guest, { kind: 'disk', name: 'damaged' });
    t.diagnostic(await damageLargestPack(service.repositoryFolder));
    // What was read before may still be in memory.
    await restartWith({});
    await waitForVm(service, guest.id, 'running');
    const bootId = await runVirsh(['domid', guest.name]);
    const files = readdirSync(guest.folder);
    const { id } = await askForRollback(service, snapshot);
    assert.equal((await fail(service, id)).code, 'snapshot_damaged');
    assert.equal(await runVirsh(['domid', guest.name]), bootId);
    assert.equal(await readPowerState(guest.name), 'running');
    assert.deepEqual(readdirSync(guest.folder), files);
    assert.deepEqual(await findRemains(service, guest), []);

    const report = await verifySnapshot(service, snapshot);
    assert.ok((report.damageCount ?? 0) > 0);
    const damaged = await getSnapshot(service, snapshot.id);
    assert.equal(damaged.state, 'damaged');
    assert.match(damaged.damage[0]?.part ?? '', /disk vda/);
    await assert.rejects(askForRollback(service, damaged), (error: unknown) => {
      assert.ok(error instanceof OperationError);
      assert.ok(['snapshot_damaged', 'wrong_state'].includes(error.code), error.code);
      return true;
    });
  });

  test('another repository’s key: the service says so and does not start', async () => {
    await service.stop();
    const keyFile = path.join(service.folder, 'repository.key');
    const kept = path.join(service.folder, 'kept.key');
    await copyFile(keyFile, kept);
    const other = await startTestService();
    try {
      await copyFile(path.join(other.folder, 'repository.key'), keyFile);
      await assert.rejects(service.start(), /repository_key_wrong/);
    } finally {
      await other.destroy();
    }
    await writeFile(keyFile, (await readFile(kept, 'utf8')).slice(0, 40));
    await assert.rejects(service.start(), /repository_key_wrong|key/);
    await rename(kept, keyFile);
    await service.start();
  });
});
