import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CaptureSession } from './driver.ts';
import {
  aborted,
  assertSameBytes,
  BLOCK,
  captureRequest,
  contentAfter,
  hasCode,
  readCaptured,
  readDirtyRanges,
  type ConformanceHarness,
  type DiskWrite,
  type TestVm,
} from './conformance-harness.test-suite.ts';

export const BEFORE: readonly DiskWrite[] = [
  { target: 'vda', offset: 0, lengthBytes: 4 * BLOCK, pattern: 0x11 },
  { target: 'vda', offset: 40 * BLOCK, lengthBytes: BLOCK + 4096, pattern: 0x12 },
  { target: 'vdb', offset: 0, lengthBytes: 2 * BLOCK, pattern: 0x21 },
  { target: 'vdb', offset: 50 * BLOCK, lengthBytes: BLOCK, pattern: 0x22 },
];
/** Overwrites, partly and wholly, and writes where nothing was. */
export const AFTER: readonly DiskWrite[] = [
  { target: 'vda', offset: BLOCK, lengthBytes: BLOCK, pattern: 0x31 },
  { target: 'vda', offset: 40 * BLOCK + 512, lengthBytes: 1024, pattern: 0x32 },
  { target: 'vda', offset: 20 * BLOCK, lengthBytes: BLOCK, pattern: 0x33 },
  { target: 'vdb', offset: 4096, lengthBytes: 4096, pattern: 0x41 },
  { target: 'vdb', offset: 30 * BLOCK, lengthBytes: BLOCK, pattern: 0x42 },
];

export async function assertCaptured(
  session: CaptureSession,
  vm: TestVm,
  ...writes: (readonly DiskWrite[])[]
): Promise<void> {
  assert.deepEqual(
    session.disks.map(({ target }) => target),
    vm.disks.map(({ target }) => target),
  );
  for (const [index, disk] of session.disks.entries()) {
    const expected = vm.disks[index];
    assert.ok(expected);
    assertSameBytes(await readCaptured(disk), contentAfter(expected, ...writes), disk.target);
  }
}

export function testCaptures(get: () => ConformanceHarness): void {
  testDiskCaptures(get);
  testOfflineCaptures(get);
  testAbandonedCaptures(get);
}

