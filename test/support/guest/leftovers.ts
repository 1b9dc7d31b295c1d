import { existsSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { runVirsh, tryVirsh } from './virsh.ts';

const IMAGES_FOLDER = '/var/lib/libvirt/images';
const FOLDER_PREFIX = 'komadori-test-';
const TEST_NAME = /^kmd-test-(?:[a-z0-9-]+-)?(?<pid>\d+)-[0-9a-f]{8}/;

/** `kmd-test-LABEL-PID-RANDOM`: whose process is gone can be taken away by anybody. */
export function formatTestName(label: string, pid: number, random: string): string {
  return `kmd-test-${label}-${pid}-${random}`;
}

export function folderOf(name: string): string {
  return path.join(IMAGES_FOLDER, `${FOLDER_PREFIX}${name}`);
}

/** Whether a name is of a test's VM (or of a copy of one) whose process no longer runs. */
export function isLeftover(name: string, runs: (pid: number) => boolean): boolean {
  const pid = TEST_NAME.exec(name)?.groups?.['pid'];
  return pid !== undefined && !runs(Number(pid));
}

/** Removes a VM with everything libvirt keeps about it; one that is not there is no error. */
export async function removeDomain(name: string): Promise<void> {
  // Both fail when there is nothing to stop or to remove, which is what is wanted.
  await tryVirsh(['destroy', name]);
  const removed = await tryVirsh([
    'undefine',
    name,
    '--managed-save',
    '--snapshots-metadata',
    '--checkpoints-metadata',
    '--nvram',
  ]);
  if (removed.exitCode === 0) return;
  const names = await runVirsh(['list', '--all', '--name']);
  if (names.split('\n').includes(name)) {
    throw new Error(`${name} could not be removed: ${removed.stderr.trim()}`);
  }
}

/** Takes away what test processes that were killed left behind. */
export async function removeLeftovers(): Promise<string[]> {
  const names = (await runVirsh(['list', '--all', '--name'])).split('\n').filter(Boolean);
  const domains = names.filter((name) => isLeftover(name, processRuns));
  for (const name of domains) await removeDomain(name);
  const folders = readdirSync(IMAGES_FOLDER).filter(
    (entry) =>
      entry.startsWith(FOLDER_PREFIX) && isLeftover(entry.slice(FOLDER_PREFIX.length), processRuns),
  );
  for (const folder of folders) {
    await rm(path.join(IMAGES_FOLDER, folder), { recursive: true, force: true });
  }
  return [...domains, ...folders];
}

function processRuns(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}
