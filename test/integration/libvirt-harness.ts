import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { MIB } from '../../src/shared/byte-size.ts';
import { systemClock } from '../../src/shared/clock.ts';
import { silentLogger } from '../../src/shared/logger.ts';
import type {
  ConformanceHarness,
  DiskWrite,
  TestVm,
} from '../../src/data-plane/hypervisor/conformance-harness.test-suite.ts';
import { captureFolderFor } from '../../src/data-plane/hypervisor/libvirt/capture-folder.ts';
import { withoutGuard } from '../../src/data-plane/hypervisor/freeze-guard.ts';
import { createLibvirtDriver } from '../../src/data-plane/hypervisor/libvirt/libvirt-driver.ts';

const execute = promisify(execFile);
const IMAGES = '/var/lib/libvirt/images';
const MEMORY_KIB = 64 * 1024;
const DISKS = [
  { target: 'vda', format: 'qcow2', sizeBytes: 8 * MIB },
  { target: 'vdb', format: 'raw', sizeBytes: 4 * MIB },
] as const;

async function run(command: string, ...args: string[]): Promise<string> {
  const { stdout } = await execute(command, args, { timeout: 30_000 });
  return stdout;
}

const virsh = async (...args: string[]): Promise<string> =>
  await run('virsh', '-c', 'qemu:///system', '-q', ...args);

/** No operating system: the firmware alone keeps the machine running. */
const domainXml = (vm: TestVm): string => `<domain type='qemu'>
  <name>${vm.name}</name>
  <uuid>${vm.vmId}</uuid>
  <memory unit='KiB'>${MEMORY_KIB}</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    ${vm.disks
      .map(
        (disk, index) => `<disk type='file' device='disk'>
      <driver name='qemu' type='${DISKS[index]?.format ?? 'raw'}'/>
      <source file='${disk.path}'/>
      <target dev='${disk.target}' bus='virtio'/>
    </disk>`,
      )
      .join('\n')}
    <memballoon model='none'/>
  </devices>
</domain>
`;

const formatOf = (target: string): string =>
  DISKS.find((disk) => disk.target === target)?.format ?? 'raw';

const writeCommand = ({ offset, lengthBytes, pattern }: DiskWrite): string =>
  `write -P ${pattern} ${offset} ${lengthBytes}`;

async function writeOffline(vm: TestVm, writes: readonly DiskWrite[]): Promise<void> {
  for (const disk of vm.disks) {
    const commands = writes.filter(({ target }) => target === disk.target).map(writeCommand);
    if (commands.length === 0) continue;
    const flags = commands.flatMap((command) => ['-c', command]);
    await run('qemu-io', '-f', formatOf(disk.target), ...flags, disk.path);
  }
}

/** Through the guest's own device, above whatever a capture has put between it and the image. */
async function writeOnline(vm: TestVm, writes: readonly DiskWrite[]): Promise<void> {
  for (const write of writes) {
    const index = DISKS.findIndex(({ target }) => target === write.target);
    const device = `/machine/peripheral/virtio-disk${index}/virtio-backend`;
    const command = `qemu-io -d ${device} "${writeCommand(write)}"`;
    const answer = await virsh('qemu-monitor-command', vm.name, '--hmp', command);
    if (/error|fail/i.test(answer)) throw new Error(`the guest could not write: ${answer}`);
  }
}

