import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor } from '../../shared/waiting.ts';
import { createStreamParser } from '../migration-stream/stream-parser.ts';
import type { CaptureSession } from './driver.ts';
import { AFTER, assertCaptured, BEFORE } from './conformance-capture.test-suite.ts';
import {
  captureRequest,
  collectMemory,
  type CollectedMemory,
  type ConformanceHarness,
  type TestVm,
} from './conformance-harness.test-suite.ts';

const STREAM_TIMEOUT_MS = 30_000;

function assertWholeStream({ pieces, outcome }: CollectedMemory): void {
  assert.equal(outcome, 'ended');
  const parser = createStreamParser<{ bytes: Uint8Array }>({
    takeBuffer: () => ({ bytes: new Uint8Array(1024 * 1024) }),
    onPages: () => undefined,
    onRemainder: () => undefined,
  });
  for (const piece of pieces) assert.equal(parser.push(piece), piece.length);
  const parsed = parser.finish();
  assert.ok(parsed.understood, parsed.understood ? '' : parsed.reason);
  assert.ok(parsed.blocks.some((block) => block.paged));
}

async function captureWhole(
  harness: ConformanceHarness,
  vm: TestVm,
): Promise<{ session: CaptureSession; memory: CollectedMemory; captureId: string }> {
  const memory = collectMemory();
  const request = captureRequest(harness, vm, { kind: 'full', memorySink: memory });
  const session = await harness.driver.beginCapture(request);
  return { session, memory, captureId: request.captureId };
}

const memoryOf = async (session: CaptureSession): Promise<void> =>
  await waitFor(session.memoryDone, { timeoutMs: STREAM_TIMEOUT_MS, what: 'The memory stream' });

export function testMemory(get: () => ConformanceHarness): void {
  test('memory and disks of a running VM, paused for a moment (invariants 1 and 4)', async () => {
    const harness = get();
    const vm = await harness.createVm({ state: 'running', writes: BEFORE });
    const { session, memory, captureId } = await captureWhole(harness, vm);
    assert.equal(await harness.powerState(vm.vmId), 'running');
    assert.equal(session.level, 'memory');
    assert.equal(session.vm.state, 'running', 'the VM is described as it was before the pause');
    assert.ok(session.memoryMode);
    assert.ok(session.pauseMs > 0, `paused for ${session.pauseMs} ms`);
    assert.ok(session.pausePhases.length > 0);
    assert.ok(session.configuration.memoryXml?.includes(vm.vmId));
    await harness.write(vm, AFTER);
    await memoryOf(session);
    assertWholeStream(memory);
    await assertCaptured(session, vm, BEFORE);
    await session.end({ keepCheckpoint: false });
    assert.deepEqual(await harness.captureLeftovers(vm, captureId), []);
    assert.equal(await harness.powerState(vm.vmId), 'running');
    const again = await captureWhole(harness, vm);
    await memoryOf(again.session);
    assertWholeStream(again.memory);
    await again.session.end({ keepCheckpoint: false });
  });

  for (const mode of ['pre-copy', 'stop-and-copy'] as const) {
    test(`memory by ${mode}`, async () => {
      const harness = get();
      const vm = await harness.createVm({ state: 'running', writes: BEFORE });
      const memorySink = collectMemory();
      const session = await harness.driver.beginCapture(
        captureRequest(harness, vm, { kind: 'full', memoryMode: mode, memorySink }),
      );
      assert.equal(session.memoryMode, mode);
      assert.ok(session.pauseMs > 0);
      assert.equal(await harness.powerState(vm.vmId), 'running');
      await memoryOf(session);
      assertWholeStream(memorySink);
      await assertCaptured(session, vm, BEFORE);
      await session.end({ keepCheckpoint: false });
    });
  }

  test('memory of a paused VM, which stays paused', async () => {
    const harness = get();
    const vm = await harness.createVm({ state: 'paused', writes: BEFORE });
    const { session, memory } = await captureWhole(harness, vm);
    assert.equal(session.level, 'memory');
    assert.equal(session.pauseMs, 0);
    await memoryOf(session);
    assertWholeStream(memory);
    await assertCaptured(session, vm, BEFORE);
    await session.end({ keepCheckpoint: false });
    assert.equal(await harness.powerState(vm.vmId), 'paused');
  });

  test('ending in the middle of the memory stream lets the guest run', async () => {
    const harness = get();
    const vm = await harness.createVm({ state: 'running', writes: BEFORE });
    const { session, memory, captureId } = await captureWhole(harness, vm);
    await session.end({ keepCheckpoint: false });
    // Either it was through already, or the sink heard that it is not whole.
    assert.notEqual(memory.outcome, 'open');
    await session.memoryDone.catch(() => undefined);
    assert.equal(await harness.powerState(vm.vmId), 'running');
    assert.deepEqual(await harness.captureLeftovers(vm, captureId), []);
  });

  test('a pause that takes too long is broken off, and the guest runs (invariant 1)', async () => {
    const harness = get();
    const vm = await harness.createVm({ state: 'running', writes: BEFORE });
    const request = captureRequest(harness, vm, {
      kind: 'full',
      memorySink: collectMemory(),
      freezeDeadlineMs: 1,
    });
    // A host that is done within a millisecond is as good.
    const session = await harness.driver.beginCapture(request).catch(() => null);
    assert.equal(await harness.powerState(vm.vmId), 'running');
    await session?.end({ keepCheckpoint: false });
    assert.deepEqual(await harness.captureLeftovers(vm, request.captureId), []);
    const next = await captureWhole(harness, vm);
    await memoryOf(next.session);
    await next.session.end({ keepCheckpoint: false });
  });

  for (const paused of [true, false]) {
    test(`a machine goes on from its memory, ${paused ? 'paused' : 'running'}`, async () => {
      const harness = get();
      const { driver } = harness;
      const vm = await harness.createVm({ state: 'running', writes: BEFORE });
      const { session, memory } = await captureWhole(harness, vm);
      await memoryOf(session);
      await session.end({ keepCheckpoint: false });
      await driver.stopVm(vm.vmId);
      const { memoryXml } = session.configuration;
      assert.ok(memoryXml);
      await driver.resumeFromMemory(
        { vmId: vm.vmId, memoryXml, paused, linksDown: false },
        async (write) => {
          for (const piece of memory.pieces) await write(piece);
        },
      );
      assert.equal(await harness.powerState(vm.vmId), paused ? 'paused' : 'running');
    });
  }

  test('a memory stream that breaks leaves the VM off', async () => {
    const harness = get();
    const { driver } = harness;
    const vm = await harness.createVm({ state: 'running', writes: BEFORE });
    const { session, memory } = await captureWhole(harness, vm);
    await memoryOf(session);
    await session.end({ keepCheckpoint: false });
    await driver.stopVm(vm.vmId);
    const { memoryXml } = session.configuration;
    assert.ok(memoryXml);
    const resumed = driver.resumeFromMemory(
      { vmId: vm.vmId, memoryXml, paused: true, linksDown: false },
      async (write) => {
        await write(memory.pieces[0] ?? new Uint8Array());
        throw new Error('the repository is gone');
      },
    );
    await assert.rejects(resumed);
    assert.equal(await harness.powerState(vm.vmId), 'off');
    await driver.startVm(vm.vmId, { paused: false });
    assert.equal(await harness.powerState(vm.vmId), 'running');
  });
}
