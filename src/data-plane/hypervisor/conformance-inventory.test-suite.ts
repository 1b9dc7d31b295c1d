import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import {
  hasCode,
  recordEvents,
  type ConformanceHarness,
} from './conformance-harness.test-suite.ts';

export function testInventory(get: () => ConformanceHarness): void {
  test('describes a VM as it is, alone and in the list', async () => {
    const harness = get();
    const { driver } = harness;
    const vm = await harness.createVm({ state: 'running', writes: [] });
    const description = await driver.describeVm(vm.vmId);
    assert.equal(description.name, vm.name);
    assert.equal(description.state, 'running');
    assert.equal(description.jobActive, false);
    assert.deepEqual(
      description.disks.map(({ target, path, sizeBytes, format, obstacle }) => ({
        target,
        path,
        sizeBytes,
        format,
        obstacle,
      })),
      vm.disks.map((disk, index) => ({
        target: disk.target,
        path: disk.path,
        sizeBytes: disk.sizeBytes,
        format: index === 0 ? 'qcow2' : 'raw',
        obstacle: null,
      })),
    );
    assert.ok((await driver.listVms()).some(({ id }) => id === vm.vmId));
    assert.notEqual((await driver.describeHost()).hostname, '');
  });

  test('an unknown VM is not_found, whatever is asked of it', async () => {
    const { driver } = get();
    const vmId = randomUUID();
    await assert.rejects(driver.describeVm(vmId), hasCode('not_found'));
    await assert.rejects(driver.startVm(vmId, { paused: false }), hasCode('not_found'));
    await assert.rejects(driver.stopVm(vmId), hasCode('not_found'));
    await driver.removeVm(vmId);
    await driver.reconcileCapture({ vmId, captureId: randomUUID(), wasRunning: true });
  });

  test('starting, stopping and removing are told to watchers and may be repeated', async () => {
    const harness = get();
    const { driver } = harness;
    const vm = await harness.createVm({ state: 'off', writes: [] });
    const events = await recordEvents(driver);
    try {
      const isChange = (event: { kind: string; vmId?: string }): boolean =>
        event.kind === 'changed' && event.vmId === vm.vmId;
      await driver.startVm(vm.vmId, { paused: false });
      await events.wait(isChange, 'the start');
      assert.equal(await harness.powerState(vm.vmId), 'running');
      await driver.startVm(vm.vmId, { paused: false });
      assert.equal(await harness.powerState(vm.vmId), 'running');
      events.forget();
      await driver.stopVm(vm.vmId);
      await events.wait(isChange, 'the stop');
      await driver.stopVm(vm.vmId);
      assert.equal(await harness.powerState(vm.vmId), 'off');
      await driver.startVm(vm.vmId, { paused: true });
      assert.equal(await harness.powerState(vm.vmId), 'paused');
      await driver.removeVm(vm.vmId);
      await events.wait(
        (event) => event.kind === 'removed' && event.vmId === vm.vmId,
        'the removal',
      );
      await driver.removeVm(vm.vmId);
      await assert.rejects(driver.describeVm(vm.vmId), hasCode('not_found'));
    } finally {
      await events.close();
    }
  });
}
