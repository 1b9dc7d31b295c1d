import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import type { ClonePlan, RestoreRequest, StagedRestore } from './driver.ts';
import { AFTER, BEFORE } from './conformance-capture.test-suite.ts';
import {
  assertSameBytes,
  captureRequest,
  contentAfter,
  hasCode,
  serveContent,
  type ConformanceHarness,
  type TestVm,
} from './conformance-harness.test-suite.ts';

/** A snapshot of the VM when it was off: its definition, and its disks as BEFORE left them. */
async function takeSnapshot(harness: ConformanceHarness, vm: TestVm) {
  const session = await harness.driver.beginCapture(captureRequest(harness, vm));
  await session.end({ keepCheckpoint: false });
  return {
    configuration: session.configuration,
    contents: new Map(vm.disks.map((disk) => [disk.target, contentAfter(disk, BEFORE)])),
  };
}

type Snapshot = Awaited<ReturnType<typeof takeSnapshot>>;

function restoreRequest(
  vm: { vmId: string },
  plan: ClonePlan,
  source: { endpoint(name: string): { socketPath: string; exportName: string } },
  options: { isNewVm: boolean; contents: Snapshot['contents'] },
): RestoreRequest {
  return {
    vmId: vm.vmId,
    restoreId: randomUUID(),
    disks: plan.disks.map((disk) => ({
      ...disk,
      source: source.endpoint(disk.target),
      sizeBytes: options.contents.get(disk.target)?.length ?? 0,
    })),
    nvram: null,
    tpmState: null,
    xml: plan.xml,
    isNewVm: options.isNewVm,
  };
}

interface Rollback {
  readonly vm: TestVm;
  readonly request: RestoreRequest;
  stage(): Promise<StagedRestore>;
  assertOld(): Promise<void>;
  assertNew(): Promise<void>;
  close(): Promise<void>;
}

/** A VM that was captured, went on to AFTER, and is to be rolled back. */
async function prepareRollback(
  harness: ConformanceHarness,
  state: 'running' | 'off' = 'off',
): Promise<Rollback> {
  const { driver } = harness;
  const vm = await harness.createVm({ state: 'off', writes: BEFORE });
  const { configuration, contents } = await takeSnapshot(harness, vm);
  await harness.write(vm, AFTER);
  if (state === 'running') await driver.startVm(vm.vmId, { paused: false });
  const plan = await driver.planRollback({
    vmId: vm.vmId,
    configuration,
    diskTargets: vm.disks.map(({ target }) => target),
  });
  const source = await serveContent(harness, contents);
  const request = restoreRequest(vm, plan, source, { isNewVm: false, contents });
  const assertDisks = async (...writes: Parameters<typeof contentAfter>[1][]): Promise<void> => {
    for (const disk of vm.disks) {
      assertSameBytes(await harness.readImage(disk), contentAfter(disk, ...writes), disk.target);
    }
  };
  return {
    vm,
    request,
    stage: async () => await driver.stageRestore(request, async () => await Promise.resolve()),
    assertOld: async () => await assertDisks(BEFORE, AFTER),
    assertNew: async () => await assertDisks(BEFORE),
    close: async () => await source.close(),
  };
}

export function testRestores(get: () => ConformanceHarness): void {
  testRollbacks(get);
  testOverwriting(get);
  testUndo(get);
  testNewVms(get);
  testExport(get);
}