function testDiskCaptures(get: () => ConformanceHarness): void {
  test('a running VM gives its disks as they were, while the guest writes on (invariant 3)', async () => {
    const harness = get();
    const { driver } = harness;
    const vm = await harness.createVm({ state: 'running', writes: BEFORE });
    const request = captureRequest(harness, vm);
    const session = await driver.beginCapture(request);
    assert.equal(session.level, 'crash');
    assert.notEqual(session.levelReason, '');
    assert.equal(session.memoryMode, null);
    assert.equal(await harness.powerState(vm.vmId), 'running');
    await harness.write(vm, AFTER);
    await assertCaptured(session, vm, BEFORE);
    await session.checkStillValid();
    await session.memoryDone;
    assert.ok(session.configuration.liveXml?.includes(vm.name));
    assert.ok(session.configuration.persistentXml?.includes(vm.vmId));
    await session.end({ keepCheckpoint: false });
    await session.end({ keepCheckpoint: false });
    assert.deepEqual(await harness.captureLeftovers(vm, request.captureId), []);
    assert.equal(await harness.powerState(vm.vmId), 'running');
    await driver.stopVm(vm.vmId);
    for (const disk of vm.disks) {
      const now = await harness.readImage(disk);
      assertSameBytes(now, contentAfter(disk, BEFORE, AFTER), `${disk.target} of the guest`);
    }
  });

  test('one disk alone can be captured, an unknown one is refused', async () => {
    const harness = get();
    const vm = await harness.createVm({ state: 'running', writes: BEFORE });
    const unknown = captureRequest(harness, vm, { disks: ['vdz'] });
    await assert.rejects(harness.driver.beginCapture(unknown), hasCode('unsupported_disk'));
    assert.deepEqual(await harness.captureLeftovers(vm, unknown.captureId), []);
    const session = await harness.driver.beginCapture(
      captureRequest(harness, vm, { disks: ['vdb'] }),
    );
    await assertCaptured(session, { ...vm, disks: vm.disks.slice(1) }, BEFORE);
    await session.end({ keepCheckpoint: false });
  });

  test('all disks are of one instant (invariant 4)', async () => {
    const harness = get();
    const vm = await harness.createVm({ state: 'running', writes: BEFORE });
    const over = new AbortController();
    const writing = (async () => {
      for (let count = 1; count < 250 && !over.signal.aborted; count += 1) {
        for (const target of ['vda', 'vdb']) {
          await harness.write(vm, [{ target, offset: 0, lengthBytes: BLOCK, pattern: count }]);
        }
      }
    })();
    const session = await harness.driver.beginCapture(captureRequest(harness, vm));
    over.abort();
    await writing;
    const [first, second] = await Promise.all(session.disks.map(readCaptured));
    const order = [first?.[0], second?.[0]].map((byte) =>
      byte === 0x11 || byte === 0x21 ? 0 : byte,
    );
    // Each round writes vda first, so at any instant vdb is equal or one behind.
    const ahead = (order[0] ?? 0) - (order[1] ?? 0);
    assert.ok(ahead === 0 || ahead === 1, `vda holds ${order[0]}, vdb ${order[1]}`);
    await session.end({ keepCheckpoint: false });
  });

  test('an incremental capture flags everything that changed, or gives no map', async () => {
    const harness = get();
    const { driver } = harness;
    const vm = await harness.createVm({ state: 'running', writes: BEFORE });
    const parent = await driver.beginCapture(captureRequest(harness, vm));
    await parent.end({ keepCheckpoint: true });
    assert.ok(parent.checkpoint);
    assert.deepEqual(await harness.checkpoints(vm.vmId), [parent.checkpoint]);
    await harness.write(vm, AFTER);
    const session = await driver.beginCapture(
      captureRequest(harness, vm, { parentCheckpoint: parent.checkpoint }),
    );
    for (const disk of session.disks) {
      const ranges = await readDirtyRanges(disk);
      if (ranges === null) continue;
      for (const write of AFTER.filter(({ target }) => target === disk.target)) {
        const isCovered = ranges.some(
          ({ offset, lengthBytes }) =>
            offset <= write.offset && offset + lengthBytes >= write.offset + write.lengthBytes,
        );
        assert.ok(isCovered, `${disk.target}: the change at ${write.offset} is not flagged`);
      }
    }
    await assertCaptured(session, vm, BEFORE, AFTER);
    await session.end({ keepCheckpoint: true });
    await driver.dropCheckpoint(vm.vmId, parent.checkpoint);
    await driver.dropCheckpoint(vm.vmId, parent.checkpoint);
    assert.deepEqual(await harness.checkpoints(vm.vmId), [session.checkpoint]);
  });

  test('a parent checkpoint that is gone costs a full read, not the capture', async () => {
    const harness = get();
    const vm = await harness.createVm({ state: 'running', writes: BEFORE });
    const session = await harness.driver.beginCapture(
      captureRequest(harness, vm, { parentCheckpoint: 'komadori-never-made' }),
    );
    for (const disk of session.disks) assert.equal(disk.dirtyContext, null);
    await assertCaptured(session, vm, BEFORE);
    await session.end({ keepCheckpoint: false });
  });

  test('the policy decides what a missing guest agent means', async () => {
    const harness = get();
    const vm = await harness.createVm({ state: 'running', writes: BEFORE });
    const strict = captureRequest(harness, vm, { quiesce: 'require' });
    await assert.rejects(harness.driver.beginCapture(strict), hasCode('agent_unavailable'));
    assert.deepEqual(await harness.captureLeftovers(vm, strict.captureId), []);
    const session = await harness.driver.beginCapture(
      captureRequest(harness, vm, { quiesce: 'prefer' }),
    );
    assert.equal(session.level, 'crash');
    assert.match(session.levelReason, /agent/);
    await session.end({ keepCheckpoint: false });
  });

  test('a paused VM stays paused', async () => {
    const harness = get();
    const vm = await harness.createVm({ state: 'paused', writes: BEFORE });
    const session = await harness.driver.beginCapture(captureRequest(harness, vm));
    assert.equal(session.pauseMs, 0);
    await assertCaptured(session, vm, BEFORE);
    await session.end({ keepCheckpoint: false });
    assert.equal(await harness.powerState(vm.vmId), 'paused');
  });

  test('a second capture is refused and leaves the first alone', async () => {
    const harness = get();
    const vm = await harness.createVm({ state: 'running', writes: BEFORE });
    const session = await harness.driver.beginCapture(captureRequest(harness, vm));
    const second = captureRequest(harness, vm);
    await assert.rejects(harness.driver.beginCapture(second), hasCode('in_use'));
    await harness.write(vm, AFTER);
    await assertCaptured(session, vm, BEFORE);
    await session.end({ keepCheckpoint: false });
    assert.equal(await harness.powerState(vm.vmId), 'running');
  });

  test('the VM stopping makes a capture invalid, and ending it still works', async () => {
    const harness = get();
    const vm = await harness.createVm({ state: 'running', writes: BEFORE });
    const request = captureRequest(harness, vm);
    const session = await harness.driver.beginCapture(request);
    await harness.driver.stopVm(vm.vmId);
    await aborted(session.invalidated);
    assert.ok(hasCode('guest_changed')(session.invalidated.reason));
    await session.end({ keepCheckpoint: false });
    await harness.driver.startVm(vm.vmId, { paused: false });
    // libvirt cannot drop the checkpoint of a VM that is off.
    await harness.driver.dropCheckpoint(vm.vmId, session.checkpoint ?? '');
    assert.deepEqual(await harness.captureLeftovers(vm, request.captureId), []);
    const next = await harness.driver.beginCapture(captureRequest(harness, vm));
    await assertCaptured(next, vm, BEFORE);
    await next.end({ keepCheckpoint: false });
  });
}

