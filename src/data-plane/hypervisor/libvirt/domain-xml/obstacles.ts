import type { DiskDescription } from '../../../../shared/inventory.ts';
import type { Domain } from './domain.ts';
import type { DomainDisk } from './domain-disk.ts';

export type DiskObstacle = NonNullable<DiskDescription['obstacle']>;

const CAPTURED_FORMATS: readonly string[] = ['raw', 'qcow2'];

/** Why a disk cannot be captured; null when it can. `not_a_disk` is to be ignored, not reported. */
export function diskObstacle(disk: DomainDisk): DiskObstacle | null {
  const { target, device, source } = disk;
  if (device === 'cdrom' || device === 'floppy') {
    return { code: 'not_a_disk', reason: `${target} is a ${device} drive, not a disk.` };
  }
  if (device === 'lun') {
    return {
      code: 'passthrough',
      reason: `${target} passes a SCSI LUN through to the guest, which writes past QEMU's block layer; use device='disk' to capture it.`,
    };
  }
  if (!disk.hasSource) {
    return { code: 'no_source', reason: `${target} has no image attached.` };
  }
  return sourceObstacle(disk, source.type) ?? modeObstacle(disk) ?? formatObstacle(disk);
}

function sourceObstacle({ target }: DomainDisk, type: string): DiskObstacle | null {
  switch (type) {
    case 'file':
    case 'block':
      return null;
    case 'network':
      return {
        code: 'network',
        reason: `${target} is on network storage; only images that are files or block devices of the host are captured.`,
      };
    case 'volume':
      return {
        code: 'network',
        reason: `${target} names a volume of a storage pool instead of a path; refer to the volume's file or device to capture it.`,
      };
    case 'nvme':
    case 'vhostuser':
      return {
        code: 'passthrough',
        reason: `${target} is served by ${type === 'nvme' ? 'an NVMe controller that QEMU drives itself' : 'a vhost-user process outside QEMU'}, so QEMU cannot copy it at one instant.`,
      };
    case 'dir':
      return {
        code: 'format',
        reason: `${target} is a folder shown to the guest as a FAT disk, which has no image to capture.`,
      };
    default:
      return {
        code: 'format',
        reason: `${target} has a source of type ${type}, which is not supported.`,
      };
  }
}

function modeObstacle(disk: DomainDisk): DiskObstacle | null {
  const { target } = disk;
  if (disk.shareable) {
    return {
      code: 'shareable',
      reason: `${target} is shared with other VMs, which could write to it during the capture.`,
    };
  }
  if (disk.transient) {
    return {
      code: 'transient',
      reason: `${target} is transient: its changes are thrown away when the VM stops.`,
    };
  }
  if (disk.readOnly) {
    return {
      code: 'read_only',
      reason: `${target} is read-only for the guest, so there is nothing of this VM in it to capture.`,
    };
  }
  return null;
}

function formatObstacle(disk: DomainDisk): DiskObstacle | null {
  const { target } = disk;
  if (disk.encrypted) {
    return {
      code: 'format',
      reason: `${target} is encrypted by QEMU, and its secret could not be restored with it.`,
    };
  }
  if (disk.hasDataStore) {
    return {
      code: 'format',
      reason: `${target} keeps its data in a separate file beside the qcow2 image, which is not supported.`,
    };
  }
  if (disk.hasSlice) {
    return {
      code: 'format',
      reason: `${target} is a slice of a larger image, which is not supported.`,
    };
  }
  if (!CAPTURED_FORMATS.includes(disk.format)) {
    return {
      code: 'format',
      reason: `${target} has the format ${disk.format}; only raw and qcow2 images are captured.`,
    };
  }
  return null;
}

/** Why no way of capturing this domain's memory works, one sentence each; empty when one does. */
export function memoryObstacles(domain: Domain): string[] {
  return [
    ...deviceObstacles(domain),
    ...memoryDeviceObstacles(domain.memory.deviceModels),
    ...commandLineObstacles(domain.commandLine),
    ...(domain.launchSecurity === null
      ? []
      : [
          `The guest's memory is encrypted (${domain.launchSecurity}), so the host cannot save it.`,
        ]),
    ...(domain.hasUnpinnedTsc
      ? [
          'The CPU shows the guest an invariant TSC, which QEMU does not save; remove the feature invtsc (or migratable=off), or pin the TSC frequency.',
        ]
      : []),
  ];
}

function deviceObstacles(domain: Domain): string[] {
  const reasons = domain.hostDevices.map(
    ({ type }) =>
      `A host device (${type}) is passed through to the guest, and its state cannot be saved.`,
  );
  for (const { type } of domain.interfaces) {
    if (type === 'hostdev' || type === 'vdpa') {
      reasons.push(`A network interface (${type}) is host hardware, whose state cannot be saved.`);
    }
  }
  for (const { target, source } of domain.disks) {
    if (source.type === 'vhostuser' || source.type === 'nvme') {
      reasons.push(`The disk ${target} (${source.type}) has state outside QEMU.`);
    }
  }
  for (const { driver, tag } of domain.filesystems) {
    reasons.push(
      `The shared folder ${tag} (${driver === 'path' ? '9p' : driver}) has open files outside the VM, which cannot be saved.`,
    );
  }
  for (const name of domain.sharedMemories) {
    reasons.push(`The shared memory ${name} (ivshmem) belongs to other programs too.`);
  }
  for (const device of domain.vhostUserDevices) {
    reasons.push(`The ${device} device is served by a vhost-user process, whose state is its own.`);
  }
  if (domain.tpm?.backendType === 'passthrough') {
    reasons.push("The TPM is the host's own chip, whose state cannot be saved.");
  }
  return reasons;
}

function memoryDeviceObstacles(models: readonly string[]): string[] {
  const reasons: string[] = [];
  if (models.includes('nvdimm') || models.includes('virtio-pmem')) {
    reasons.push('The guest has persistent memory, whose backing file is not captured.');
  }
  if (models.includes('sgx-epc')) {
    reasons.push('The guest has an SGX enclave, whose memory the host cannot read.');
  }
  return reasons;
}

function commandLineObstacles(commandLine: readonly string[]): string[] {
  const devices = ['ivshmem', 'vfio-', 'vhost-user', 'virtio-9p', 'usb-host'];
  return devices
    .filter((device) => commandLine.some((argument) => argument.includes(device)))
    .map((device) => `The QEMU command line of the domain adds a ${device} device.`);
}

/**
 * Why the memory cannot be captured copy-on-write while the guest runs, although pre-copy works.
 * QEMU has the last word: what it refuses when asked is not listed here.
 */
export function backgroundObstacles(domain: Domain): string[] {
  const { memory } = domain;
  const reasons: string[] = [];
  if (domain.interfaces.some(({ type }) => type === 'vhostuser')) {
    reasons.push(
      'A vhost-user network interface writes to the guest memory from outside QEMU, past its write protection.',
    );
  }
  if (memory.hugePages) {
    reasons.push(
      'The guest memory is in huge pages, which cannot be write-protected page by page.',
    );
  }
  if (memory.sourceType === 'file' && memory.shared && !memory.hugePages) {
    reasons.push('The guest memory is a shared file, which the kernel does not write-protect.');
  }
  return reasons;
}
