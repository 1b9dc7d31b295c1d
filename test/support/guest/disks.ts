import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { runCommand } from '../../../scripts/setup/run-command.ts';

export interface DiskPlan {
  /** `vda`, `vdb`, … */
  readonly target: string;
  readonly format: 'qcow2' | 'raw';
  readonly sizeMiB: number;
  /** Puts the contents into a base image and an empty qcow2 overlay above it. */
  readonly backing?: boolean;
  /** `counter` mode keeps its count on an ext4 file system on vda. */
  readonly content?: 'empty' | 'ext4' | 'random';
  /** How much of a `random` disk is filled, from its middle on; a quarter by default. */
  readonly filledMiB?: number;
}

const MIB = 1024 * 1024;
const CONVERT_TIMEOUT_MS = 10 * 60_000;

/** Makes the image files of a disk and returns the path of the one the guest writes to. */
export async function createDisk(folder: string, plan: DiskPlan): Promise<string> {
  if (plan.backing && plan.format === 'raw') throw new Error('a raw image cannot have a base');
  const raw = path.join(folder, `${plan.target}.raw`);
  await createRawImage(raw, plan);
  if (plan.format === 'raw') return raw;

  const image = path.join(folder, `${plan.target}.qcow2`);
  const base = plan.backing ? path.join(folder, `${plan.target}-base.qcow2`) : image;
  await runCommand('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, base]);
  await rm(raw);
  if (plan.backing) {
    await runCommand('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', base, image]);
  }
  return image;
}

async function createRawImage(raw: string, plan: DiskPlan): Promise<void> {
  const file = await open(raw, 'wx', 0o644);
  try {
    await file.truncate(plan.sizeMiB * MIB);
    if (plan.content === 'random') {
      const filledMiB = Math.min(plan.filledMiB ?? plan.sizeMiB / 4, plan.sizeMiB);
      const firstMiB = Math.floor((plan.sizeMiB - filledMiB) / 2);
      for (let at = 0; at < filledMiB; at += 1) {
        await file.write(randomBytes(MIB), 0, MIB, (firstMiB + at) * MIB);
      }
    }
  } finally {
    await file.close();
  }
  if (plan.content === 'ext4') {
    await runCommand('mkfs.ext4', ['-q', '-F', '-E', 'lazy_itable_init=0', raw]);
  }
}

/**
 * SHA-256 over the whole virtual disk of a stopped guest, read by qemu-img alone, so that it can
 * judge what our own code read or wrote.
 */
export async function readDiskIndependently(image: string): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'komadori-disk-'));
  try {
    const raw = path.join(folder, 'disk.raw');
    await runCommand('qemu-img', ['convert', '-O', 'raw', image, raw], {
      timeoutMs: CONVERT_TIMEOUT_MS,
    });
    const digest = createHash('sha256');
    await pipeline(createReadStream(raw, { highWaterMark: MIB }), digest);
    return digest.digest('hex');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
