import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { runCommand } from '../../scripts/setup/run-command.ts';
import type { Snapshot } from '../../src/contract/snapshots.ts';
import { MIB } from '../../src/shared/byte-size.ts';
import { createTestGuest, type TestGuest } from '../support/guest/create-test-guest.ts';
import { readDiskIndependently } from '../support/guest/disks.ts';
import { createLoopDevice, type LoopDevice } from '../support/guest/loop-device.ts';
import { runVirsh } from '../support/guest/virsh.ts';
import { findRemains } from '../support/service/capture-remains.ts';
import { waitForStep } from '../support/service/moments.ts';
import { damageLargestPack } from '../support/service/damage-pack.ts';
import {
  askForRollback,
  askForSnapshot,
  exportSnapshot,
  fail,
  listSnapshots,
  readPowerState,
  rollBack,
  takeSnapshot,
  waitForVm,
} from '../support/service/operations.ts';
import { startTestService, type TestService } from '../support/service/start-service.ts';

const LINE_TIMEOUT_MS = 180_000;
const TARGETS = ['vda', 'vdb', 'vdc'] as const;
const SIZES_MIB = { vda: 41, vdb: 128, vdc: 24 } as const;
type Hashes = Record<(typeof TARGETS)[number], string>;

let service: TestService;
let guest: TestGuest;
let device: LoopDevice;

before(async () => {
  service = await startTestService();
  guest = await createTestGuest({
    name: 'disks',
    memoryMiB: 128,
    start: false,
    disks: [
      // An odd size: the last block of its tree is short.
      { target: 'vda', format: 'qcow2', sizeMiB: SIZES_MIB.vda, backing: true, content: 'random' },
      { target: 'vdb', format: 'raw', sizeMiB: SIZES_MIB.vdb, content: 'random', filledMiB: 96 },
    ],
  });
  device = await createLoopDevice(path.join(guest.folder, 'device.img'), SIZES_MIB.vdc);
  const attach = ['attach-disk', guest.name, device.path, 'vdc', '--sourcetype', 'block'];
  await runVirsh([...attach, '--driver', 'qemu', '--subdriver', 'raw', '--config']);
  await writeOffline('vdc', 'write -P 0x5a 3M 2M');
  await waitForVm(service, guest.id, 'off');
});
after(async () => {
  await guest?.destroy();
  await device?.detach();
  await service?.destroy();
});

const pathOf = (target: string): string =>
  target === 'vdc' ? device.path : guest.diskPath(target);
const formatOf = (target: string): string => (target === 'vda' ? 'qcow2' : 'raw');

async function writeOffline(target: string, command: string): Promise<void> {
  await runCommand('qemu-io', ['-f', formatOf(target), '-c', command, pathOf(target)]);
}

/** Through the guest's own device; the operating system in it never looks at these disks. */
async function writeOnline(target: string, command: string): Promise<void> {
  const index = TARGETS.findIndex((each) => each === target);
  const id = `/machine/peripheral/virtio-disk${index}/virtio-backend`;
  const answer = await runVirsh([
    'qemu-monitor-command',
    guest.name,
    '--hmp',
    `qemu-io -d ${id} "${command}"`,
  ]);
  assert.doesNotMatch(answer, /error|fail/i);
}

async function writeEverywhere(
  write: (target: string, command: string) => Promise<void>,
  pattern: string,
): Promise<void> {
  await write('vda', `write -P ${pattern} 1M 300k`);
  await write('vda', `write -P ${pattern} 42983424 8k`);
  await write('vda', 'write -z 12M 1M');
  await write('vdb', `write -P ${pattern} 70000000 123k`);
  await write('vdc', `write -P ${pattern} 8M 1000k`);
}

async function hashDisks(): Promise<Hashes> {
  return {
    vda: await readDiskIndependently(guest.diskPath('vda')),
    vdb: await readDiskIndependently(guest.diskPath('vdb')),
    vdc: await readDiskIndependently(device.path),
  };
}

async function start(): Promise<void> {
  const since = guest.nextLine;
  await runVirsh(['start', guest.name]);
  await guest.waitForLine('guest ready', { timeoutMs: LINE_TIMEOUT_MS, since });
}

async function hashExport(files: readonly string[], format: 'raw' | 'qcow2'): Promise<Hashes> {
  const hashes: Partial<Hashes> = {};
  for (const target of TARGETS) {
    const file = files.find((name) => path.basename(name) === `${target}.${format}`);
    assert.ok(file, `no ${target}.${format} in ${files.join(', ')}`);
    if (format === 'qcow2') await runCommand('qemu-img', ['check', '-f', 'qcow2', file]);
    else assert.equal((await stat(file)).size, SIZES_MIB[target] * MIB);
    assert.equal((await stat(file)).mode & 0o077, 0, `${file} can be read by others`);
    hashes[target] = await readDiskIndependently(file);
  }
  const { vda = '', vdb = '', vdc = '' } = hashes;
  return { vda, vdb, vdc };
}

