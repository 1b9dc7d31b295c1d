import { randomUUID } from 'node:crypto';
import type { Stats } from 'node:fs';
import { link, mkdir, open, readdir, rename, stat, statfs, unlink } from 'node:fs/promises';
import path from 'node:path';
import { type Clock, systemClock } from '../../../shared/clock.ts';
import { OperationError } from '../../../shared/errors.ts';
import { parseBlobName, parseBlobPrefix } from '../blob-name.ts';
import type { BlobStorage } from '../blob-storage.ts';
import { createStagedWriter, removeQuietly, type WriteStaged } from './staged-file.ts';
import { hasErrnoCode, toStorageError } from './storage-error.ts';

/** Upper case, so that no blob can have this name. */
const STAGING_FOLDER = 'TMP';
/** A put of one pack takes seconds; what is this old belongs to a process that died. */
const STAGED_AGE_MAX_MS = 60 * 60 * 1000;

/** Blobs as files below one folder; the folder is created when it is missing. */
export async function createDirectoryStorage(
  root: string,
  options: { clock?: Clock } = {},
): Promise<BlobStorage> {
  const clock = options.clock ?? systemClock;
  const staging = path.join(root, STAGING_FOLDER);
  try {
    await makeFolder(staging);
  } catch (error) {
    throw toStorageError(error, root);
  }
  const writeStaged = createStagedWriter();
  const pathOf = (name: string): string => path.join(root, ...parseBlobName(name));

  const guarded = async <T>(name: string, action: () => Promise<T>): Promise<T> => {
    try {
      return await action();
    } catch (error) {
      throw toStorageError(error, name);
    }
  };

  return {
    put: async (name, parts, { replace = false } = {}) => {
      const target = pathOf(name);
      await guarded(
        name,
        async () => await putFile({ writeStaged, staging, target, parts, replace }),
      );
    },
    get: async (name, range) => {
      const target = pathOf(name);
      return await guarded(name, async () => await readFileRange(target, range));
    },
    stat: async (name) => {
      const target = pathOf(name);
      return await guarded(name, async () => {
        const found = await statOrNull(target);
        return found?.isFile() ? { sizeBytes: found.size, modifiedAt: found.mtime } : null;
      });
    },
    list: async (prefix) => {
      const segments = parseBlobPrefix(prefix);
      return await guarded(prefix, async () => {
        const found: { name: string; sizeBytes: number }[] = [];
        await listFolder(path.join(root, ...segments), segments, found);
        return found.sort((left, right) => (left.name < right.name ? -1 : 1));
      });
    },
    delete: async (name) => {
      const target = pathOf(name);
      await guarded(name, async () => {
        try {
          await unlink(target);
        } catch (error) {
          if (hasErrnoCode(error, 'ENOENT')) return;
          throw error;
        }
        await syncFolder(path.dirname(target));
      });
    },
    sweep: async () =>
      await guarded(STAGING_FOLDER, async () => await sweepStaging(staging, clock)),
    freeBytes: async () =>
      await guarded(root, async () => {
        const { bavail, bsize } = await statfs(root);
        return bavail * bsize;
      }),
  };
}

interface FilePut {
  readonly writeStaged: WriteStaged;
  readonly staging: string;
  readonly target: string;
  readonly parts: readonly Uint8Array[];
  readonly replace: boolean;
}

async function putFile(put: FilePut): Promise<void> {
  const { writeStaged, staging, target, parts, replace } = put;
  const staged = path.join(staging, randomUUID());
  const folder = path.dirname(target);
  if (!replace && (await statOrNull(target)) !== null) throw nameTaken(target);
  await makeFolder(folder);
  try {
    await writeStaged(staged, parts);
    if (replace) await rename(staged, target);
    else await linkInto(staged, target);
  } catch (error) {
    await removeQuietly(staged);
    throw error;
  }
  await syncFolder(folder);
}

/** link(2) refuses an existing name atomically, which rename(2) does not. */
async function linkInto(staged: string, target: string): Promise<void> {
  try {
    await link(staged, target);
  } catch (error) {
    if (hasErrnoCode(error, 'EEXIST')) throw nameTaken(target);
    const unsupported = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'];
    if (!unsupported.some((code) => hasErrnoCode(error, code))) throw error;
    // File systems without hard links: names that must be exclusive are random or held by one owner.
    if ((await statOrNull(target)) !== null) throw nameTaken(target);
    await rename(staged, target);
    return;
  }
  await unlink(staged);
}

const nameTaken = (target: string): OperationError =>
  new OperationError('name_taken', `A stored file named ${path.basename(target)} exists already.`);

async function readFileRange(
  target: string,
  range: { offset: number; lengthBytes: number } | undefined,
): Promise<Uint8Array> {
  const file = await open(target, 'r');
  try {
    const found = await file.stat();
    const offset = range?.offset ?? 0;
    const lengthBytes = Math.max(
      0,
      Math.min(range?.lengthBytes ?? found.size, found.size - offset),
    );
    const bytes = Buffer.allocUnsafe(lengthBytes);
    let done = 0;
    while (done < lengthBytes) {
      const { bytesRead } = await file.read(bytes, done, lengthBytes - done, offset + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return bytes.subarray(0, done);
  } finally {
    await file.close();
  }
}

async function listFolder(
  folder: string,
  segments: readonly string[],
  found: { name: string; sizeBytes: number }[],
): Promise<void> {
  let entries;
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (error) {
    // Nothing was ever stored below this prefix, or it went away since its parent was read.
    if (hasErrnoCode(error, 'ENOENT') || hasErrnoCode(error, 'ENOTDIR')) return;
    throw error;
  }
  for (const entry of entries) {
    if (segments.length === 0 && entry.name === STAGING_FOLDER) continue;
    const entryPath = path.join(folder, entry.name);
    if (entry.isDirectory()) {
      await listFolder(entryPath, [...segments, entry.name], found);
    } else if (entry.isFile()) {
      const { size } = (await statOrNull(entryPath)) ?? {};
      if (size !== undefined) {
        found.push({ name: [...segments, entry.name].join('/'), sizeBytes: size });
      }
    }
  }
}

async function sweepStaging(staging: string, clock: Clock): Promise<number> {
  let removed = 0;
  for (const name of await readdir(staging)) {
    const staged = path.join(staging, name);
    const found = await statOrNull(staged);
    if (found === null || clock.now().getTime() - found.mtimeMs < STAGED_AGE_MAX_MS) continue;
    await removeQuietly(staged);
    removed += 1;
  }
  return removed;
}

async function statOrNull(target: string): Promise<Stats | null> {
  try {
    return await stat(target);
  } catch (error) {
    if (hasErrnoCode(error, 'ENOENT') || hasErrnoCode(error, 'ENOTDIR')) return null;
    throw error;
  }
}

/** Creates a folder and makes every new name on the way durable. */
async function makeFolder(folder: string): Promise<void> {
  const firstCreated = await mkdir(folder, { recursive: true, mode: 0o700 });
  if (firstCreated === undefined) return;
  const top = path.dirname(firstCreated);
  for (let current = path.dirname(folder); ; current = path.dirname(current)) {
    await syncFolder(current);
    if (current === top || current === path.dirname(current)) return;
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
