import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { runForBytes } from '../run-command.ts';

export interface KernelModule {
  readonly name: string;
  readonly bytes: Uint8Array;
}

const MODULE_FILE = /^(?<name>.+)\.ko(?<packing>\.xz|\.zst)?$/;

/**
 * The named modules and those they need, each after what it needs. Names that have no file are left
 * out: they are built into the kernel, or the kernel does not have them.
 */
export async function collectModules(
  modulesFolder: string,
  wanted: readonly string[],
): Promise<KernelModule[]> {
  const files = findModuleFiles(modulesFolder);
  const collected = new Map<string, KernelModule>();
  const seen = new Set<string>();
  const visit = async (name: string): Promise<void> => {
    const file = files.get(name);
    if (file === undefined || seen.has(name)) return;
    seen.add(name);
    const bytes = await readModule(file);
    for (const needed of parseDependencies(bytes)) await visit(needed);
    collected.set(name, { name, bytes });
  };
  for (const name of wanted) await visit(name);
  return [...collected.values()];
}

/** What a module's own `.modinfo` says it needs; modules.dep does not exist before installation. */
export function parseDependencies(bytes: Uint8Array): string[] {
  const marker = Buffer.from('\0depends=', 'latin1');
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = buffer.indexOf(marker);
  if (at < 0) return [];
  const start = at + marker.length;
  const end = buffer.indexOf(0, start);
  const list = buffer.toString('latin1', start, end < 0 ? buffer.length : end);
  return list.split(',').filter(Boolean).map(normalName);
}

function findModuleFiles(folder: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const match = MODULE_FILE.exec(path.basename(file));
    if (match?.groups?.['name'] !== undefined) {
      files.set(normalName(match.groups['name']), path.join(folder, file));
    }
  }
  return files;
}

async function readModule(file: string): Promise<Uint8Array> {
  const packed = readFileSync(file);
  if (file.endsWith('.zst')) return zstdDecompressSync(packed);
  if (file.endsWith('.xz')) return await runForBytes('busybox', ['unxz', '-c'], { input: packed });
  return packed;
}

/** File names may have dashes where the kernel's own name has underscores. */
function normalName(name: string): string {
  return name.replaceAll('-', '_');
}