async function readImage(disk: { path: string; target: string }): Promise<Buffer> {
  // Only the image format tells its content, so QEMU's own tool reads it.
  const folder = await mkdtemp(path.join(tmpdir(), 'kmd-test-'));
  const copy = path.join(folder, 'content');
  try {
    const format = formatOf(disk.target);
    await run('qemu-img', 'convert', '-f', format, '-O', 'raw', disk.path, copy);
    return await readFile(copy);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function powerState(vmId: string): Promise<'running' | 'paused' | 'off' | 'other'> {
  const state = (await virsh('domstate', vmId)).trim();
  if (state === 'running' || state === 'paused') return state;
  return state === 'shut off' ? 'off' : 'other';
}

const lines = (text: string): string[] => text.split('\n').filter((line) => line.trim() !== '');

export async function createLibvirtHarness(): Promise<ConformanceHarness> {
  const driver = createLibvirtDriver({
    clock: systemClock,
    logger: silentLogger,
    freezeGuard: withoutGuard,
  });
  const otherDriver = createLibvirtDriver({
    clock: systemClock,
    logger: silentLogger,
    freezeGuard: withoutGuard,
  });
  const folder = await mkdtemp(path.join(IMAGES, 'kmd-test-'));
  await chmod(folder, 0o755);
  await mkdir(path.join(folder, 'scratch'), { mode: 0o755 });
  const listCheckpoints = async (vmId: string): Promise<string[]> =>
    lines(await virsh('checkpoint-list', vmId, '--name')).map((line) => line.trim());
  return {
    driver,
    otherDriver,
    folder,
    readImage,
    powerState,
    async createVm({ state, writes }) {
      const name = `kmd-test-${randomUUID().slice(0, 8)}`;
      const vm: TestVm = {
        vmId: randomUUID(),
        name,
        disks: DISKS.map(({ target, sizeBytes }) => ({
          target,
          sizeBytes,
          path: path.join(folder, `${name}-${target}.img`),
        })),
      };
      for (const disk of vm.disks) {
        const size = String(disk.sizeBytes);
        await run('qemu-img', 'create', '-q', '-f', formatOf(disk.target), disk.path, size);
      }
      await writeOffline(vm, writes);
      const xmlPath = path.join(folder, `${name}.xml`);
      await writeFile(xmlPath, domainXml(vm));
      await virsh('define', xmlPath);
      if (state === 'running') await virsh('start', name);
      if (state === 'paused') await virsh('start', name, '--paused');
      return vm;
    },
    async write(vm, writes) {
      if ((await powerState(vm.vmId)) === 'off') await writeOffline(vm, writes);
      else await writeOnline(vm, writes);
    },
    async captureLeftovers(vm, captureId) {
      const found = [
        captureFolderFor(captureId).path,
        path.join(folder, 'scratch', captureId),
      ].filter((place) => existsSync(place));
      found.push(...(await listCheckpoints(vm.vmId)));
      if ((await powerState(vm.vmId)) !== 'off') {
        const job = lines(await virsh('domjobinfo', vm.name))[0] ?? '';
        if (!job.includes('None')) found.push(job);
        const query = '{"execute":"query-migrate-capabilities"}';
        const capabilities = await virsh('qemu-monitor-command', vm.name, query);
        if (/"state":true,"capability":"background-snapshot"/.test(capabilities)) {
          found.push('background-snapshot is still on');
        }
        const nbd = await virsh('qemu-monitor-command', vm.name, '--hmp', 'info block-jobs');
        if (!nbd.includes('No active jobs')) found.push(nbd.trim());
      }
      return found;
    },
    checkpoints: listCheckpoints,
    restoreLeftovers: async (restoreId) =>
      (await readdir(folder)).filter((file) => file.includes(restoreId)),
    removeVms: async () => await removeDomains(folder),
    async destroy() {
      await Promise.all([driver.close(), otherDriver.close()]);
      await removeDomains(folder);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Only those whose images are in this run's own folder. */
async function removeDomains(folder: string): Promise<void> {
  for (const line of lines(await virsh('list', '--all', '--name'))) {
    const name = line.trim();
    if (!name.startsWith('kmd-test-')) continue;
    // Somebody else's domain may go at any moment.
    const xml = await virsh('dumpxml', name).catch(() => '');
    if (!xml.includes(`${folder}/`)) continue;
    if ((await powerState(name)) !== 'off') await virsh('destroy', name);
    await virsh('undefine', name, '--checkpoints-metadata', '--nvram');
  }
}
