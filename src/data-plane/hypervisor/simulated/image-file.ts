import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import type { ProtectedFile } from './simulated-vm.ts';
import type { SimulationStore } from './simulation-store.ts';

/** What is kept aside before an overwrite, and what is known as written: QEMU's granularity. */
export const BLOCK_BYTES = 64 * 1024;

export const inodeOf = (status: { dev: bigint; ino: bigint }): string =>
  `${status.dev}:${status.ino}`;

export function readInode(filePath: string): string | null {
  const status = statSync(filePath, { bigint: true, throwIfNoEntry: false });
  return status === undefined ? null : inodeOf(status);
}

function withFile<T>(filePath: string, flags: string, work: (descriptor: number) => T): T {
  const descriptor = openSync(filePath, flags);
  try {
    return work(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** A sparse file of zeroes; fails when the path is taken. */
export function createImage(store: SimulationStore, filePath: string, sizeBytes: number): void {
  mkdirSync(path.dirname(filePath), { recursive: true });
  withFile(filePath, 'wx', (descriptor) => {
    ftruncateSync(descriptor, sizeBytes);
    store.registerImage(inodeOf(fstatSync(descriptor, { bigint: true })));
  });
}

/** Reads past the end give zeroes. */
export function readImage(filePath: string, offset: number, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  withFile(filePath, 'r', (descriptor) => readFully(descriptor, bytes, offset));
  return bytes;
}

function readFully(descriptor: number, target: Uint8Array, offset: number): void {
  let done = 0;
  while (done < target.length) {
    const count = readSync(descriptor, target, done, target.length - done, offset + done);
    if (count === 0) return;
    done += count;
  }
}

function writeFully(descriptor: number, bytes: Uint8Array, offset: number): void {
  let done = 0;
  while (done < bytes.length) {
    done += writeSync(descriptor, bytes, done, bytes.length - done, offset + done);
  }
}

/** Where a copy-before-write file says which of its blocks are there: behind all of them, a byte each. */
export const presenceOffset = (sizeBytes: number): number =>
  Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;

export function createCowFile(cowPath: string, sizeBytes: number): void {
  withFile(cowPath, 'w', (descriptor) => {
    ftruncateSync(descriptor, presenceOffset(sizeBytes) + Math.ceil(sizeBytes / BLOCK_BYTES));
  });
}

/**
 * Overwrites part of an image, inside a transaction. Captures get what was there first: the old
 * block, then the note that it is there, then the new content, so that a reader that reads the
 * image before the note never sees new content without the note (see capture-export.ts).
 */
export function overwriteImage(
  store: SimulationStore,
  write: {
    imagePath: string;
    offset: number;
    bytes: Uint8Array;
    protectedBy: readonly ProtectedFile[];
  },
): void {
  const { imagePath, offset, bytes } = write;
  const first = Math.floor(offset / BLOCK_BYTES);
  const last = Math.floor((offset + bytes.length - 1) / BLOCK_BYTES);
  withFile(imagePath, 'r+', (descriptor) => {
    const status = fstatSync(descriptor, { bigint: true });
    const sizeBytes = Number(status.size);
    if (offset + bytes.length > sizeBytes) {
      throw new RangeError(`a write beyond the end of ${imagePath}`);
    }
    for (const file of write.protectedBy) {
      withFile(file.cowPath, 'r+', (cow) => {
        for (let block = first; block <= last; block += 1) {
          keepAside({ image: descriptor, cow, block, sizeBytes });
        }
      });
    }
    writeFully(descriptor, bytes, offset);
    store.markWritten(inodeOf(status), first, last);
  });
}

function keepAside(files: { image: number; cow: number; block: number; sizeBytes: number }): void {
  const { image, cow, block, sizeBytes } = files;
  const noteAt = presenceOffset(sizeBytes) + block;
  const note = Buffer.alloc(1);
  readFully(cow, note, noteAt);
  if (note[0] === 1) return;
  const old = Buffer.alloc(BLOCK_BYTES);
  readFully(image, old, block * BLOCK_BYTES);
  writeFully(cow, old, block * BLOCK_BYTES);
  writeFully(cow, Buffer.of(1), noteAt);
}

export interface ImageExtent {
  readonly offset: number;
  readonly lengthBytes: number;
  readonly zero: boolean;
}

/** Blocks that nobody ever wrote are zero; a file that the simulation did not make is all data. */
export function imageExtents(
  store: SimulationStore,
  inode: string,
  offset: number,
  lengthBytes: number,
): ImageExtent[] {
  const end = offset + lengthBytes;
  const written = store.writtenBlocks(
    inode,
    Math.floor(offset / BLOCK_BYTES),
    Math.floor((end - 1) / BLOCK_BYTES),
  );
  if (written === null) return [{ offset, lengthBytes, zero: false }];
  const extents: { offset: number; lengthBytes: number; zero: boolean }[] = [];
  const append = (from: number, to: number, zero: boolean): void => {
    if (to <= from) return;
    const previous = extents.at(-1);
    if (previous?.zero === zero) previous.lengthBytes += to - from;
    else extents.push({ offset: from, lengthBytes: to - from, zero });
  };
  let position = offset;
  for (const block of written) {
    const from = Math.max(offset, block * BLOCK_BYTES);
    append(position, from, true);
    position = Math.min(end, (block + 1) * BLOCK_BYTES);
    append(from, position, false);
  }
  append(position, end, true);
  return extents;
}
