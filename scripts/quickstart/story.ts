import type { Job } from '../../src/contract/jobs.ts';
import type { Snapshot } from '../../src/contract/snapshots.ts';
import type { Client } from '../../src/client/client.ts';
import { formatBytes, formatDuration } from '../../src/shared/byte-size.ts';
import {
  createTestGuest,
  removeTestGuest,
  type TestGuest,
} from '../../test/support/guest/create-test-guest.ts';
import { SetupError } from '../setup/run-command.ts';
import { poll, type Service } from './service.ts';

export const DEMO_VM = 'komadori-demo';
const TICK = /tick (\d+)/;
const WAIT_MS = 180_000;

export const say = (text: string): void => void process.stdout.write(`${text}\n`);

/** The main job, shown on a real VM: every figure printed here was measured just now. */
export async function showMainJob(service: Service): Promise<void> {
  const { client } = service;
  say(
    `\n1. A small real VM, ${DEMO_VM}: 256 MiB of memory, an ext4 disk, counting five times a second.`,
  );
  const guest = await bootDemo();
  await guest.waitForLine(TICK, { timeoutMs: WAIT_MS });
  await waitForVm(client, guest.id);
  await guest.waitForLine(TICK, { timeoutMs: WAIT_MS, since: guest.nextLine + 10 });

  say('\n2. A live snapshot of disk, memory and configuration, while the guest counts on.');
  const capture = await run(client, await createSnapshot(client, guest));
  const snapshot = await client.call('snapshotGet', { params: { id: capture.snapshotId } });
  printSnapshot(snapshot, capture.job);

  say('\n3. The guest goes on and writes to its disk.');
  const before = await guest.waitForLine(TICK, { timeoutMs: WAIT_MS, since: guest.nextLine + 15 });
  say(`   serial port of the guest: … ${tickOf(before.text)}`);

  say('\n4. Roll back. The state of now is kept as a safety snapshot first.');
  const mark = guest.nextLine;
  const rollback = await run(client, await rollBack(client, snapshot));
  await guest.waitForLine(TICK, { timeoutMs: WAIT_MS, since: guest.nextLine + 2 });
  printSteps(rollback.job);
  prove(guest, mark);
}

async function bootDemo(): Promise<TestGuest> {
  await removeTestGuest(DEMO_VM);
  return await createTestGuest({
    name: DEMO_VM,
    exactName: true,
    mode: 'counter',
    memoryMiB: 256,
    disks: [{ target: 'vda', format: 'qcow2', sizeMiB: 512 }],
  });
}

/** The worker hears of the new VM by libvirt's events. */
async function waitForVm(client: Client, vmId: string): Promise<void> {
  await poll(`The appearance of ${DEMO_VM} in the inventory`, 60_000, async () => {
    const page = await client.call('vmList', { query: { name: DEMO_VM } });
    return page.items.some((vm) => vm.id === vmId && vm.state === 'running') ? true : undefined;
  });
}

async function createSnapshot(client: Client, guest: TestGuest): Promise<string> {
  const request = await client.call('snapshotCreate', {
    body: { vm: guest.id, kind: 'full', description: 'Taken by the quickstart.' },
  });
  return request.id;
}

async function rollBack(client: Client, snapshot: Snapshot): Promise<string> {
  const request = await client.call('snapshotRestore', {
    params: { id: snapshot.id },
    body: { mode: 'rollback', confirmVmName: snapshot.vmName },
  });
  return request.id;
}

async function run(client: Client, requestId: string): Promise<{ snapshotId: string; job: Job }> {
  const { request, job } = await client.waitForRequest(requestId);
  if (request.state !== 'succeeded' || !job) {
    const { code, message } = request.failure ?? {
      code: request.state,
      message: 'no reason was given',
    };
    throw new SetupError(`The request did not succeed (${code}): ${message}`);
  }
  return { snapshotId: request.result?.snapshotId ?? '', job };
}

function printSnapshot(snapshot: Snapshot, job: Job): void {
  const phases = snapshot.pausePhases.map(
    ({ name, durationMs }) => `${name} ${formatDuration(durationMs)}`,
  );
  say(`   consistency   ${snapshot.level}: ${snapshot.levelReason ?? ''}`);
  say(`   guest paused  ${formatDuration(snapshot.pauseMs ?? 0)} (${phases.join(', ')})`);
  if (snapshot.sizes) {
    const { logicalBytes, readBytes, newBytes, storedBytes } = snapshot.sizes;
    say(
      `   bytes         ${formatBytes(logicalBytes)} of disk and memory; ${formatBytes(readBytes)} read, ${formatBytes(newBytes)} new, ${formatBytes(storedBytes)} stored`,
    );
  }
  printSteps(job);
}

function printSteps(job: Job): void {
  const steps = job.steps.map(({ name, startedAt, finishedAt }) => {
    if (startedAt === null || finishedAt === null) return `${name} -`;
    return `${name} ${formatDuration(Date.parse(finishedAt) - Date.parse(startedAt))}`;
  });
  say(`   steps         ${steps.join(' · ')}`);
}

const tickOf = (line: string): string => TICK.exec(line)?.[0] ?? line;

/** The counter tells the truth: it must go back to the captured moment, and must not start anew. */
function prove(guest: TestGuest, mark: number): void {
  const ticks = guest
    .serialLines(mark)
    .map((line) => Number(TICK.exec(line.text)?.[1]))
    .filter((tick) => !Number.isNaN(tick));
  const rewind = ticks.findIndex((tick, index) => tick <= (ticks[index - 1] ?? -1));
  const reached = ticks[rewind - 1];
  const resumedAt = ticks[rewind];
  say('\n5. The proof: the serial port of the guest itself.');
  if (reached === undefined || resumedAt === undefined || resumedAt <= 1) {
    throw new SetupError(
      'The guest did not go on at the captured moment; this is a bug, please report it.',
    );
  }
  say(`   … tick ${reached - 1}, tick ${reached} | tick ${resumedAt}, tick ${resumedAt + 1}, …`);
  say('                         ^ rolled back here');
  say('   It went on at the captured moment: memory, disk and CPU are those of the snapshot.');
}
