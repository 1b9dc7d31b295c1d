import { createHash } from 'node:crypto';
import path from 'node:path';
import { OperationError } from '../../../shared/errors.ts';
import type { ClonePlan, CloneRequest, RollbackRequest } from '../driver.ts';
import { formatDomainXml, parseDomainXml } from './domain-xml.ts';
import type { DiskDefinition, VmDefinition } from './simulated-vm.ts';
import { nvramFolderOf } from './simulation-context.ts';

function definitionOf(configuration: RollbackRequest['configuration']): VmDefinition {
  const xml = configuration.persistentXml ?? configuration.liveXml;
  if (xml === null) {
    throw new OperationError('snapshot_damaged', 'The snapshot holds no definition of its VM.');
  }
  return parseDomainXml(xml);
}

function pickDisks(vm: VmDefinition, targets: readonly string[]): DiskDefinition[] {
  return targets.map((target) => {
    const disk = vm.disks.find((candidate) => candidate.target === target);
    if (disk) return disk;
    throw new OperationError(
      'snapshot_damaged',
      `The definition in the snapshot has no disk ${target}.`,
    );
  });
}

/** The VM as it was captured, under the name and on the paths that it has now. */
export function planRollback(request: RollbackRequest, current: VmDefinition): ClonePlan {
  const captured = definitionOf(request.configuration);
  const disks = captured.disks.map((disk) => {
    const now = current.disks.find((candidate) => candidate.target === disk.target);
    return now ? { ...disk, path: now.path } : disk;
  });
  const place = (vm: VmDefinition): string =>
    formatDomainXml({ ...vm, id: current.id, name: current.name, disks });
  const { memoryXml } = request.configuration;
  return {
    xml: place(captured),
    memoryXml: memoryXml === null ? null : place(parseDomainXml(memoryXml)),
    disks: pickDisks({ ...captured, disks }, request.diskTargets).map((disk) => ({
      ...disk,
      inPlace: false,
    })),
  };
}

export function planClone(folder: string, request: CloneRequest): ClonePlan {
  const captured = definitionOf(request.configuration);
  const { newName, newVmId, imageFolder } = request;
  const disks = pickDisks(captured, request.diskTargets).map((disk) => ({
    ...disk,
    path: path.join(
      imageFolder,
      `${newName}-${disk.target}.${disk.format === 'qcow2' ? 'qcow2' : 'img'}`,
    ),
  }));
  const place = (vm: VmDefinition): string =>
    formatDomainXml({
      ...vm,
      id: newVmId,
      name: newName,
      disks,
      nvramPath: vm.nvramPath === null ? null : path.join(nvramFolderOf(folder), `${newVmId}.fd`),
      interfaces: vm.interfaces.map(({ linkUp }, index) => ({
        mac: macFor(newVmId, index),
        linkUp: linkUp && !request.linksDown,
      })),
    });
  const { memoryXml } = request.configuration;
  return {
    xml: place(captured),
    memoryXml: memoryXml === null ? null : place(parseDomainXml(memoryXml)),
    disks: disks.map((disk) => ({ ...disk, inPlace: false })),
  };
}

/** In QEMU's range, and the same for the same VM and card. */
export function macFor(vmId: string, index: number): string {
  const [a = 0, b = 0, c = 0] = createHash('sha256').update(`${vmId} ${index}`).digest();
  return ['52', '54', '00', ...[a, b, c].map((byte) => byte.toString(16).padStart(2, '0'))].join(
    ':',
  );
}