function testRollbacks(get: () => ConformanceHarness): void {
  test('a rollback: staged beside a running VM, put in place when it is off', async () => {
    const harness = get();
    const { driver } = harness;
    const rollback = await prepareRollback(harness, 'running');
    const { vm, request } = rollback;
    let planned: StagedRestore | null = null;
    const staged = await driver.stageRestore(request, async (plan) => {
      planned = plan;
      assert.deepEqual(await harness.restoreLeftovers(request.restoreId), []);
    });
    assert.ok(planned);
    assert.equal(await harness.powerState(vm.vmId), 'running');
    await driver.stopVm(vm.vmId);
    await rollback.assertOld();
    await driver.commitRestore(staged);
    await driver.commitRestore(staged);
    await rollback.assertNew();
    await driver.discardReplaced(staged);
    await driver.discardReplaced(staged);
    await driver.commitRestore(staged);
    await rollback.assertNew();
    assert.deepEqual(await harness.restoreLeftovers(request.restoreId), []);
    await driver.startVm(vm.vmId, { paused: false });
    assert.equal((await driver.describeVm(vm.vmId)).name, vm.name);
    await rollback.close();
  });

  test('a running VM is not pulled away under its guest', async () => {
    const harness = get();
    const rollback = await prepareRollback(harness, 'running');
    const staged = await rollback.stage();
    await assert.rejects(harness.driver.commitRestore(staged), hasCode('wrong_state'));
    assert.equal(await harness.powerState(rollback.vm.vmId), 'running');
    await harness.driver.discardStaged(staged);
    await harness.driver.discardStaged(staged);
    assert.deepEqual(await harness.restoreLeftovers(rollback.request.restoreId), []);
    assert.equal(await harness.powerState(rollback.vm.vmId), 'running');
    await harness.driver.stopVm(rollback.vm.vmId);
    await rollback.assertOld();
    await rollback.close();
  });

  test('checkpoints do not outlive the images they were about', async () => {
    const harness = get();
    const { driver } = harness;
    const rollback = await prepareRollback(harness, 'running');
    const { vm } = rollback;
    const session = await driver.beginCapture(captureRequest(harness, vm));
    await session.end({ keepCheckpoint: true });
    const staged = await rollback.stage();
    await driver.stopVm(vm.vmId);
    await driver.commitRestore(staged);
    assert.deepEqual(await harness.checkpoints(vm.vmId), []);
    await driver.startVm(vm.vmId, { paused: false });
    const next = await driver.beginCapture(
      captureRequest(harness, vm, { parentCheckpoint: session.checkpoint }),
    );
    for (const disk of next.disks) assert.equal(disk.dirtyContext, null);
    await next.end({ keepCheckpoint: false });
    await rollback.close();
  });
}

function testOverwriting(get: () => ConformanceHarness): void {
  test('disks are overwritten where they are, zeroes included', async () => {
    const harness = get();
    const vm = await harness.createVm({ state: 'off', writes: AFTER });
    const contents = new Map(vm.disks.map((disk) => [disk.target, contentAfter(disk, BEFORE)]));
    const source = await serveContent(harness, contents);
    await harness.driver.overwriteDisks(
      vm.disks.map((disk, index) => ({
        ...disk,
        format: index === 0 ? ('qcow2' as const) : ('raw' as const),
        source: source.endpoint(disk.target),
        inPlace: true,
      })),
    );
    for (const disk of vm.disks) {
      assertSameBytes(await harness.readImage(disk), contentAfter(disk, BEFORE), disk.target);
    }
    await source.close();
  });
}

function testUndo(get: () => ConformanceHarness): void {
  const points: readonly {
    name: string;
    reach(harness: ConformanceHarness, rollback: Rollback): Promise<StagedRestore>;
  }[] = [
    {
      name: 'nothing was staged yet',
      async reach(harness, { request }) {
        let planned: StagedRestore | null = null;
        const stop = new Error('stop here');
        await assert.rejects(
          harness.driver.stageRestore(request, async (plan) => {
            planned = plan;
            await Promise.reject(stop);
          }),
          stop,
        );
        assert.ok(planned);
        return planned;
      },
    },
    {
      name: 'staging broke off',
      async reach(harness, { request }) {
        let planned: StagedRestore | null = null;
        const [first, ...rest] = request.disks;
        assert.ok(first);
        const source = { ...first.source, exportName: 'not-there' };
        const broken = { ...request, disks: [...rest, { ...first, source }] };
        await assert.rejects(
          harness.driver.stageRestore(broken, async (plan) => {
            planned = plan;
            await Promise.resolve();
          }),
        );
        assert.ok(planned);
        return planned;
      },
    },
    { name: 'everything was staged', reach: async (_harness, rollback) => await rollback.stage() },
    {
      name: 'the commit was done',
      async reach(harness, rollback) {
        const staged = await rollback.stage();
        await harness.driver.commitRestore(staged);
        return staged;
      },
    },
    {
      name: 'the restored VM runs already',
      async reach(harness, rollback) {
        const staged = await rollback.stage();
        await harness.driver.commitRestore(staged);
        await harness.driver.startVm(rollback.vm.vmId, { paused: false });
        return staged;
      },
    },
  ];
  for (const point of points) {
    test(`undo when ${point.name} brings back the old VM (invariant 5)`, async () => {
      const harness = get();
      const rollback = await prepareRollback(harness);
      // What a job stores and another process reads.
      const staged = structuredClone(await point.reach(harness, rollback));
      await harness.driver.undoRestore(staged);
      await harness.driver.undoRestore(staged);
      assert.equal(await harness.powerState(rollback.vm.vmId), 'off');
      await rollback.assertOld();
      assert.deepEqual(await harness.restoreLeftovers(rollback.request.restoreId), []);
      await harness.driver.startVm(rollback.vm.vmId, { paused: false });
      await rollback.close();
    });
  }

  test('after an undo the same restore can be done again', async () => {
    const harness = get();
    const rollback = await prepareRollback(harness);
    const first = await rollback.stage();
    await harness.driver.commitRestore(first);
    await harness.driver.undoRestore(first);
    const second = await rollback.stage();
    await harness.driver.commitRestore(second);
    await rollback.assertNew();
    await harness.driver.discardReplaced(second);
    await rollback.close();
  });
}

