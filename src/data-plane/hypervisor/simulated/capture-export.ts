import { open, type FileHandle } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { OperationError } from '../../../shared/errors.ts';
import type { NbdExport } from '../../nbd/exports.ts';
import type { VmChange } from './faults.ts';
import {
  BLOCK_BYTES,
  imageExtents,
  inodeOf,
  presenceOffset,
  type ImageExtent,
} from './image-file.ts';
import type { SimulationStore } from './simulation-store.ts';

/** One file as it was at the captured instant. */
export interface CapturedFile {
  readonly sizeBytes: number;
  readInto(offset: number, target: Uint8Array): Promise<void>;
  extents(offset: number, lengthBytes: number): Promise<readonly ImageExtent[]>;
  close(): Promise<void>;
}

/** Without a copy-before-write file the content is read as it is. */
export async function openCapturedFile(
  store: SimulationStore,
  file: { imagePath: string; cowPath: string | null },
): Promise<CapturedFile> {
  const image = await open(file.imagePath, 'r');
  const cow = file.cowPath === null ? null : await open(file.cowPath, 'r');
  const status = await image.stat({ bigint: true });
  const sizeBytes = Number(status.size);
  return {
    sizeBytes,
    async readInto(offset, target) {
      // The image comes first and the notes second: see overwriteImage.
      await readFully(image, target, offset);
      if (cow) await replaceKeptBlocks(cow, { offset, target, sizeBytes });
    },
    extents: async (offset, lengthBytes) =>
      await Promise.resolve(imageExtents(store, inodeOf(status), offset, lengthBytes)),
    async close() {
      await image.close();
      await cow?.close();
    },
  };
}

async function readFully(handle: FileHandle, target: Uint8Array, offset: number): Promise<void> {
  let done = 0;
  while (done < target.length) {
    const { bytesRead } = await handle.read(target, done, target.length - done, offset + done);
    if (bytesRead === 0) {
      target.fill(0, done);
      return;
    }
    done += bytesRead;
  }
}

async function replaceKeptBlocks(
  cow: FileHandle,
  range: { offset: number; target: Uint8Array; sizeBytes: number },
): Promise<void> {
  const { offset, target, sizeBytes } = range;
  const first = Math.floor(offset / BLOCK_BYTES);
  const last = Math.floor((offset + target.length - 1) / BLOCK_BYTES);
  const notes = new Uint8Array(last - first + 1);
  await readFully(cow, notes, presenceOffset(sizeBytes) + first);
  for (const [index, note] of notes.entries()) {
    if (note !== 1) continue;
    const blockStart = (first + index) * BLOCK_BYTES;
    const from = Math.max(offset, blockStart);
    const to = Math.min(offset + target.length, blockStart + BLOCK_BYTES);
    await readFully(cow, target.subarray(from - offset, to - offset), from);
  }
}

/** What the faults of this capture do to the world outside one read. */
export interface ExportEffects {
  disconnect(): void;
  changeVm(change: VmChange): void;
}

/** A read-only export of one captured disk, with the faults that are armed for it. */
export function createCaptureExport(
  store: SimulationStore,
  disk: { vmId: string; target: string; file: CapturedFile },
  effects: ExportEffects,
): NbdExport {
  const { vmId, target, file } = disk;
  let servedBytes = 0;
  const checkFaults = (offset: number, lengthBytes: number): void => {
    servedBytes += lengthBytes;
    const served = servedBytes;
    const broken = store.takeFault(
      'disk_read_fails',
      vmId,
      (fault) =>
        fault.target === target && fault.offset >= offset && fault.offset < offset + lengthBytes,
    );
    if (broken) {
      throw new OperationError(
        'hypervisor_failed',
        `Disk ${target} cannot be read at ${broken.offset}.`,
      );
    }
    const change = store.takeFault('vm_changes', vmId, (fault) => served >= fault.afterBytes);
    if (change) effects.changeVm(change.change);
    const isCut = store.takeFault(
      'nbd_disconnects',
      vmId,
      (fault) => fault.target === target && served >= fault.afterBytes,
    );
    if (isCut) {
      effects.disconnect();
      throw new OperationError('unreachable', `The export of ${target} is gone.`);
    }
  };
  return {
    sizeBytes: file.sizeBytes,
    readOnly: true,
    async readInto(offset, bytes, signal) {
      checkFaults(offset, bytes.length);
      const slow = store.takeFault('slow_reads', vmId);
      if (slow) {
        const durationMs = (bytes.length / slow.bytesPerSecond) * 1000;
        await delay(durationMs, undefined, signal ? { signal } : {});
      }
      await file.readInto(offset, bytes);
    },
    extents: async (offset, lengthBytes) => await file.extents(offset, lengthBytes),
  };
}