describe('disks of qcow2 above a base, raw and block device', () => {
  let running: { snapshot: Snapshot; hashes: Hashes };
  let off: { snapshot: Snapshot; hashes: Hashes };

  test('a start of the VM wins over a capture of the VM that is off', async () => {
    const { id } = await askForSnapshot(service, guest);
    await waitForStep(service, id, 'freeze');
    const worker = await service.workerPid();
    // Stopped in the middle of it, so that the start surely comes before the end.
    process.kill(worker, 'SIGSTOP');
    try {
      await runVirsh(['start', guest.name]);
    } finally {
      process.kill(worker, 'SIGCONT');
    }
    const failure = await fail(service, id);
    await guest.waitForLine('guest ready', { timeoutMs: LINE_TIMEOUT_MS });
    assert.equal(failure.code, 'guest_changed');
    assert.equal(await readPowerState(guest.name), 'running');
    assert.deepEqual(await findRemains(service, guest), []);
    const [row] = await listSnapshots(service, guest.id);
    assert.equal(row?.state, 'failed');
    assert.equal(row.failure?.code, 'guest_changed');
  });

  test('invariant 3: a running VM is captured byte for byte', async () => {
    await waitForVm(service, guest.id, 'running');
    await writeEverywhere(writeOnline, '0x11');
    const snapshot = await takeSnapshot(service, guest, { kind: 'disk', quiesce: 'never' });
    assert.equal(snapshot.level, 'crash');
    await runVirsh(['destroy', guest.name]);
    running = { snapshot, hashes: await hashDisks() };
    const files = await exportSnapshot(service, snapshot, { format: 'raw' });
    assert.deepEqual(await hashExport(files, 'raw'), running.hashes);
    assert.ok(files.some((file) => path.basename(file) === 'domain.xml' && existsSync(file)));
  });

  test('invariant 3: so is a VM that is off', async () => {
    await writeEverywhere(writeOffline, '0x22');
    await waitForVm(service, guest.id, 'off');
    const snapshot = await takeSnapshot(service, guest);
    assert.equal(snapshot.level, 'offline');
    off = { snapshot, hashes: await hashDisks() };
    assert.notDeepEqual(off.hashes, running.hashes);
    const files = await exportSnapshot(service, snapshot, { format: 'qcow2' });
    assert.deepEqual(await hashExport(files, 'qcow2'), off.hashes);
  });

  test('rolled back in place, every disk is what it was', async () => {
    await writeEverywhere(writeOffline, '0x33');
    for (const { snapshot, hashes } of [running, off]) {
      await rollBack(service, snapshot, { start: false, safetySnapshot: false });
      assert.equal(await readPowerState(guest.name), 'shut off');
      assert.deepEqual(await hashDisks(), hashes);
    }
    assert.deepEqual(await findRemains(service, guest), []);
  });

  test('a paused VM is captured with its memory and stays paused; libvirt reads the export', async () => {
    await start();
    await runVirsh(['suspend', guest.name]);
    await waitForVm(service, guest.id, 'paused');
    const snapshot = await takeSnapshot(service, guest);
    assert.equal(await readPowerState(guest.name), 'paused');
    assert.equal(snapshot.level, 'memory');
    const files = await exportSnapshot(service, snapshot, { format: 'raw', includeMemory: true });
    const image = files.find((file) => path.basename(file) === 'memory.save');
    assert.ok(image);
    const xml = await runVirsh(['save-image-dumpxml', image]);
    assert.ok(xml.includes(`<uuid>${guest.id}</uuid>`), xml);

    await runVirsh(['resume', guest.name]);
    await rollBack(service, snapshot, { safetySnapshot: false });
    assert.equal(await readPowerState(guest.name), 'paused');
    assert.deepEqual(await findRemains(service, guest), []);
  });

  test('damage in what a device is to hold is found before the VM is touched', async () => {
    await runVirsh(['resume', guest.name]);
    await waitForVm(service, guest.id, 'running');
    const content = path.join(guest.folder, 'content.bin');
    await writeFile(content, randomBytes(2 * MIB));
    await chmod(content, 0o644);
    await writeOnline('vdc', `write -s ${content} 8M 2M`);
    const since = new Date();
    const skipDisks = ['vda', 'vdb'];
    const snapshot = await takeSnapshot(service, guest, { kind: 'disk', skipDisks });
    await damageLargestPack(service.repositoryFolder, since);
    // What was read before may still be in memory.
    await service.stop();
    await service.start();
    await waitForVm(service, guest.id, 'running');
    const domainId = await runVirsh(['domid', guest.name]);
    const { id } = await askForRollback(service, snapshot);
    assert.equal((await fail(service, id)).code, 'snapshot_damaged');
    assert.equal(await runVirsh(['domid', guest.name]), domainId);
    assert.equal(await readPowerState(guest.name), 'running');
    assert.deepEqual(await findRemains(service, guest), []);
  });
});
