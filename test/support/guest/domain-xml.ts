import { KERNEL_ARGUMENTS, type GuestFiles } from '../../../scripts/setup/guest.ts';

export type GuestMode = 'counter' | 'pattern' | 'dirty' | 'idle';

export interface GuestDomain {
  readonly name: string;
  readonly uuid: string;
  readonly domainType: 'kvm' | 'qemu';
  readonly memoryMiB: number;
  readonly mode: GuestMode;
  readonly dirtyMiB: number;
  readonly agent: boolean;
  readonly uefi: boolean;
  readonly tpm: boolean;
  readonly display: boolean;
  readonly disks: readonly { target: string; format: 'qcow2' | 'raw'; path: string }[];
  readonly serialPath: string;
  readonly nvramPath: string;
  readonly files: GuestFiles;
}

const FIRMWARE = {
  code: '/usr/share/OVMF/OVMF_CODE_4M.fd',
  variables: '/usr/share/OVMF/OVMF_VARS_4M.fd',
};
const AGENT_CHANNEL = 'org.qemu.guest_agent.0';

/** The domain XML of a guest that boots our kernel directly, with every device named. */
export function buildDomainXml(domain: GuestDomain): string {
  return `<domain type='${domain.domainType}'>
  <name>${escapeXml(domain.name)}</name>
  <uuid>${domain.uuid}</uuid>
  <memory unit='MiB'>${domain.memoryMiB}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='${domain.uefi ? 'q35' : 'pc'}'>hvm</type>
${domain.uefi ? describeFirmware(domain.nvramPath) : ''}    <kernel>${escapeXml(domain.files.kernelPath)}</kernel>
    <initrd>${escapeXml(domain.files.initramfsPath)}</initrd>
    <cmdline>${escapeXml(buildCommandLine(domain))}</cmdline>
  </os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
${domain.disks.map(describeDisk).join('')}    <serial type='file'>
      <source path='${escapeXml(domain.serialPath)}' append='on'/>
      <target port='0'/>
    </serial>
${describeOptionalDevices(domain)}    <memballoon model='none'/>
  </devices>
</domain>
`;
}

function buildCommandLine(domain: GuestDomain): string {
  const words = [KERNEL_ARGUMENTS, `komadori.mode=${domain.mode}`];
  if (domain.agent) words.push('komadori.agent=1');
  if (domain.mode === 'dirty') words.push(`komadori.dirty=${domain.dirtyMiB}`);
  return words.join(' ');
}

function describeFirmware(nvramPath: string): string {
  return `    <loader readonly='yes' type='pflash'>${FIRMWARE.code}</loader>
    <nvram template='${FIRMWARE.variables}'>${escapeXml(nvramPath)}</nvram>
`;
}

function describeDisk(disk: GuestDomain['disks'][number]): string {
  return `    <disk type='file' device='disk'>
      <driver name='qemu' type='${disk.format}' discard='unmap'/>
      <source file='${escapeXml(disk.path)}'/>
      <target dev='${disk.target}' bus='virtio'/>
    </disk>
`;
}

function describeOptionalDevices(domain: GuestDomain): string {
  const devices: string[] = [];
  if (domain.agent) {
    devices.push(`<channel type='unix'><target type='virtio' name='${AGENT_CHANNEL}'/></channel>`);
  }
  if (domain.tpm) {
    devices.push("<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>");
  }
  if (domain.display) devices.push("<video><model type='vga'/></video>");
  return devices.map((device) => `    ${device}\n`).join('');
}

function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll("'", '&apos;')
    .replaceAll('"', '&quot;');
}
