import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, chown, mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setUp, type Environment } from '../../../scripts/setup/setup.ts';
import { createDisk, type DiskPlan } from './disks.ts';
import { buildDomainXml, type GuestMode } from './domain-xml.ts';
import { folderOf, formatTestName, removeDomain, removeLeftovers } from './leftovers.ts';
import { followSerialLog, type SerialLine, type WaitOptions } from './serial-log.ts';
import { runVirsh } from './virsh.ts';

export interface TestGuestOptions {
  /** A label; the domain's name has the process and a random part besides. */
  readonly name: string;
  /** Take `name` as the domain's name as it is, and never count the VM as a leftover. */
  readonly exactName?: boolean;
  readonly mode?: GuestMode;
  readonly memoryMiB?: number;
  /** `dirty` mode: how much memory is rewritten without end. */
  readonly dirtyMiB?: number;
  readonly disks?: readonly DiskPlan[];
  /** The real qemu-ga runs in the guest. */
  readonly agent?: boolean;
  readonly uefi?: boolean;
  readonly tpm?: boolean;
  /** A VGA screen, which a screenshot needs. */
  readonly display?: boolean;
  /** Wait until the guest says that it is ready; else return once it was started. */
  readonly waitUntilReady?: boolean;
  readonly start?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface TestGuest {
  /** libvirt's UUID. */
  readonly id: string;
  readonly name: string;
  readonly folder: string;
  /** The XML that the domain was defined with. */
  readonly xml: string;
  readonly serialPath: string;
  /** The number that the next line on the serial port will have. */
  readonly nextLine: number;
  serialLines(since?: number): readonly SerialLine[];
  waitForLine(pattern: RegExp | string, options: WaitOptions): Promise<SerialLine>;
  diskPath(target: string): string;
  destroy(): Promise<void>;
}

const READY_TIMEOUT_MS = 180_000;
const QEMU_USERS = ['libvirt-qemu', 'qemu'];

let environment: Promise<Environment> | undefined;

/** What this process's guests run on; set up, and dead runs cleaned up, at the first call. */
async function prepareEnvironment(): Promise<Environment> {
  environment ??= (async () => {
    const prepared = await setUp([]);
    await removeLeftovers();
    return prepared;
  })();
  return await environment;
}

/** Defines and starts a real VM. The caller has to `destroy` it. */
export async function createTestGuest(options: TestGuestOptions): Promise<TestGuest> {
  const { files, domainType } = await prepareEnvironment().then((prepared) => ({
    files: prepared.guest,
    domainType: prepared.domainType,
  }));
  const random = randomBytes(4).toString('hex');
  const name = options.exactName ? options.name : formatTestName(options.name, process.pid, random);
  const folder = folderOf(name);
  const mode = options.mode ?? 'idle';
  const plans = options.disks ?? [{ target: 'vda', format: 'qcow2', sizeMiB: 64 }];
  const serialPath = path.join(folder, 'serial.log');

  const undo: (() => Promise<unknown>)[] = [];
  if (options.exactName) await makeRoomFor(name);
  try {
    await mkdir(folder);
    undo.unshift(async () => await rm(folder, { recursive: true, force: true }));
    const disks: { target: string; format: 'qcow2' | 'raw'; path: string }[] = [];
    for (const plan of plans) {
      const content =
        plan.content ?? (mode === 'counter' && plan.target === 'vda' ? 'ext4' : 'empty');
      const image = await createDisk(folder, { ...plan, content });
      disks.push({ target: plan.target, format: plan.format, path: image });
    }
    await writeFile(serialPath, '');
    await giveToQemu(folder);

    const id = randomUUID();
    const xml = buildDomainXml({
      name,
      uuid: id,
      domainType,
      memoryMiB: options.memoryMiB ?? 192,
      mode,
      dirtyMiB: options.dirtyMiB ?? 64,
      agent: options.agent ?? false,
      uefi: options.uefi ?? false,
      tpm: options.tpm ?? false,
      display: options.display ?? false,
      disks,
      serialPath,
      nvramPath: path.join(folder, 'nvram.fd'),
      files,
    });
    const xmlPath = path.join(folder, 'domain.xml');
    await writeFile(xmlPath, xml);
    await runVirsh(['define', xmlPath]);
    undo.unshift(async () => await removeDomain(name));
    const serial = await followSerialLog(serialPath);
    undo.unshift(async () => await serial.close());

    if (options.start !== false) {
      await runVirsh(['start', name]);
      if (options.waitUntilReady !== false) {
        await serial.waitForLine('guest ready', {
          timeoutMs: READY_TIMEOUT_MS,
          signal: options.signal,
        });
      }
    }
    return {
      id,
      name,
      folder,
      xml,
      serialPath,
      get nextLine() {
        return serial.next;
      },
      serialLines: (since) => serial.lines(since),
      waitForLine: async (pattern, wait) => await serial.waitForLine(pattern, wait),
      diskPath(target) {
        const disk = disks.find((candidate) => candidate.target === target);
        if (!disk) throw new Error(`${name} has no disk ${target}`);
        return disk.path;
      },
      async destroy() {
        while (undo.length > 0) await undo.shift()?.();
      },
    };
  } catch (error) {
    for (const step of undo) await step();
    throw error;
  }
}

/** A VM that somebody made stays; the folder of one that is gone goes. */
async function makeRoomFor(name: string): Promise<void> {
  const names = await runVirsh(['list', '--all', '--name']);
  if (names.split('\n').includes(name)) throw new Error(`there is a VM named ${name} already`);
  await rm(folderOf(name), { recursive: true, force: true });
}

/** Removes a VM that `createTestGuest` made in another process; others are left alone. */
export async function removeTestGuest(name: string): Promise<boolean> {
  if (!existsSync(folderOf(name))) return false;
  await removeDomain(name);
  await rm(folderOf(name), { recursive: true, force: true });
  return true;
}

/** QEMU's user puts its own files beside the disks: scratch images and sockets of captures. */
async function giveToQemu(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  const accounts = existsSync('/etc/passwd') ? readFileSync('/etc/passwd', 'utf8') : '';
  for (const user of QEMU_USERS) {
    const found = new RegExp(`^${user}:[^:]*:(\\d+):(\\d+):`, 'm').exec(accounts);
    if (found) {
      await chown(folder, Number(found[1]), Number(found[2]));
      return;
    }
  }
}
