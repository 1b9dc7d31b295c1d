import { stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { TestGuest } from '../../test/support/guest/create-test-guest.ts';
import { runVirsh, tryVirsh } from '../../test/support/guest/virsh.ts';
import { hasProgram, runCommand } from '../setup/run-command.ts';
import { BIG_TARGET } from './big-guest.ts';
import { folderBytes } from './measuring.ts';

const LIMIT_MS = 20 * 60_000;

/** Work is measured; what is done before and after it is not. */
export interface Contender {
  readonly name: string;
  /** `ours`, a tool that compresses, or one that shows what reading or copying alone takes. */
  readonly kind: 'ours' | 'peer' | 'floor';
  /** Reads from the running VM, not from the image of one that is off. */
  readonly live: boolean;
  prepare?(): Promise<void>;
  work(): Promise<void>;
  /** Bytes that the work left in its store; null when it keeps none. */
  readonly storedBytes: () => Promise<number | null>;
  cleanUp?(): Promise<void>;
}

export interface PeerSetting {
  readonly guest: TestGuest;
  readonly rawPath: string;
  makeFolder(label: string): Promise<string>;
  removeFolder(folder: string): Promise<void>;
}

/** Those of the peers whose programs are installed. */
export async function listPeers(setting: PeerSetting): Promise<Contender[]> {
  const programs: readonly [program: string, contenders: readonly Contender[]][] = [
    ['nbdcopy', [copyToNowhere(setting)]],
    ['qemu-img', [convertCompressed(setting)]],
    ['virtnbdbackup', [backupWithVirtnbdbackup(setting)]],
    ['restic', [backupWithRestic(setting)]],
    ['borg', [backupWithBorg(setting, 'lz4'), backupWithBorg(setting, 'zstd,1')]],
  ];
  const found: Contender[] = [];
  for (const [program, contenders] of programs) {
    if (await hasProgram(program)) found.push(...contenders);
    else process.stderr.write(`bench: ${program} is not installed; going on without it\n`);
  }
  return found;
}

const run = async (
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<void> => void (await runCommand(program, args, { timeoutMs: LIMIT_MS, env }));

/** libvirt's pull-mode backup of the VM; its beginning and end are outside of what is measured. */
function createExport({ guest }: PeerSetting): {
  uri: string;
  begin(): Promise<void>;
  end(): Promise<void>;
} {
  const socket = path.join(guest.folder, 'peer.sock');
  const scratch = path.join(guest.folder, 'peer-scratch.qcow2');
  return {
    uri: `nbd+unix:///${BIG_TARGET}?socket=${socket}`,
    async begin() {
      const xml = path.join(guest.folder, 'peer-backup.xml');
      await writeFile(
        xml,
        `<domainbackup mode='pull'><server transport='unix' socket='${socket}'/><disks>` +
          `<disk name='${BIG_TARGET}' backup='yes' type='file' exportname='${BIG_TARGET}'>` +
          `<driver type='qcow2'/><scratch file='${scratch}'/></disk></disks></domainbackup>`,
      );
      await runVirsh(['backup-begin', guest.name, '--backupxml', xml]);
    },
    end: async () => void (await tryVirsh(['domjobabort', guest.name])),
  };
}

function copyToNowhere(setting: PeerSetting): Contender {
  const source = createExport(setting);
  return {
    name: 'nbdcopy to nowhere',
    kind: 'floor',
    live: true,
    prepare: async () => await source.begin(),
    work: async () => await run('nbdcopy', [source.uri, 'null:']),
    storedBytes: async () => await Promise.resolve(null),
    cleanUp: async () => await source.end(),
  };
}

function convertCompressed(setting: PeerSetting): Contender {
  const source = createExport(setting);
  let folder = '';
  const target = (): string => path.join(folder, 'image.qcow2');
  const options = ['-f', 'raw', '-O', 'qcow2', '-c', '-o', 'compression_type=zstd'];
  return {
    name: 'qemu-img convert -c (zstd)',
    kind: 'peer',
    live: true,
    async prepare() {
      folder = await setting.makeFolder('convert');
      await source.begin();
    },
    work: async () => await run('qemu-img', ['convert', ...options, source.uri, target()]),
    storedBytes: async () => (await stat(target())).blocks * 512,
    async cleanUp() {
      await source.end();
      await setting.removeFolder(folder);
    },
  };
}

function backupWithVirtnbdbackup(setting: PeerSetting): Contender {
  const { guest } = setting;
  let folder = '';
  return {
    name: 'virtnbdbackup --compress (lz4)',
    kind: 'peer',
    live: true,
    async prepare() {
      folder = await setting.makeFolder('virtnbdbackup');
    },
    async work() {
      const args = ['-d', guest.name, '-l', 'full', '--compress', '-o', path.join(folder, 'out')];
      await run('virtnbdbackup', [...args, '--scratchdir', guest.folder]);
    },
    storedBytes: async () => await folderBytes(path.join(folder, 'out')),
    async cleanUp() {
      await tryVirsh(['domjobabort', guest.name]);
      await tryVirsh(['checkpoint-delete', guest.name, 'virtnbdbackup.0', '--children']);
      await setting.removeFolder(folder);
    },
  };
}

function backupWithRestic(setting: PeerSetting): Contender {
  let folder = '';
  const store = (): string => path.join(folder, 'repository');
  const env = (): Record<string, string> => ({
    RESTIC_PASSWORD: 'bench',
    RESTIC_REPOSITORY: store(),
    RESTIC_CACHE_DIR: path.join(folder, 'cache'),
  });
  return {
    name: 'restic (encrypted)',
    kind: 'peer',
    live: false,
    async prepare() {
      folder = await setting.makeFolder('restic');
      await run('restic', ['init', '--quiet'], env());
    },
    work: async () => await run('restic', ['backup', '--quiet', setting.rawPath], env()),
    storedBytes: async () => await folderBytes(store()),
    cleanUp: async () => await setting.removeFolder(folder),
  };
}

function backupWithBorg(setting: PeerSetting, compression: 'lz4' | 'zstd,1'): Contender {
  let folder = '';
  const store = (): string => path.join(folder, 'repository');
  const env = (): Record<string, string> => ({ BORG_BASE_DIR: path.join(folder, 'base') });
  const options = ['--compression', compression, '--chunker-params', 'fixed,65536'];
  return {
    name: `borg (fixed 64 KiB, ${compression})`,
    kind: 'peer',
    live: false,
    async prepare() {
      folder = await setting.makeFolder('borg');
      await run('borg', ['init', '-e', 'none', store()], env());
    },
    work: async () =>
      await run('borg', ['create', ...options, `${store()}::disk`, setting.rawPath], env()),
    storedBytes: async () => await folderBytes(store()),
    cleanUp: async () => await setting.removeFolder(folder),
  };
}
