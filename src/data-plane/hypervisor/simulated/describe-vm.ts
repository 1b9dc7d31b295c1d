import { statSync } from 'node:fs';
import type { DiskDescription, VmDescription } from '../../../shared/inventory.ts';
import { isActive, type DiskDefinition, type SimulatedVm } from './simulated-vm.ts';

const SECTOR_BYTES = 512;

export function describeSimulatedVm(vm: SimulatedVm): VmDescription {
  const { definition } = vm;
  return {
    id: definition.id,
    name: definition.name,
    state: vm.state,
    persistent: true,
    memoryBytes: definition.memoryBytes,
    vcpus: definition.vcpus,
    machineType: definition.machineType,
    domainType: 'qemu',
    disks: definition.disks.map(describeDisk),
    agent: describeAgent(vm),
    firmware: definition.firmware,
    nvramPath: definition.nvramPath,
    tpm: definition.hasTpm ? { model: 'tpm-crb', version: '2.0', persistent: true } : null,
    memoryObstacles: vm.memoryObstacles,
    backgroundObstacles: [],
    hypervisorSnapshots: vm.hypervisorSnapshots,
    jobActive: isActive(vm) && vm.captures.some((capture) => !capture.isOver),
    hasDisplay: true,
  };
}

function describeAgent(vm: SimulatedVm): VmDescription['agent'] {
  if (!vm.definition.hasAgentChannel || vm.agent === 'absent') return 'absent';
  return vm.state !== 'running' || vm.agent === 'disconnected' ? 'disconnected' : 'connected';
}

function describeDisk(disk: DiskDefinition): DiskDescription {
  const status = statSync(disk.path, { throwIfNoEntry: false });
  return {
    target: disk.target,
    sourceType: 'file',
    path: disk.path,
    format: disk.format,
    sizeBytes: status?.size ?? 0,
    allocatedBytes: (status?.blocks ?? 0) * SECTOR_BYTES,
    backingPaths: [],
    readOnly: false,
    obstacle:
      status === undefined
        ? { code: 'no_source', reason: `The image of ${disk.target} is not there: ${disk.path}` }
        : null,
  };
}
