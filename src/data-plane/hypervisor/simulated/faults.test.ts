import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { MIB } from '../../../shared/byte-size.ts';
import { systemClock } from '../../../shared/clock.ts';
import type { CaptureRequest } from '../driver.ts';
import { collectMemory, hasCode, readCaptured } from '../conformance-harness.test-suite.ts';
import type { Fault } from './faults.ts';
import { createSimulatedDriver, type SimulatedDriver } from './simulated-driver.ts';

async function createHost(t: TestContext) {
  const root = await mkdtemp(path.join(tmpdir(), 'kmd-sim-'));
  const driver = createSimulatedDriver({ folder: root, clock: systemClock, seed: 3 });
  t.after(async () => {
    await driver.close();
    await rm(root, { recursive: true, force: true });
  });
  const vmId = driver.simulation.addVm({
    name: '在庫DB',
    disks: [{ sizeBytes: 2 * MIB }, { sizeBytes: 3 * MIB, format: 'raw' }],
  });
  driver.simulation.advance(500);
  return { root, driver, simulation: driver.simulation, vmId };
}

const requestFor = (
  root: string,
  vmId: string,
  options: Partial<CaptureRequest> = {},
): CaptureRequest => ({
  vmId,
  captureId: randomUUID(),
  kind: 'full',
  disks: ['vda', 'vdb'],
  quiesce: 'prefer',
  memoryMode: 'background',
  memorySink: collectMemory(),
  scratchFolder: path.join(root, 'scratch'),
  parentCheckpoint: null,
  freezeDeadlineMs: 50,
  ...options,
});

/** Invariants 1 and 2, from what happened to the guest. */
function assertUnharmed({ simulation }: SimulatedDriver, vmId: string): void {
  const count = (kind: string): number =>
    simulation.events(vmId).filter((event) => event.kind === kind).length;
  assert.equal(count('paused'), count('resumed'));
  assert.equal(count('frozen'), count('thawed'));
  assert.equal(count('io_error'), 0);
  const before = simulation.tick(vmId);
  simulation.advance(100);
  assert.equal(simulation.tick(vmId), before + 10, 'the guest works on');
}

test('memory and disks of a working guest are of one instant, and it resumes from them', async (t) => {
  const { root, driver, simulation, vmId } = await createHost(t);
  const memorySink = collectMemory();
  const session = await driver.beginCapture(requestFor(root, vmId, { memorySink }));
  simulation.advance(1000);
  const ticks: number[] = [];
  for (const disk of session.disks) {
    ticks.push(await simulation.checkContent(disk.target, await readCaptured(disk)));
  }
  await session.memoryDone;
  await session.end({ keepCheckpoint: false });
  assert.deepEqual(ticks, [50, 50]);
  assertUnharmed(driver, vmId);
  await driver.stopVm(vmId);
  const { memoryXml } = session.configuration;
  assert.ok(memoryXml);
  const resume = { vmId, memoryXml, paused: true, linksDown: false };
  await driver.resumeFromMemory(resume, async (write) => {
    for (const piece of memorySink.pieces) await write(piece);
  });
  assert.equal(
    await simulation.checkContent('memory', Buffer.from(simulation.read(vmId, 'memory'))),
    50,
  );
  await assert.rejects(simulation.checkGuest(vmId), /different|ticks/, 'the disks are newer');
});

const phases = ['before_pause', 'in_pause', 'after_pause'] as const;
for (const phase of phases) {
  for (const kind of ['full', 'disk'] as const) {
    test(`a ${kind} capture that fails ${phase} leaves the guest working (invariants 1, 2)`, async (t) => {
      const { root, driver, simulation, vmId } = await createHost(t);
      simulation.faults.arm({ kind: 'capture_fails', phase });
      const request = requestFor(root, vmId, { kind });
      await assert.rejects(driver.beginCapture(request), hasCode('hypervisor_failed'));
      assertUnharmed(driver, vmId);
      const next = await driver.beginCapture(requestFor(root, vmId, { kind }));
      await next.end({ keepCheckpoint: false });
      assertUnharmed(driver, vmId);
    });
  }
}

