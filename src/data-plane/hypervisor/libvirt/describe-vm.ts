import type { DiskDescription, VmDescription, VmState } from '../../../shared/inventory.ts';
import type { DomainDisk } from './domain-xml/domain-disk.ts';
import { readDomain, type Domain } from './domain-xml/domain.ts';
import { backgroundObstacles, diskObstacle, memoryObstacles } from './domain-xml/obstacles.ts';
import { getJobInfo } from './rpc/backup-calls.ts';
import type { LibvirtCaller } from './rpc/connection.ts';
import { getBlockInfo } from './rpc/device-calls.ts';
import {
  getDomainState,
  getDomainXml,
  isDomainPersistent,
  type DomainState,
} from './rpc/domain-calls.ts';
import { SNAPSHOT_LIST_FLAG, countHypervisorSnapshots } from './rpc/hypervisor-snapshot-calls.ts';
import { LibvirtError } from './rpc/libvirt-error.ts';
import type { DomainRef } from './rpc/wire-types.ts';

const STATES: Readonly<Partial<Record<DomainState, VmState>>> = {
  running: 'running',
  blocked: 'running',
  paused: 'paused',
  shut_off: 'off',
  crashed: 'crashed',
};

/** Reads everything that planning a capture needs; throws `not_found` when the domain is gone. */
export async function describeVm(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  signal?: AbortSignal,
): Promise<VmDescription> {
  const options = signal ? { signal } : {};
  const [{ state }, xml, persistent, internal, external] = await Promise.all([
    getDomainState(libvirt, domain, options),
    getDomainXml(libvirt, domain, 0, options),
    isDomainPersistent(libvirt, domain, options),
    countHypervisorSnapshots(libvirt, domain, SNAPSHOT_LIST_FLAG.internal, options),
    countHypervisorSnapshots(libvirt, domain, SNAPSHOT_LIST_FLAG.external, options),
  ]);
  const parsed = readDomain(xml);
  const vmState = STATES[state] ?? 'other';
  const disks = await Promise.all(
    parsed.disks.map(async (disk) => await describeDisk(libvirt, domain, disk, options)),
  );
  return {
    id: domain.uuid,
    name: domain.name,
    state: vmState,
    persistent,
    ...describeHardware(parsed),
    disks,
    hypervisorSnapshots: { internal, external },
    jobActive: vmState === 'off' ? false : await isJobActive(libvirt, domain, options),
  };
}

type Hardware = Omit<
  VmDescription,
  'id' | 'name' | 'state' | 'persistent' | 'disks' | 'hypervisorSnapshots' | 'jobActive'
>;

function describeHardware(domain: Domain): Hardware {
  const { tpm } = domain;
  return {
    memoryBytes: domain.memoryBytes,
    vcpus: domain.vcpus,
    machineType: domain.machineType,
    domainType: domain.domainType,
    agent: domain.agent,
    firmware: domain.firmware.kind,
    nvramPath: domain.firmware.nvramPath,
    tpm: tpm && { model: tpm.model, version: tpm.version, persistent: tpm.persistentState },
    memoryObstacles: memoryObstacles(domain),
    backgroundObstacles: backgroundObstacles(domain),
    hasDisplay: domain.hasVideo,
  };
}

async function describeDisk(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  disk: DomainDisk,
  options: { signal?: AbortSignal },
): Promise<DiskDescription> {
  const base = {
    target: disk.target,
    sourceType: disk.source.type,
    path: disk.source.path,
    format: disk.format,
    backingPaths: disk.backingChain.map((image) => image.path).filter((path) => path !== null),
    readOnly: disk.readOnly,
  };
  const obstacle = diskObstacle(disk);
  if (obstacle) return { ...base, sizeBytes: 0, allocatedBytes: 0, obstacle };
  try {
    const info = await getBlockInfo(libvirt, domain, disk.target, options);
    return {
      ...base,
      sizeBytes: info.capacityBytes,
      allocatedBytes: info.allocationBytes,
      obstacle,
    };
  } catch (error) {
    // A missing or unreadable image is a fact about this disk; the rest of the VM is still worth showing.
    if (!(error instanceof LibvirtError)) throw error;
    return {
      ...base,
      sizeBytes: 0,
      allocatedBytes: 0,
      obstacle: {
        code: 'no_source',
        reason: `The image of ${disk.target} cannot be read: ${error.libvirtMessage}`,
      },
    };
  }
}

async function isJobActive(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  options: { signal?: AbortSignal },
): Promise<boolean> {
  try {
    return (await getJobInfo(libvirt, domain, options)).type !== 'none';
  } catch (error) {
    // The VM went off in between, so no job runs.
    if (error instanceof LibvirtError && error.code === 'wrong_state') return false;
    throw error;
  }
}
