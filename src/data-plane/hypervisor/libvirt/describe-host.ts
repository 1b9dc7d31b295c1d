import { readFile } from 'node:fs/promises';
import { KIB } from '../../../shared/byte-size.ts';
import type { HostDescription } from '../../../shared/inventory.ts';
import type { EmulatorOwner } from './capture-folder.ts';
import {
  childElements,
  findElement,
  parseXml,
  readAttribute,
  readText,
} from './domain-xml/xml-tree.ts';
import { hasErrorCode } from './file-errors.ts';
import {
  formatLibvirtVersion,
  getCapabilities,
  getHostname,
  getHypervisorVersion,
  getLibVersion,
  getNodeInfo,
} from './rpc/host-calls.ts';
import type { LibvirtCaller } from './rpc/connection.ts';

const BACKGROUND_SINCE = 6_000_000;
const SYSCTL_PATH = '/proc/sys/vm/unprivileged_userfaultfd';

export async function describeHost(
  libvirt: LibvirtCaller,
  signal?: AbortSignal,
): Promise<HostDescription> {
  const options = signal ? { signal } : {};
  const [hostname, libvirtVersion, emulatorVersion, node, owner] = await Promise.all([
    getHostname(libvirt, options),
    getLibVersion(libvirt, options),
    getHypervisorVersion(libvirt, options),
    getNodeInfo(libvirt, options),
    readEmulatorOwner(libvirt),
  ]);
  const hints = await backgroundHints(emulatorVersion, owner);
  return {
    hostname,
    hypervisorVersion: formatLibvirtVersion(libvirtVersion),
    emulatorVersion: formatLibvirtVersion(emulatorVersion),
    cpus: node.cpus,
    memoryBytes: node.memoryKib * KIB,
    memoryModes:
      hints.length === 0
        ? ['background', 'pre-copy', 'stop-and-copy']
        : ['pre-copy', 'stop-and-copy'],
    memoryModeHints: hints,
  };
}

/** The user and group that libvirt runs QEMU as: the DAC base label of its capabilities. */
export async function readEmulatorOwner(libvirt: LibvirtCaller): Promise<EmulatorOwner> {
  const { root } = parseXml(await getCapabilities(libvirt));
  for (const model of childElements(findElement(root, 'host'), 'secmodel')) {
    if (readText(findElement(model, 'model')) !== 'dac') continue;
    for (const label of childElements(model, 'baselabel')) {
      const match = /^\+(\d+):\+(\d+)$/.exec(readText(label) ?? '');
      const type = readAttribute(label, 'type');
      if (match && (type === 'kvm' || type === 'qemu')) {
        return { uid: Number(match[1]), gid: Number(match[2]) };
      }
    }
  }
  return { uid: 0, gid: 0 };
}

/** Why this host cannot save memory copy-on-write; empty when it can. */
async function backgroundHints(emulatorVersion: number, owner: EmulatorOwner): Promise<string[]> {
  if (emulatorVersion < BACKGROUND_SINCE) {
    return ['QEMU is older than 6.0 and cannot save memory while the guest runs on; upgrade it.'];
  }
  if (owner.uid === 0) return [];
  const setting = await readFile(SYSCTL_PATH, 'utf8').catch((error: unknown) => {
    if (hasErrorCode(error, 'ENOENT')) return null;
    throw error;
  });
  if (setting === null) {
    return ['The kernel has no userfaultfd, so memory cannot be saved while the guest runs on.'];
  }
  if (setting.trim() !== '1') {
    return ['QEMU may not use userfaultfd; allow it with: sysctl -w vm.unprivileged_userfaultfd=1'];
  }
  return [];
}