function testOfflineCaptures(get: () => ConformanceHarness): void {
  test('a VM that is off gives its images', async () => {
    const harness = get();
    const vm = await harness.createVm({ state: 'off', writes: BEFORE });
    const request = captureRequest(harness, vm);
    const session = await harness.driver.beginCapture(request);
    assert.equal(session.level, 'offline');
    assert.equal(session.pauseMs, 0);
    assert.equal(session.configuration.liveXml, null);
    await assertCaptured(session, vm, BEFORE);
    await session.checkStillValid();
    await session.end({ keepCheckpoint: false });
    await session.end({ keepCheckpoint: false });
    assert.deepEqual(await harness.captureLeftovers(vm, request.captureId), []);
    assert.equal(await harness.powerState(vm.vmId), 'off');
  });

  test('a start of the VM wins over its offline capture', async () => {
    const harness = get();
    const vm = await harness.createVm({ state: 'off', writes: BEFORE });
    const session = await harness.driver.beginCapture(captureRequest(harness, vm));
    await harness.driver.startVm(vm.vmId, { paused: false });
    assert.equal(await harness.powerState(vm.vmId), 'running');
    await aborted(session.invalidated);
    assert.ok(hasCode('guest_changed')(session.invalidated.reason));
    await session.end({ keepCheckpoint: false });
    assert.equal(await harness.powerState(vm.vmId), 'running');
  });

  test('a write to an image during its offline capture is found out', async () => {
    const harness = get();
    const vm = await harness.createVm({ state: 'off', writes: BEFORE });
    const session = await harness.driver.beginCapture(captureRequest(harness, vm));
    await harness.write(vm, AFTER);
    await assert.rejects(session.checkStillValid(), hasCode('guest_changed'));
    await session.end({ keepCheckpoint: false });
  });
}

function testAbandonedCaptures(get: () => ConformanceHarness): void {
  for (const kind of ['running', 'off'] as const) {
    test(`a capture that was cancelled before it began leaves the ${kind} VM alone`, async () => {
      const harness = get();
      const vm = await harness.createVm({ state: kind, writes: BEFORE });
      const request = captureRequest(harness, vm);
      await assert.rejects(
        harness.driver.beginCapture(request, AbortSignal.abort()),
        hasCode('cancelled'),
      );
      assert.equal(await harness.powerState(vm.vmId), kind);
      assert.deepEqual(await harness.captureLeftovers(vm, request.captureId), []);
    });
  }

  test('an abort after the beginning does not touch the capture', async () => {
    const harness = get();
    const vm = await harness.createVm({ state: 'running', writes: BEFORE });
    const cancel = new AbortController();
    const session = await harness.driver.beginCapture(captureRequest(harness, vm), cancel.signal);
    cancel.abort();
    await assertCaptured(session, vm, BEFORE);
    await session.end({ keepCheckpoint: false });
    assert.equal(await harness.powerState(vm.vmId), 'running');
  });

  test('what an abandoned capture left is put right, twice (invariant 1)', async () => {
    const harness = get();
    const { driver } = harness;
    const vm = await harness.createVm({ state: 'running', writes: BEFORE });
    const request = captureRequest(harness, vm);
    await harness.otherDriver.beginCapture(request);
    const capture = { vmId: vm.vmId, captureId: request.captureId, wasRunning: true };
    await driver.reconcileCapture(capture);
    await driver.reconcileCapture(capture);
    assert.equal(await harness.powerState(vm.vmId), 'running');
    assert.deepEqual(await harness.checkpoints(vm.vmId), []);
    const next = await driver.beginCapture(captureRequest(harness, vm));
    await driver.reconcileCapture(capture);
    await assertCaptured(next, vm, BEFORE);
    await next.end({ keepCheckpoint: false });
  });
}
