import { OperationError } from '../../../../shared/errors.ts';
import { type DomainDisk, readDisk } from './domain-disk.ts';
import {
  type AgentState,
  type DomainFilesystem,
  type DomainHostDevice,
  type DomainInterface,
  type DomainTpm,
  type FileOutput,
  readAgent,
  readFileOutputs,
  readFilesystem,
  readHostDevice,
  readInterface,
  readTpm,
} from './domain-devices.ts';
import { type DomainFirmware, readFirmware } from './domain-firmware.ts';
import { type DomainMemory, parseSizeBytes, readMemory } from './domain-memory.ts';
import {
  childElements,
  findElement,
  parseXml,
  readAttribute,
  readText,
  type XmlElement,
} from './xml-tree.ts';

export interface Domain {
  readonly name: string;
  readonly uuid: string;
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly machineType: string;
  readonly architecture: string;
  /** `kvm` or `qemu` (emulated). */
  readonly domainType: string;
  readonly disks: readonly DomainDisk[];
  readonly interfaces: readonly DomainInterface[];
  readonly firmware: DomainFirmware;
  readonly tpm: DomainTpm | null;
  readonly hostDevices: readonly DomainHostDevice[];
  readonly filesystems: readonly DomainFilesystem[];
  /** Names of shared-memory (ivshmem) devices. */
  readonly sharedMemories: readonly string[];
  readonly memory: DomainMemory;
  /** Devices other than disks, interfaces and file systems whose backend is a vhost-user process. */
  readonly vhostUserDevices: readonly string[];
  readonly launchSecurity: string | null;
  /** The guest sees an invariant TSC whose frequency is not pinned, so QEMU refuses to save it. */
  readonly hasUnpinnedTsc: boolean;
  readonly commandLine: readonly string[];
  readonly agent: AgentState;
  readonly hasGraphics: boolean;
  readonly hasVideo: boolean;
  readonly fileOutputs: readonly FileOutput[];
}

/** Reads what libvirt says of one domain; throws OperationError `protocol_error` when it is no domain. */
export function readDomain(xml: string): Domain {
  const { root } = parseXml(xml);
  if (root.name !== 'domain') throw notADomain(`its root is <${root.name}>`);
  const devices = findElement(root, 'devices');
  const type = findElement(root, 'os', 'type');
  const [tpm] = childElements(devices, 'tpm');
  return {
    ...readIdentity(root),
    machineType: readAttribute(type, 'machine') ?? '',
    architecture: readAttribute(type, 'arch') ?? '',
    domainType: readAttribute(root, 'type') ?? '',
    disks: childElements(devices, 'disk').map(readDisk),
    interfaces: childElements(devices, 'interface').map(readInterface),
    firmware: readFirmware(root),
    tpm: tpm === undefined ? null : readTpm(tpm),
    hostDevices: childElements(devices, 'hostdev').map(readHostDevice),
    filesystems: childElements(devices, 'filesystem').map(readFilesystem),
    sharedMemories: childElements(devices, 'shmem').map(
      (element) => readAttribute(element, 'name') ?? 'unnamed',
    ),
    memory: readMemory(root),
    vhostUserDevices: readVhostUserDevices(devices),
    launchSecurity: readLaunchSecurity(root),
    hasUnpinnedTsc: readUnpinnedTsc(root),
    commandLine: childElements(findElement(root, 'qemu:commandline'), 'qemu:arg').map(
      (element) => readAttribute(element, 'value') ?? '',
    ),
    agent: readAgent(devices),
    hasGraphics: childElements(devices, 'graphics').length > 0,
    hasVideo: childElements(devices, 'video').some(
      (element) => readAttribute(findElement(element, 'model'), 'type') !== 'none',
    ),
    fileOutputs: readFileOutputs(devices),
  };
}

function readIdentity(root: XmlElement): Pick<Domain, 'name' | 'uuid' | 'memoryBytes' | 'vcpus'> {
  const name = readText(findElement(root, 'name'));
  const uuid = readText(findElement(root, 'uuid'));
  if (name === null) throw notADomain('it has no name');
  if (uuid === null) throw notADomain('it has no UUID');
  const vcpu = findElement(root, 'vcpu');
  const vcpus = Number(readAttribute(vcpu, 'current') ?? readText(vcpu) ?? '1');
  if (!Number.isSafeInteger(vcpus) || vcpus < 1) throw notADomain('its vCPU count is no number');
  const memoryBytes = parseSizeBytes(findElement(root, 'memory'));
  if (memoryBytes === null) throw notADomain('its memory size is no number');
  return { name, uuid: normaliseUuid(uuid), memoryBytes, vcpus };
}

/** libvirt takes UUIDs without dashes and in capitals too. */
function normaliseUuid(text: string): string {
  const hex = text.toLowerCase().replaceAll('-', '');
  if (!/^[0-9a-f]{32}$/.test(hex)) throw notADomain('its UUID is malformed');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function readVhostUserDevices(devices: XmlElement | undefined): string[] {
  const found: string[] = [];
  for (const element of childElements(devices)) {
    const isVideo =
      element.name === 'video' &&
      readAttribute(findElement(element, 'driver'), 'name') === 'vhostuser';
    const isOther =
      ['input', 'sound', 'crypto'].includes(element.name) &&
      [readAttribute(element, 'type'), readAttribute(findElement(element, 'backend'), 'type')].some(
        (type) => type === 'vhostuser' || type === 'vhost-user',
      );
    if (isVideo || isOther) found.push(element.name);
  }
  return found;
}

function readLaunchSecurity(root: XmlElement): string | null {
  const element = findElement(root, 'launchSecurity');
  return element === undefined ? null : (readAttribute(element, 'type') ?? 'unknown');
}

function readUnpinnedTsc(root: XmlElement): boolean {
  const cpu = findElement(root, 'cpu');
  const invariant = childElements(cpu, 'feature').some(
    (feature) =>
      readAttribute(feature, 'name') === 'invtsc' &&
      ['require', 'force'].includes(readAttribute(feature, 'policy') ?? 'require'),
  );
  const unmigratable =
    readAttribute(cpu, 'mode') === 'host-passthrough' && readAttribute(cpu, 'migratable') === 'off';
  const pinned = childElements(findElement(root, 'clock'), 'timer').some(
    (timer) => readAttribute(timer, 'name') === 'tsc' && readAttribute(timer, 'frequency') !== null,
  );
  return (invariant || unmigratable) && !pinned;
}

function notADomain(why: string): OperationError {
  return new OperationError('protocol_error', `libvirt's domain XML cannot be used: ${why}.`);
}
