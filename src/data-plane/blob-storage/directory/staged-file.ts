import { constants } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { MIB } from '../../../shared/byte-size.ts';
import { hasErrnoCode } from './storage-error.ts';

/** Writes a new file and makes its content durable; removes what it wrote when it fails. */
export type WriteStaged = (staged: string, parts: readonly Uint8Array[]) => Promise<void>;

/** Below this the page cache costs less than the padding. */
const DIRECT_SIZE_MIN_BYTES = MIB;
/** Multiple of every logical block size (open(2), O_DIRECT). */
const ALIGNMENT_BYTES = 4096;
const PIECE_BYTES = 2 * MIB;
const PIECES_KEPT_MAX = 2;
/** What file systems say that cannot write past the page cache, or not in these units. */
const NOT_POSSIBLE = ['EINVAL', 'ENOTSUP', 'EOPNOTSUPP'];

/** V8 backs resizable buffers by whole pages; where it does not, the write says EINVAL. */
const allocateAligned = (): Buffer =>
  Buffer.from(new ArrayBuffer(PIECE_BYTES, { maxByteLength: PIECE_BYTES }));

/**
 * Large contents go past the page cache where the file system can do that: a pack is written once
 * and rarely read soon, and the copy in the cache takes a tenth of a capture's CPU time and memory
 * that the guests of this host want.
 */
export function createStagedWriter(allocatePiece = allocateAligned): WriteStaged {
  const pieces: Buffer[] = [];
  let directWorks = true;

  return async (staged, parts) => {
    const lengthBytes = parts.reduce((sum, part) => sum + part.length, 0);
    if (directWorks && lengthBytes >= DIRECT_SIZE_MIN_BYTES) {
      const piece = pieces.pop() ?? allocatePiece();
      try {
        await writeDirectly({ staged, parts, lengthBytes, piece });
        return;
      } catch (error) {
        if (!NOT_POSSIBLE.some((code) => hasErrnoCode(error, code))) throw error;
        directWorks = false;
        // open(2) may have made the file before it refused the flag.
        await removeQuietly(staged);
      } finally {
        if (pieces.length < PIECES_KEPT_MAX) pieces.push(piece);
      }
    }
    await writeFile(staged, 0, async (file) => {
      for (const part of parts) await writeAll(file, part, null);
    });
  };
}

async function writeDirectly(options: {
  staged: string;
  parts: readonly Uint8Array[];
  lengthBytes: number;
  piece: Buffer;
}): Promise<void> {
  const { staged, parts, lengthBytes, piece } = options;
  await writeFile(staged, constants.O_DIRECT, async (file) => {
    let position = 0;
    let filled = 0;
    const writePiece = async (): Promise<void> => {
      const padded = Math.ceil(filled / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
      piece.fill(0, filled, padded);
      await writeAll(file, piece.subarray(0, padded), position);
      position += padded;
      filled = 0;
    };
    for (const part of parts) {
      const source = Buffer.from(part.buffer, part.byteOffset, part.byteLength);
      for (let start = 0; start < source.length;) {
        const copied = source.copy(piece, filled, start);
        start += copied;
        filled += copied;
        if (filled === piece.length) await writePiece();
      }
    }
    if (filled > 0) await writePiece();
    await file.truncate(lengthBytes);
  });
}

async function writeFile(
  staged: string,
  flags: number,
  write: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const { O_WRONLY, O_CREAT, O_EXCL } = constants;
  const file = await open(staged, O_WRONLY | O_CREAT | O_EXCL | flags, 0o600);
  try {
    try {
      await write(file);
      // A failed sync means the kernel may have dropped the pages: the file is not usable any more.
      await file.datasync();
    } finally {
      await file.close();
    }
  } catch (error) {
    await removeQuietly(staged);
    throw error;
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, at: number | null): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const position = at === null ? null : at + done;
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position);
    done += bytesWritten;
  }
}

/** A staged file that stays is no harm: the next sweep removes it. */
export async function removeQuietly(staged: string): Promise<void> {
  await unlink(staged).catch(() => undefined);
}
