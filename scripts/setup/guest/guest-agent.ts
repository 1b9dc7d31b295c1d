import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { runCommand } from '../run-command.ts';
import { downloadPackage } from './debian-packages.ts';
import type { ArchiveEntry } from './cpio.ts';

const AGENT_PATHS = ['usr/sbin/qemu-ga', 'usr/bin/qemu-ga'];

/**
 * The real qemu-ga and every library it loads. The package is unpacked, not installed; libraries
 * come from this machine (QEMU needs nearly the same ones) and else from their packages.
 */
export async function collectAgent(workFolder: string): Promise<ArchiveEntry[]> {
  const root = path.join(workFolder, 'agent');
  await mkdir(root, { recursive: true });
  await downloadPackage('qemu-guest-agent', root);
  const agent = AGENT_PATHS.map((name) => path.join(root, name)).find((file) => existsSync(file));
  if (agent === undefined) throw new Error('the package qemu-guest-agent holds no qemu-ga');

  let loaded = parseLoaded(await listLibraries(agent, root));
  if (loaded.missing.length > 0) {
    for (const name of await listDependencies('qemu-guest-agent')) {
      await downloadPackage(name, root);
    }
    loaded = parseLoaded(await listLibraries(agent, root));
  }
  if (loaded.missing.length > 0) {
    throw new Error(`qemu-ga needs ${loaded.missing.join(', ')}, which no package brought`);
  }
  const files = [
    { path: 'usr/sbin/qemu-ga', source: agent },
    ...loaded.files.map((file) => ({ path: libraryPath(file, root), source: file })),
  ];
  return files.map((file) => ({
    path: file.path,
    kind: 'file',
    content: readFileSync(file.source),
    executable: true,
  }));
}

/** Reads what `ldd` prints: `name => /path (address)`, `/path (address)` or `name => not found`. */
export function parseLoaded(ldd: string): { files: string[]; missing: string[] } {
  const lines = ldd.split('\n');
  return {
    files: lines.flatMap((line) => /(?:=> |^\s*)(\/\S+) \(0x/.exec(line)?.[1] ?? []),
    missing: lines.flatMap((line) => /^\s*(\S+) => not found/.exec(line)?.[1] ?? []),
  };
}

/** Where a library goes in the guest: its loader looks in the same places as ours. */
function libraryPath(file: string, root: string): string {
  const relative = file.startsWith(`${root}/`) ? file.slice(root.length + 1) : file.slice(1);
  return relative.replace(/^usr\/lib\//, 'lib/');
}

async function listLibraries(program: string, root: string): Promise<string> {
  const folders = ['lib', 'usr/lib'].map((name) => path.join(root, name, 'x86_64-linux-gnu'));
  return await runCommand('ldd', [program], { env: { LD_LIBRARY_PATH: folders.join(':') } });
}

async function listDependencies(name: string): Promise<string[]> {
  const listed = await runCommand('apt-cache', ['depends', '--important', name]);
  return [...listed.matchAll(/^ {2}Depends: ([a-z0-9][a-z0-9.+-]+)$/gm)].flatMap(
    (match) => match[1] ?? [],
  );
}