function testNewVms(get: () => ConformanceHarness): void {
  const prepareClone = async (harness: ConformanceHarness, newName: string) => {
    const vm = await harness.createVm({ state: 'off', writes: BEFORE });
    const { configuration, contents } = await takeSnapshot(harness, vm);
    const newVmId = randomUUID();
    const plan = harness.driver.planClone({
      configuration,
      newVmId,
      newName,
      linksDown: true,
      imageFolder: harness.folder,
      diskTargets: ['vda', 'vdb'],
    });
    const source = await serveContent(harness, contents);
    const request = restoreRequest({ vmId: newVmId }, plan, source, { isNewVm: true, contents });
    return { vm, newVmId, plan, request, contents, source };
  };
  const stage = async (
    harness: ConformanceHarness,
    request: RestoreRequest,
  ): Promise<StagedRestore> =>
    await harness.driver.stageRestore(request, async () => await Promise.resolve());

  test('a new VM has its own name, id and images, and the content of the snapshot', async () => {
    const harness = get();
    const { driver } = harness;
    const newName = `kmd-test-${randomUUID().slice(0, 8)}`;
    const clone = await prepareClone(harness, newName);
    assert.equal(
      new Set([...clone.vm.disks, ...clone.plan.disks].map((disk) => disk.path)).size,
      4,
    );
    const staged = await stage(harness, clone.request);
    await assert.rejects(driver.describeVm(clone.newVmId), hasCode('not_found'));
    await driver.commitRestore(staged);
    await driver.commitRestore(staged);
    const described = await driver.describeVm(clone.newVmId);
    assert.equal(described.name, newName);
    assert.equal(described.state, 'off');
    for (const disk of clone.plan.disks) {
      const expected = clone.contents.get(disk.target);
      assert.ok(expected);
      assertSameBytes(await harness.readImage(disk), expected, disk.target);
    }
    await driver.discardReplaced(staged);
    await driver.startVm(clone.newVmId, { paused: false });
    await driver.undoRestore(staged);
    await driver.undoRestore(staged);
    await assert.rejects(driver.describeVm(clone.newVmId), hasCode('not_found'));
    for (const disk of clone.plan.disks) assert.equal(existsSync(disk.path), false);
    assert.deepEqual(await harness.restoreLeftovers(clone.request.restoreId), []);
    await clone.source.close();
  });

  test('a file in the way of a new VM is name_taken and survives', async () => {
    const harness = get();
    const clone = await prepareClone(harness, `kmd-test-${randomUUID().slice(0, 8)}`);
    const [disk] = clone.plan.disks;
    assert.ok(disk);
    await copyFile(import.meta.filename, disk.path);
    await assert.rejects(stage(harness, clone.request), hasCode('name_taken'));
    assert.ok(existsSync(disk.path));
    assert.deepEqual(await harness.restoreLeftovers(clone.request.restoreId), []);
    await clone.source.close();
  });

  test('the name of another VM is name_taken, and that VM stays as it is', async () => {
    const harness = get();
    const other = await harness.createVm({ state: 'off', writes: BEFORE });
    const clone = await prepareClone(harness, other.name);
    await assert.rejects(stage(harness, clone.request), hasCode('name_taken'));
    assert.equal((await harness.driver.describeVm(other.vmId)).name, other.name);
    assert.deepEqual(await harness.restoreLeftovers(clone.request.restoreId), []);
    await clone.source.close();
  });
}

function testExport(get: () => ConformanceHarness): void {
  test('an image file for elsewhere holds the content and never replaces a file', async () => {
    const harness = get();
    const content = Buffer.alloc(1024 * 1024, 0x6b);
    const source = await serveContent(harness, new Map([['disk', content]]));
    const target = path.join(harness.folder, `export-${randomUUID().slice(0, 8)}.img`);
    const image = { source: source.endpoint('disk'), path: target, format: 'raw' as const };
    await harness.driver.writeImageFile(image);
    assertSameBytes(
      await harness.readImage({ path: target, target: 'vdb' }),
      content,
      'the export',
    );
    await assert.rejects(harness.driver.writeImageFile(image), hasCode('name_taken'));
    await source.close();
  });
}
