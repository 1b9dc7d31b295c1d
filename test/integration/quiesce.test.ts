import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { runCommand } from '../../scripts/setup/run-command.ts';
import type { VmDescription } from '../../src/shared/inventory.ts';
import { createTestGuest, type TestGuest } from '../support/guest/create-test-guest.ts';
import { askAgent, runVirsh } from '../support/guest/virsh.ts';
import { findRemains } from '../support/service/capture-remains.ts';
import {
  exportSnapshot,
  listSnapshots,
  readPowerState,
  refusalOf,
  takeSnapshot,
  waitForVm,
} from '../support/service/operations.ts';
import { startTestService, type TestService } from '../support/service/start-service.ts';
import { waitUntil } from '../support/service/wait-until.ts';

const LINE_TIMEOUT_MS = 180_000;
const FROZEN_MAX_MS = 10_000;

let service: TestService;
let guest: TestGuest;

before(async () => {
  service = await startTestService();
  guest = await createTestGuest({
    name: 'quiesce',
    mode: 'counter',
    memoryMiB: 160,
    agent: true,
    disks: [{ target: 'vda', format: 'qcow2', sizeMiB: 48 }],
  });
  await waitForAgent('connected');
});
after(async () => {
  await guest?.destroy();
  await service?.destroy();
});

async function waitForAgent(state: VmDescription['agent']): Promise<void> {
  await waitUntil(`The agent as ${state} in the inventory`, async () => {
    const vm = await waitForVm(service, guest.id, 'running');
    return vm.description.agent === state ? true : undefined;
  });
}

async function assertTicks(): Promise<void> {
  const since = guest.nextLine + 1;
  await guest.waitForLine(/^tick/, { timeoutMs: LINE_TIMEOUT_MS, since });
  assert.equal(await readPowerState(guest.name), 'running');
}

/** Runs a shell command in the guest, whose end nobody waits for. */
async function runInGuest(command: string): Promise<void> {
  const request = { path: '/bin/sh', arg: ['-c', command] };
  await askAgent(guest.name, 'guest-exec', { arguments: request });
}

/** Whether the journal of the file system in the snapshot has to be replayed, as e2fsprogs sees it. */
async function needsRecovery(files: readonly string[]): Promise<boolean> {
  const image = files.find((file) => path.basename(file) === 'vda.raw');
  assert.ok(image);
  return (await runCommand('dumpe2fs', ['-h', image])).includes('needs_recovery');
}

async function assertRequireIsRefused(): Promise<void> {
  const there = (await listSnapshots(service, guest.id)).filter(({ state }) => state !== 'failed');
  const refusal = await refusalOf(service, guest, { kind: 'disk', quiesce: 'require' });
  assert.equal(refusal.code, 'agent_unavailable', refusal.message);
  const left = (await listSnapshots(service, guest.id)).filter(({ state }) => state !== 'failed');
  assert.deepEqual(left, there);
  assert.deepEqual(await findRemains(service, guest), []);
  await assertTicks();
}

async function assertPreferGoesOn(): Promise<void> {
  const snapshot = await takeSnapshot(service, guest, { kind: 'disk', quiesce: 'prefer' });
  assert.equal(snapshot.level, 'crash');
  assert.match(snapshot.levelReason ?? '', /agent/);
  await assertTicks();
}

describe('file systems are frozen around the instant by the guest’s own agent', () => {
  test('invariant 1: for a short measured time, and thawed after it', async (t) => {
    await assertTicks();
    const snapshot = await takeSnapshot(service, guest, { kind: 'disk', quiesce: 'require' });
    assert.equal(snapshot.level, 'application');
    t.diagnostic(`frozen for ${snapshot.pauseMs} ms: ${JSON.stringify(snapshot.pausePhases)}`);
    assert.ok(snapshot.pauseMs !== null && snapshot.pauseMs > 0);
    assert.ok(snapshot.pauseMs < FROZEN_MAX_MS, `frozen for ${snapshot.pauseMs} ms`);
    assert.equal(await askAgent(guest.name, 'guest-fsfreeze-status'), 'thawed');
    await assertTicks();
    const frozen = await exportSnapshot(service, snapshot, { format: 'raw' });
    assert.equal(await needsRecovery(frozen), false);
    const other = await takeSnapshot(service, guest, { kind: 'disk', quiesce: 'never' });
    assert.equal(other.level, 'crash');
    assert.equal(
      await needsRecovery(await exportSnapshot(service, other, { format: 'raw' })),
      true,
    );
  });

  test('an agent that hangs: «require» is refused with nothing left, «prefer» goes on', async () => {
    await runInGuest('kill -STOP $(pidof qemu-ga)');
    await assertRequireIsRefused();
    await assertPreferGoesOn();
  });

  test('an agent that is gone: likewise', async () => {
    const since = guest.nextLine;
    await runVirsh(['reset', guest.name]);
    await guest.waitForLine('agent started', { timeoutMs: LINE_TIMEOUT_MS, since });
    await guest.waitForLine(/^tick/, { timeoutMs: LINE_TIMEOUT_MS, since });
    await waitForAgent('connected');
    await runInGuest('kill -KILL $(pidof qemu-ga)');
    await waitForAgent('disconnected');
    await assertRequireIsRefused();
    await assertPreferGoesOn();
  });
});