test('a hang inside the pause ends with the freeze deadline (invariant 1)', async (t) => {
  const { root, driver, simulation, vmId } = await createHost(t);
  simulation.faults.arm({ kind: 'capture_hangs', phase: 'in_pause' });
  await assert.rejects(driver.beginCapture(requestFor(root, vmId)), hasCode('timed_out'));
  assertUnharmed(driver, vmId);
});

test('a hanging agent costs the deadline and the level, not the guest', async (t) => {
  const { root, driver, simulation, vmId } = await createHost(t);
  simulation.setAgent(vmId, 'hanging');
  const session = await driver.beginCapture(requestFor(root, vmId, { kind: 'disk' }));
  assert.equal(session.level, 'crash');
  await session.end({ keepCheckpoint: false });
  const strict = requestFor(root, vmId, { kind: 'disk', quiesce: 'require' });
  await assert.rejects(driver.beginCapture(strict), hasCode('agent_unavailable'));
  assertUnharmed(driver, vmId);
});

const whileReading: readonly Fault[] = [
  { kind: 'disk_read_fails', target: 'vda', offset: 70_000 },
  { kind: 'nbd_disconnects', target: 'vda', afterBytes: 1 },
];
for (const fault of whileReading) {
  test(`${fault.kind} reaches the reader and not the guest (invariant 2)`, async (t) => {
    const { root, driver, simulation, vmId } = await createHost(t);
    simulation.faults.arm(fault);
    const session = await driver.beginCapture(requestFor(root, vmId));
    const [disk] = session.disks;
    assert.ok(disk);
    await assert.rejects(readCaptured(disk));
    await session.end({ keepCheckpoint: false });
    assertUnharmed(driver, vmId);
  });
}

test('a broken memory stream is told to the sink and to the session', async (t) => {
  const { root, driver, simulation, vmId } = await createHost(t);
  simulation.faults.arm({ kind: 'stream_breaks', afterBytes: 100_000 });
  const memorySink = collectMemory();
  const session = await driver.beginCapture(requestFor(root, vmId, { memorySink }));
  await assert.rejects(session.memoryDone, hasCode('hypervisor_failed'));
  assert.equal(memorySink.outcome, 'failed');
  await session.end({ keepCheckpoint: false });
  assertUnharmed(driver, vmId);
});

test('a full scratch is an I/O error of the guest, on record for tests to find', async (t) => {
  const { root, driver, simulation, vmId } = await createHost(t);
  const session = await driver.beginCapture(requestFor(root, vmId));
  simulation.faults.arm({ kind: 'scratch_full' });
  simulation.advance(10);
  assert.ok(simulation.events(vmId).some((event) => event.kind === 'io_error'));
  simulation.faults.clear();
  await session.end({ keepCheckpoint: false });
});

test('a process killed inside the pause leaves a pause that another one ends (invariant 1)', async (t) => {
  const { root, driver, simulation, vmId } = await createHost(t);
  simulation.faults.arm({ kind: 'capture_kills_process', phase: 'in_pause' });
  const request = requestFor(root, vmId, { memorySink: null });
  const child = spawn(
    process.execPath,
    [path.join(import.meta.dirname, 'capture-child.test-suite.ts')],
    {
      env: { ...process.env, HOST_FOLDER: root, CAPTURE_REQUEST: JSON.stringify(request) },
      stdio: 'ignore',
    },
  );
  const [, signal] = await once(child, 'exit');
  assert.equal(signal, 'SIGKILL');
  assert.equal((await driver.describeVm(vmId)).state, 'paused');
  await driver.reconcileCapture({ vmId, captureId: request.captureId, wasRunning: true });
  assertUnharmed(driver, vmId);
});

test('a fleet has its own names, Japanese ones among them, and can be listed', async (t) => {
  const { driver, simulation } = await createHost(t);
  const fleet = simulation.seedFleet(300);
  assert.equal(new Set(fleet.map(({ name }) => name)).size, 300);
  assert.ok(fleet.some(({ name }) => /[^\x20-\x7e]/.test(name)));
  assert.equal((await driver.listVms()).length, 301);
});
