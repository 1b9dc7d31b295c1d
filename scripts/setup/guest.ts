import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { arch } from 'node:process';
import path from 'node:path';
import { buildArchive, type ArchiveEntry } from './guest/cpio.ts';
import { downloadPackage, findKernelPackages } from './guest/debian-packages.ts';
import { collectAgent } from './guest/guest-agent.ts';
import { collectModules } from './guest/kernel-modules.ts';
import { requireRoot } from './packages.ts';
import { runCommand, say, SetupError } from './run-command.ts';

export interface GuestFiles {
  readonly folder: string;
  readonly kernelPath: string;
  readonly initramfsPath: string;
}

/** What every guest is started with; half of the boot time under emulation is saved by these. */
export const KERNEL_ARGUMENTS =
  'console=ttyS0 quiet panic=-1 edd=off nokaslr mitigations=off no_timer_check random.trust_cpu=on';

const DEFAULT_CACHE = '/var/cache/komadori-guests';
const MODULES = ['virtio_pci', 'virtio_blk', 'virtio_console', 'ext4', 'efivarfs', 'tpm_crb'];
const BUILDING_PREFIX = 'building-';
const ABANDONED_AFTER_MS = 60 * 60_000;
const SOURCES = [
  'guest.ts',
  'guest/init.sh',
  'guest/cpio.ts',
  'guest/kernel-modules.ts',
  'guest/guest-agent.ts',
];

/**
 * A kernel and a first file system for a small guest, built at the first call and kept in
 * KOMADORI_GUEST_CACHE. The name of the folder is a digest of how it is built.
 */
export async function ensureGuest(): Promise<GuestFiles> {
  const cache = process.env['KOMADORI_GUEST_CACHE'] ?? DEFAULT_CACHE;
  const files = locateGuest(cache);
  if (existsSync(files.initramfsPath)) return files;
  if (arch !== 'x64') {
    throw new SetupError(
      `The demonstration guest is an x86-64 system; this machine is ${arch}. Komadori itself runs here, with your own VMs.`,
    );
  }
  requireRoot(`build the guest in ${cache}`);
  say(`building a small guest in ${cache}`);
  await mkdir(cache, { recursive: true });
  await removeAbandoned(cache);
  const work = await mkdtemp(path.join(cache, BUILDING_PREFIX));
  try {
    await buildGuest(work);
    await publish(work, files.folder);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return files;
}

function locateGuest(cache: string): GuestFiles {
  const digest = createHash('sha256');
  for (const source of SOURCES) digest.update(readFileSync(path.join(import.meta.dirname, source)));
  const folder = path.join(cache, `guest-${digest.digest('hex').slice(0, 16)}`);
  return {
    folder,
    kernelPath: path.join(folder, 'vmlinuz'),
    initramfsPath: path.join(folder, 'initramfs.cpio'),
  };
}

async function buildGuest(work: string): Promise<void> {
  const root = path.join(work, 'kernel');
  await mkdir(root, { recursive: true });
  for (const name of await findKernelPackages()) await downloadPackage(name, root);
  const image = readdirSync(path.join(root, 'boot')).find((name) => name.startsWith('vmlinuz-'));
  if (image === undefined) throw new Error('the kernel package holds no boot/vmlinuz-*');

  const entries = [
    ...(await describeSystem()),
    ...(await describeModules(root)),
    ...(await collectAgent(work)),
  ];
  const finished = path.join(work, 'finished');
  await mkdir(finished);
  await rename(path.join(root, 'boot', image), path.join(finished, 'vmlinuz'));
  // Unpacking a compressed archive takes an emulated CPU longer than reading a plain one.
  await writeFile(
    path.join(finished, 'initramfs.cpio'),
    buildArchive([...listFolders(entries), ...entries]),
  );
}

async function describeSystem(): Promise<ArchiveEntry[]> {
  const busybox = (await runCommand('sh', ['-c', 'command -v busybox'])).trim();
  const applets = (await runCommand(busybox, ['--list'])).trim().split('\n');
  const init = readFileSync(path.join(import.meta.dirname, 'guest/init.sh'));
  const emptyFolders = ['dev', 'proc', 'sys'];
  return [
    ...emptyFolders.map((name): ArchiveEntry => ({
      path: name,
      kind: 'folder',
      content: Buffer.alloc(0),
    })),
    { path: 'init', kind: 'file', content: init, executable: true },
    { path: 'bin/busybox', kind: 'file', content: readFileSync(busybox), executable: true },
    ...applets
      .filter((name) => name !== 'busybox')
      .map((name): ArchiveEntry => ({
        path: `bin/${name}`,
        kind: 'link',
        content: Buffer.from('busybox'),
      })),
  ];
}

async function describeModules(root: string): Promise<ArchiveEntry[]> {
  const folder = ['lib/modules', 'usr/lib/modules']
    .map((name) => path.join(root, name))
    .find((name) => existsSync(name));
  if (folder === undefined) throw new Error('the kernel package holds no modules');
  const modules = await collectModules(folder, MODULES);
  const order = modules.map((module) => `${module.name}.ko\n`).join('');
  return [
    { path: 'lib/modules/load-order', kind: 'file', content: Buffer.from(order) },
    ...modules.map((module): ArchiveEntry => ({
      path: `lib/modules/${module.name}.ko`,
      kind: 'file',
      content: module.bytes,
    })),
  ];
}

/** Every folder above the entries, outer ones first. */
function listFolders(entries: readonly ArchiveEntry[]): ArchiveEntry[] {
  const folders = new Set<string>();
  for (const entry of entries) {
    const parts = entry.path.split('/').slice(0, -1);
    parts.forEach((_, index) => folders.add(parts.slice(0, index + 1).join('/')));
  }
  return [...folders]
    .sort()
    .map((name) => ({ path: name, kind: 'folder', content: Buffer.alloc(0) }));
}

/** Takes away what builds that were killed left behind; one that still runs is younger than this. */
async function removeAbandoned(cache: string): Promise<void> {
  for (const name of readdirSync(cache).filter((entry) => entry.startsWith(BUILDING_PREFIX))) {
    const folder = path.join(cache, name);
    if ((await stat(folder)).mtimeMs < Date.now() - ABANDONED_AFTER_MS) {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

/** Puts the finished folder in place; another process may have been faster with the same one. */
async function publish(work: string, folder: string): Promise<void> {
  const finished = path.join(work, 'finished');
  // QEMU reads these as a user of its own.
  await chmod(finished, 0o755);
  for (const name of readdirSync(finished)) await chmod(path.join(finished, name), 0o644);
  try {
    await rename(finished, folder);
  } catch (error) {
    if (!existsSync(path.join(folder, 'initramfs.cpio'))) throw error;
  }
}
