import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { CAPTURE_ROOT } from '../../../src/data-plane/hypervisor/libvirt/capture-folder.ts';
import type { TestGuest } from '../guest/create-test-guest.ts';
import { runVirsh } from '../guest/virsh.ts';
import type { TestService } from './start-service.ts';

const namesIn = async (folder: string): Promise<string[]> =>
  existsSync(folder) ? await readdir(folder) : [];

const lines = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);

export const listCheckpoints = async (name: string): Promise<string[]> =>
  lines(await runVirsh(['checkpoint-list', name, '--name']));

/**
 * What captures and restores have left on the host, seen through libvirt's, QEMU's and the file
 * system's eyes; nothing may be left once no job runs. `captureIds` are those whose sockets count,
 * because other services share the folder.
 */
export async function findRemains(
  service: TestService,
  guest: TestGuest,
  captureIds: readonly string[] = [],
): Promise<string[]> {
  const remains: string[] = [];
  for (const folder of [service.scratchFolder, path.join(service.folder, 'run')]) {
    for (const name of await namesIn(folder)) remains.push(path.join(folder, name));
  }
  for (const name of await namesIn(guest.folder)) {
    if (name.includes('.komadori-')) remains.push(path.join(guest.folder, name));
  }
  for (const id of [...captureIds, `resume-${guest.id}`]) {
    const folder = path.join(CAPTURE_ROOT, id);
    if (existsSync(folder)) remains.push(folder);
  }
  if ((await runVirsh(['domstate', guest.name])) === 'shut off') return remains;

  const job = lines(await runVirsh(['domjobinfo', guest.name]))[0] ?? '';
  if (!job.includes('None')) remains.push(`libvirt's job: ${job}`);
  const blockJobs = await runVirsh([
    'qemu-monitor-command',
    guest.name,
    '--hmp',
    'info block-jobs',
  ]);
  if (!blockJobs.includes('No active jobs')) remains.push(`QEMU's jobs: ${blockJobs}`);
  const capabilities = await runVirsh([
    'qemu-monitor-command',
    guest.name,
    '{"execute":"query-migrate-capabilities"}',
  ]);
  if (/"state":true,"capability":"background-snapshot"/.test(capabilities)) {
    remains.push('background-snapshot is still on');
  }
  const checkpoints = await listCheckpoints(guest.name);
  if (checkpoints.length > 1) remains.push(`checkpoints: ${checkpoints.join(', ')}`);
  return remains;
}
