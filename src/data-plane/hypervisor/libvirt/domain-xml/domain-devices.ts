import { childElements, findElement, readAttribute, type XmlElement } from './xml-tree.ts';

export interface DomainInterface {
  readonly mac: string | null;
  /** `network`, `bridge`, `user`, `hostdev`, `vhostuser`, `vdpa`, … */
  readonly type: string;
  readonly model: string | null;
  readonly linkState: 'up' | 'down';
  /** The host's device, e.g. `vnet3`; null while the VM is off. */
  readonly hostDevice: string | null;
}

export interface DomainTpm {
  readonly model: string;
  /** `emulator`, `passthrough` or `external`. */
  readonly backendType: string;
  readonly version: string;
  /** The state outlives the domain's shutdown even when the domain is transient. */
  readonly persistentState: boolean;
  readonly encrypted: boolean;
  /** Where the emulator keeps its state, when the XML says so (libvirt 10.10 and newer). */
  readonly statePath: string | null;
}

export interface DomainHostDevice {
  readonly mode: string;
  /** `pci`, `usb`, `scsi`, `scsi_host`, `mdev`. */
  readonly type: string;
}

export interface DomainFilesystem {
  /** `virtiofs`, `path` (9p) or other drivers. */
  readonly driver: string;
  /** The tag that the guest mounts. */
  readonly tag: string;
}

export type AgentState = 'connected' | 'disconnected' | 'absent';

/** A character device whose output goes to a file on the host. */
export interface FileOutput {
  readonly device: string;
  readonly path: string;
}

export function readInterface(element: XmlElement): DomainInterface {
  return {
    mac: readAttribute(findElement(element, 'mac'), 'address')?.toLowerCase() ?? null,
    type: readAttribute(element, 'type') ?? 'network',
    model: readAttribute(findElement(element, 'model'), 'type'),
    linkState: readAttribute(findElement(element, 'link'), 'state') === 'down' ? 'down' : 'up',
    hostDevice: readAttribute(findElement(element, 'target'), 'dev'),
  };
}

export function readTpm(element: XmlElement): DomainTpm {
  const backend = findElement(element, 'backend');
  const source = findElement(backend, 'source');
  return {
    model: readAttribute(element, 'model') ?? 'tpm-tis',
    backendType: readAttribute(backend, 'type') ?? 'emulator',
    version: readAttribute(backend, 'version') ?? '2.0',
    persistentState: readAttribute(backend, 'persistent_state') === 'yes',
    encrypted: findElement(backend, 'encryption') !== undefined,
    statePath: readAttribute(source, 'path'),
  };
}

export function readHostDevice(element: XmlElement): DomainHostDevice {
  return {
    mode: readAttribute(element, 'mode') ?? 'subsystem',
    type: readAttribute(element, 'type') ?? 'unknown',
  };
}

export function readFilesystem(element: XmlElement): DomainFilesystem {
  return {
    driver: readAttribute(findElement(element, 'driver'), 'type') ?? 'path',
    tag: readAttribute(findElement(element, 'target'), 'dir') ?? 'unnamed',
  };
}

const AGENT_CHANNEL = 'org.qemu.guest_agent.0';

/** The state is only in the XML of a running domain. */
export function readAgent(devices: XmlElement | undefined): AgentState {
  for (const channel of childElements(devices, 'channel')) {
    const target = findElement(channel, 'target');
    if (readAttribute(target, 'name') !== AGENT_CHANNEL) continue;
    return readAttribute(target, 'state') === 'connected' ? 'connected' : 'disconnected';
  }
  return 'absent';
}

export const CHARACTER_DEVICES: readonly string[] = [
  'serial',
  'console',
  'parallel',
  'channel',
  'rng',
];

export function readFileOutputs(devices: XmlElement | undefined): FileOutput[] {
  const outputs: FileOutput[] = [];
  for (const element of childElements(devices)) {
    if (!CHARACTER_DEVICES.includes(element.name)) continue;
    const path =
      readAttribute(element, 'type') === 'file'
        ? readAttribute(findElement(element, 'source'), 'path')
        : readAttribute(findElement(element, 'log'), 'file');
    // The first serial port appears again as a console: one file is one output.
    if (path !== null && !outputs.some((output) => output.path === path)) {
      outputs.push({ device: element.name, path });
    }
  }
  return outputs;
}
