import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Snapshot } from '../../src/contract/snapshots.ts';
import { OperationError } from '../../src/shared/errors.ts';
import { createTestGuest, type TestGuest } from '../support/guest/create-test-guest.ts';
import { removeDomain } from '../support/guest/leftovers.ts';
import { followSerialLog, type SerialLog } from '../support/guest/serial-log.ts';
import { runVirsh } from '../support/guest/virsh.ts';
import {
  askForNewVm,
  fail,
  readPowerState,
  succeed,
  takeSnapshot,
  waitForVm,
  type NewVmBody,
} from '../support/service/operations.ts';
import { startTestService, type TestService } from '../support/service/start-service.ts';
import { waitUntil } from '../support/service/wait-until.ts';

const LINE_TIMEOUT_MS = 180_000;
const TICK = /^tick (\d+)$/;
const MAC = '52:54:00:0a:0b:0c';

interface Captured {
  readonly snapshot: Snapshot;
  /** Ticks between which the instant lies. */
  readonly from: number;
  readonly to: number;
}

let service: TestService;
let guest: TestGuest;
let withMemory: Captured;
const copies: string[] = [];
const logs: SerialLog[] = [];

before(async () => {
  service = await startTestService();
  guest = await createTestGuest({
    name: 'clone',
    mode: 'counter',
    memoryMiB: 160,
    disks: [{ target: 'vda', format: 'qcow2', sizeMiB: 48, backing: true }],
    start: false,
  });
  const device = path.join(guest.folder, 'interface.xml');
  await writeFile(
    device,
    `<interface type='user'><mac address='${MAC}'/><model type='virtio'/></interface>`,
  );
  await runVirsh(['attach-device', guest.name, device, '--config']);
  await runVirsh(['start', guest.name]);
  await waitForVm(service, guest.id, 'running');
  withMemory = await capture('full');
});
after(async () => {
  for (const log of logs) await log.close();
  for (const name of copies) await removeDomain(name);
  await guest?.destroy();
  await service?.destroy();
});

async function nextTick(skip: number): Promise<number> {
  const line = await guest.waitForLine(TICK, {
    timeoutMs: LINE_TIMEOUT_MS,
    since: guest.nextLine + skip,
  });
  return Number(TICK.exec(line.text)?.[1]);
}

async function capture(kind: 'full' | 'disk'): Promise<Captured> {
  const from = await nextTick(3);
  const snapshot = await takeSnapshot(service, guest, { kind });
  return { snapshot, from, to: await nextTick(0) };
}

interface Copy {
  readonly id: string;
  readonly name: string;
  /** Its own serial port: the copy gets another file than the original. */
  readonly log: SerialLog;
}

async function makeCopy(
  snapshot: Snapshot,
  body: Omit<NewVmBody, 'name' | 'imageFolder'>,
): Promise<Copy> {
  const name = `${guest.name}-copy${copies.length + 1}`;
  copies.push(name);
  const wish = { name, imageFolder: guest.folder, ...body };
  const { request } = await succeed(service, (await askForNewVm(service, snapshot, wish)).id);
  const serialPath = path.join(guest.folder, `serial-${name}.log`);
  await waitUntil(
    'The serial port of the copy',
    async () => await Promise.resolve(existsSync(serialPath) ? true : undefined),
  );
  const log = await followSerialLog(serialPath);
  logs.push(log);
  return { id: request.result?.vmId ?? '', name, log };
}

const macOf = (xml: string): string | undefined => /<mac address='([^']+)'/.exec(xml)?.[1];

async function assertOfItsOwn(copy: Copy): Promise<void> {
  const xml = await runVirsh(['dumpxml', '--inactive', copy.name]);
  assert.notEqual(copy.id, guest.id);
  assert.ok(xml.includes(`<uuid>${copy.id}</uuid>`), xml);
  assert.ok(xml.includes(`<name>${copy.name}</name>`), xml);
  assert.match(macOf(xml) ?? '', /^52:54:00:/);
  assert.notEqual(macOf(xml), MAC);
  assert.match(xml, /<link state='down'\/>/);
  assert.ok(!xml.includes(guest.diskPath('vda')), xml);
  assert.equal((await waitForVm(service, copy.id, 'running')).name, copy.name);
}

async function assertBothRun(copy: Copy): Promise<void> {
  await nextTick(1);
  await copy.log.waitForLine(TICK, { timeoutMs: LINE_TIMEOUT_MS, since: copy.log.next + 1 });
  assert.equal(await readPowerState(guest.name), 'running');
  assert.equal(await readPowerState(copy.name), 'running');
}

describe('a new VM from a snapshot of a running one', () => {
  test('goes on from the captured memory beside the original, its cables pulled', async () => {
    const copy = await makeCopy(withMemory.snapshot, { resumeMemory: true });
    const first = await copy.log.waitForLine(TICK, { timeoutMs: LINE_TIMEOUT_MS });
    const tick = Number(TICK.exec(first.text)?.[1]);
    assert.ok(
      tick >= withMemory.from && tick <= withMemory.to,
      `went on at ${tick}, captured between ${withMemory.from} and ${withMemory.to}`,
    );
    await assertOfItsOwn(copy);
    await assertBothRun(copy);
    assert.match(await runVirsh(['domif-getlink', copy.name, MAC]), /down/);
    await removeDomain(copy.name);
  });

  test('boots from a snapshot of the disk alone beside the original', async () => {
    const { snapshot, from, to } = await capture('disk');
    const copy = await makeCopy(snapshot, { start: true });
    const start = await copy.log.waitForLine(/^counter starts after \d+$/, {
      timeoutMs: LINE_TIMEOUT_MS,
    });
    const count = Number(start.text.split(' ').at(-1));
    assert.ok(count >= from && count <= to, `${start.text}: not from ${from} to ${to}`);
    await assertOfItsOwn(copy);
    await assertBothRun(copy);
    await removeDomain(copy.name);
  });

  test('is not made under a name that is taken', async () => {
    const there = readdirSync(guest.folder);
    await assert.rejects(
      askForNewVm(service, withMemory.snapshot, { name: guest.name, imageFolder: guest.folder }),
      (error: unknown) => error instanceof OperationError && error.code === 'name_taken',
    );
    assert.deepEqual(readdirSync(guest.folder), there);
  });

  test('is not made over images that are there, and leaves nothing behind', async () => {
    const name = `${guest.name}-copy9`;
    copies.push(name);
    const taken = path.join(guest.folder, `${name}-vda.qcow2`);
    await writeFile(taken, 'somebody else’s');
    const there = readdirSync(guest.folder);
    const { id } = await askForNewVm(service, withMemory.snapshot, {
      name,
      imageFolder: guest.folder,
    });
    assert.equal((await fail(service, id)).code, 'name_taken');
    assert.deepEqual(readdirSync(guest.folder), there);
    const names = (await runVirsh(['list', '--all', '--name'])).split('\n');
    assert.ok(!names.includes(name));
  });
});
