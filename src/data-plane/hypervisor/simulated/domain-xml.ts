import { OperationError } from '../../../shared/errors.ts';
import { vmDefinitionSchema, type VmDefinition } from './simulated-vm.ts';

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&apos;',
  '"': '&quot;',
};
const XML_CHARACTERS_MAX = 1024 * 1024;

const escapeXml = (text: string): string =>
  text.replaceAll(/[&<>'"]/g, (character) => ESCAPES[character] ?? character);

const unescapeXml = (text: string): string =>
  text.replaceAll(
    /&(?:amp|lt|gt|apos|quot);/g,
    (entity) => Object.entries(ESCAPES).find(([, escape]) => escape === entity)?.[0] ?? entity,
  );

/** Small, but of the shape that libvirt writes. */
export function formatDomainXml(vm: VmDefinition): string {
  const disks = vm.disks.map(
    (disk) =>
      `    <disk type='file' device='disk'>\n` +
      `      <driver name='qemu' type='${disk.format}'/>\n` +
      `      <source file='${escapeXml(disk.path)}'/>\n` +
      `      <target dev='${disk.target}' bus='virtio'/>\n` +
      `    </disk>\n`,
  );
  const interfaces = vm.interfaces.map(
    ({ mac, linkUp }) =>
      `    <interface type='network'>\n` +
      `      <mac address='${mac}'/>\n` +
      `      <source network='default'/>\n` +
      (linkUp ? '' : `      <link state='down'/>\n`) +
      `    </interface>\n`,
  );
  const nvram = vm.nvramPath === null ? '' : `    <nvram>${escapeXml(vm.nvramPath)}</nvram>\n`;
  const channel = vm.hasAgentChannel
    ? `    <channel type='unix'>\n      <target type='virtio' name='org.qemu.guest_agent.0'/>\n    </channel>\n`
    : '';
  const tpm = vm.hasTpm
    ? `    <tpm model='tpm-crb'>\n      <backend type='emulator' version='2.0'/>\n    </tpm>\n`
    : '';
  const password =
    vm.graphicsPassword === null ? '' : ` passwd='${escapeXml(vm.graphicsPassword)}'`;
  return (
    `<domain type='qemu'>\n` +
    `  <name>${escapeXml(vm.name)}</name>\n` +
    `  <uuid>${vm.id}</uuid>\n` +
    `  <memory unit='bytes'>${vm.memoryBytes}</memory>\n` +
    `  <vcpu>${vm.vcpus}</vcpu>\n` +
    `  <os${vm.firmware === 'uefi' ? ` firmware='efi'` : ''}>\n` +
    `    <type arch='x86_64' machine='${escapeXml(vm.machineType)}'>hvm</type>\n${nvram}` +
    `  </os>\n  <devices>\n` +
    disks.join('') +
    interfaces.join('') +
    channel +
    tpm +
    `    <graphics type='vnc' port='-1' autoport='yes'${password}/>\n` +
    `  </devices>\n</domain>\n`
  );
}

/** Reads what `formatDomainXml` writes; anything else is refused. */
export function parseDomainXml(xml: string): VmDefinition {
  if (xml.length > XML_CHARACTERS_MAX) throw notUnderstood('it is too long');
  const one = (pattern: RegExp): string | null => {
    const match = pattern.exec(xml);
    return match ? unescapeXml(match[1] ?? '') : null;
  };
  const elements = (name: string): string[] =>
    xml
      .split(`<${name} `)
      .slice(1)
      .map((rest) => {
        const end = rest.indexOf(`</${name}>`);
        if (end < 0) throw notUnderstood(`<${name}> has no end`);
        return rest.slice(0, end);
      });
  const within = (element: string, pattern: RegExp): string =>
    unescapeXml(pattern.exec(element)?.[1] ?? '');
  const candidate = {
    id: one(/<uuid>([^<]*)<\/uuid>/),
    name: one(/<name>([^<]*)<\/name>/),
    memoryBytes: Number(one(/<memory unit='bytes'>(\d{1,15})<\/memory>/)),
    vcpus: Number(one(/<vcpu>(\d{1,4})<\/vcpu>/)),
    machineType: one(/<type arch='x86_64' machine='([^']*)'>hvm<\/type>/),
    firmware: xml.includes(`<os firmware='efi'>`) ? 'uefi' : 'bios',
    nvramPath: one(/<nvram>([^<]*)<\/nvram>/),
    hasTpm: xml.includes('<tpm '),
    hasAgentChannel: xml.includes(`name='org.qemu.guest_agent.0'`),
    graphicsPassword: one(/<graphics [^>]*passwd='([^']*)'/),
    disks: elements('disk').map((disk) => ({
      target: within(disk, /<target dev='([^']*)'/),
      path: within(disk, /<source file='([^']*)'/),
      format: within(disk, /<driver name='qemu' type='([^']*)'/),
    })),
    interfaces: elements('interface').map((element) => ({
      mac: within(element, /<mac address='([^']*)'/),
      linkUp: !element.includes(`<link state='down'/>`),
    })),
  };
  const parsed = vmDefinitionSchema.safeParse(candidate);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw notUnderstood(`${issue?.path.join('.') ?? 'it'}: ${issue?.message ?? 'invalid'}`);
  }
  return parsed.data;
}

const notUnderstood = (why: string): OperationError =>
  new OperationError('invalid_input', `The simulated host cannot use this domain XML: ${why}.`);
