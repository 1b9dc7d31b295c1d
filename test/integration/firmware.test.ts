import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Snapshot } from '../../src/contract/snapshots.ts';
import { createTestGuest, type TestGuest } from '../support/guest/create-test-guest.ts';
import { runVirsh } from '../support/guest/virsh.ts';
import { findRemains } from '../support/service/capture-remains.ts';
import {
  readPowerState,
  rollBack,
  takeSnapshot,
  waitForVm,
} from '../support/service/operations.ts';
import { startTestService, type TestService } from '../support/service/start-service.ts';

const BOOT_TIMEOUT_MS = 240_000;
const TICK = /^tick (\d+)$/;

let service: TestService;
let guest: TestGuest;

before(async () => {
  service = await startTestService();
  guest = await createTestGuest({
    name: 'firmware',
    mode: 'counter',
    uefi: true,
    tpm: true,
    disks: [{ target: 'vda', format: 'qcow2', sizeMiB: 48 }],
  });
  await waitForVm(service, guest.id, 'running');
});
after(async () => {
  await guest?.destroy();
  await service?.destroy();
});

interface FirmwareState {
  readonly nvram: string;
  readonly tpm: Readonly<Record<string, string>>;
}

const hash = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex');

/** The files as they lie on the host, by digest. */
async function readFirmwareState(): Promise<FirmwareState> {
  const folder = path.join('/var/lib/libvirt/swtpm', guest.id, 'tpm2');
  const tpm: Record<string, string> = {};
  for (const name of (await readdir(folder)).toSorted()) {
    if (name.startsWith('.')) continue;
    tpm[name] = hash(await readFile(path.join(folder, name)));
  }
  return { nvram: hash(await readFile(path.join(guest.folder, 'nvram.fd'))), tpm };
}

async function nextTick(skip = 0): Promise<number> {
  const since = guest.nextLine + skip;
  const line = await guest.waitForLine(TICK, { timeoutMs: BOOT_TIMEOUT_MS, since });
  return Number(TICK.exec(line.text)?.[1]);
}

describe('a VM with UEFI and a TPM', () => {
  let snapshot: Snapshot;
  let captured: FirmwareState;
  let ticks: { from: number; to: number };

  test('is captured with its NVRAM and its TPM’s state', async () => {
    const from = await nextTick(1);
    snapshot = await takeSnapshot(service, guest);
    ticks = { from, to: await nextTick() };
    assert.equal(snapshot.level, 'memory');
    captured = await readFirmwareState();
    assert.ok(Object.keys(captured.tpm).length > 0, 'the TPM has no state');
  });

  test('gets both back, byte for byte', async () => {
    const since = guest.nextLine;
    await runVirsh(['destroy', guest.name]);
    await runVirsh(['start', guest.name]);
    await guest.waitForLine('firmware uefi boots=2', { timeoutMs: BOOT_TIMEOUT_MS, since });
    await guest.waitForLine(TICK, { timeoutMs: BOOT_TIMEOUT_MS, since });
    const changed = await readFirmwareState();
    assert.notEqual(changed.nvram, captured.nvram);
    assert.notDeepEqual(changed.tpm, captured.tpm);

    await rollBack(service, snapshot, { start: false });
    assert.equal(await readPowerState(guest.name), 'shut off');
    assert.deepEqual(await readFirmwareState(), captured);
    assert.deepEqual(await findRemains(service, guest), []);
  });

  test('goes on from memory with them, and its firmware boots anew from them', async () => {
    const since = guest.nextLine;
    await rollBack(service, snapshot, { safetySnapshot: false });
    const first = await guest.waitForLine(TICK, { timeoutMs: BOOT_TIMEOUT_MS, since });
    const tick = Number(TICK.exec(first.text)?.[1]);
    assert.ok(
      tick >= ticks.from && tick <= ticks.to + 1,
      `went on at ${tick}, captured between ${JSON.stringify(ticks)}`,
    );
    assert.equal((await readFirmwareState()).nvram, captured.nvram);
    const reset = guest.nextLine;
    await runVirsh(['reset', guest.name]);
    const options = { timeoutMs: BOOT_TIMEOUT_MS, since: reset };
    await guest.waitForLine('firmware uefi boots=2', options);
    await guest.waitForLine('tpm version=2', options);
  });
});
