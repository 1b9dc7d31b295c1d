import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, stat, truncate } from 'node:fs/promises';
import path from 'node:path';
import { GIB, MIB } from '../../src/shared/byte-size.ts';
import { runCommand, say, tryCommand } from '../setup/run-command.ts';

const DEFAULT_CACHE = '/var/cache/komadori-guests';
/** Real files, as every machine has them; taken in this order until there are enough. */
const SOURCES = [
  '/usr',
  path.resolve(import.meta.dirname, '../../node_modules'),
  '/opt',
  '/var/lib',
];
const WANTED_BYTES = 4.5 * GIB;
const LIMIT_MS = 15 * 60_000;

export interface BigDisk {
  readonly rawPath: string;
  readonly sizeBytes: number;
  /** What the file takes on disk: the rest are holes. */
  readonly allocatedBytes: number;
}

/**
 * A raw image with an ext4 file system full of copies of this machine's own files. Made once and
 * kept beside the guests, so that runs on one machine are about the same bytes.
 */
export async function ensureBigDisk(quick: boolean): Promise<BigDisk> {
  const cache = process.env['KOMADORI_GUEST_CACHE'] ?? DEFAULT_CACHE;
  const rawPath = path.join(cache, quick ? 'bench-quick.raw' : 'bench.raw');
  if (!existsSync(rawPath)) {
    await mkdir(cache, { recursive: true });
    await buildBigDisk(rawPath, quick ? WANTED_BYTES / 15 : WANTED_BYTES, quick);
  }
  const { size, blocks } = await stat(rawPath);
  return { rawPath, sizeBytes: size, allocatedBytes: blocks * 512 };
}

async function buildBigDisk(rawPath: string, wantedBytes: number, quick: boolean): Promise<void> {
  say(`making ${rawPath} out of files of this machine`);
  const work = await mkdtemp(path.join(path.dirname(rawPath), 'bench-'));
  try {
    let gatheredBytes = 0;
    for (const source of quick ? ['/usr/bin', '/usr/share', '/usr/lib/python3'] : SOURCES) {
      if (gatheredBytes >= wantedBytes || !existsSync(source)) continue;
      gatheredBytes += await gather(source, path.join(work, 'files', source.replaceAll('/', '_')));
    }
    const image = path.join(work, 'image');
    const sizeBytes = Math.ceil((gatheredBytes * 1.1 + 512 * MIB) / GIB) * GIB;
    await runCommand('touch', [image]);
    await truncate(image, sizeBytes);
    const options = ['-q', '-F', '-E', 'lazy_itable_init=0', '-d', path.join(work, 'files')];
    await runCommand('mkfs.ext4', [...options, image], { timeoutMs: LIMIT_MS });
    await rename(image, rawPath);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/**
 * Copies a folder and answers with its bytes. Hard links instead would be free, but mkfs looks each
 * of them up in a list of all the others.
 */
async function gather(source: string, target: string): Promise<number> {
  await mkdir(path.dirname(target), { recursive: true });
  const options = { timeoutMs: LIMIT_MS };
  // Sockets and files that go away while they are copied are not missed.
  await tryCommand('cp', ['-ax', '--reflink=auto', source, target], options);
  const size = await tryCommand('du', ['-sxB1', target], options);
  return Number.parseInt(size.stdout, 10);
}
