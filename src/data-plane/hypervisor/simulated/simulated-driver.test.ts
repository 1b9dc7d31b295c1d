import { randomUUID } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { MIB } from '../../../shared/byte-size.ts';
import { systemClock } from '../../../shared/clock.ts';
import {
  describeHypervisorConformance,
  type ConformanceHarness,
} from '../conformance.test-suite.ts';
import { readImage } from './image-file.ts';

import { createSimulatedDriver } from './simulated-driver.ts';

describeHypervisorConformance('simulated hypervisor', createHarness);

async function createHarness(): Promise<ConformanceHarness> {
  const root = await mkdtemp(path.join(tmpdir(), 'kmd-sim-'));
  const folder = path.join(root, 'files');
  const driver = createSimulatedDriver({
    folder: path.join(root, 'host'),
    clock: systemClock,
    seed: 7,
  });
  const { simulation } = driver;
  const write: ConformanceHarness['write'] = async (vm, writes) => {
    await Promise.resolve();
    for (const { target, offset, lengthBytes, pattern } of writes) {
      simulation.write(vm.vmId, target, { offset, bytes: Buffer.alloc(lengthBytes, pattern) });
    }
  };
  const otherDriver = createSimulatedDriver({
    folder: path.join(root, 'host'),
    clock: systemClock,
    seed: 8,
  });
  return {
    driver,
    otherDriver,
    folder,
    write,
    async createVm({ state, writes }) {
      const name = `kmd-test-${randomUUID().slice(0, 8)}`;
      const sizes = { vda: 8 * MIB, vdb: 4 * MIB };
      const disks = Object.entries(sizes).map(([target, sizeBytes]) => ({
        target,
        sizeBytes,
        format: target === 'vda' ? ('qcow2' as const) : ('raw' as const),
        path: path.join(folder, `${name}-${target}.img`),
      }));
      const spec = { name, disks, state: 'off' as const, agent: 'absent' as const };
      const vm = { vmId: simulation.addVm({ ...spec, writeEveryMs: null }), name, disks };
      await write(vm, writes);
      if (state !== 'off') await driver.startVm(vm.vmId, { paused: state === 'paused' });
      return vm;
    },
    readImage: async (disk) =>
      await Promise.resolve(readImage(disk.path, 0, statSync(disk.path).size)),
    powerState: async (vmId) => (await driver.describeVm(vmId)).state,
    async captureLeftovers(vm, captureId) {
      const scratch = path.join(folder, 'scratch', captureId);
      const sockets = (await readdir(path.join(root, 'host'))).filter((name) =>
        name.endsWith('.sock'),
      );
      const { jobActive } = await driver.describeVm(vm.vmId);
      return [
        ...(existsSync(scratch) ? [scratch] : []),
        ...sockets,
        ...simulation.checkpoints(vm.vmId),
        ...(jobActive ? ['a job'] : []),
      ];
    },
    checkpoints: async (vmId) => await Promise.resolve(simulation.checkpoints(vmId)),
    restoreLeftovers: async (restoreId) =>
      (await readdir(folder)).filter((name) => name.includes(restoreId)),
    async removeVms() {
      for (const { id } of await driver.listVms()) await driver.removeVm(id);
    },
    async destroy() {
      await driver.close();
      await otherDriver.close();
      await rm(root, { recursive: true, force: true });
    },
  };
}
