import { chmod, chown, open, rename, rm, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import { OperationError } from '../../../shared/errors.ts';
import { hasErrorCode } from './file-errors.ts';

export interface StagedFile {
  readonly path: string;
  readonly stagedPath: string;
  readonly asidePath: string;
  readonly replaces: boolean;
  /** Identity of the staged file once it is written: undo removes this very file and no other. */
  readonly inode: string | null;
}

/** The names of one restore's files stand beside the image, so that every move is a rename. */
export function stagedFileFor(filePath: string, restoreId: string, replaces: boolean): StagedFile {
  const base = path.join(
    path.dirname(filePath),
    `.${path.basename(filePath)}.komadori-${restoreId}`,
  );
  return {
    path: filePath,
    stagedPath: `${base}.new`,
    asidePath: `${base}.old`,
    replaces,
    inode: null,
  };
}

export const exists = async (filePath: string): Promise<boolean> =>
  (await readInode(filePath)) !== null;

export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export async function syncFile(filePath: string): Promise<void> {
  const handle = await open(filePath, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Gives a staged file the owner and mode of the file it will replace. */
export async function copyOwnership(file: StagedFile): Promise<void> {
  if (!file.replaces) return;
  const original = await stat(file.path);
  await chown(file.stagedPath, original.uid, original.gid);
  await chmod(file.stagedPath, original.mode & 0o777);
}

/**
 * First every old file moves aside, then the definition changes, then every new file moves in.
 * In between the VM lacks a disk and cannot start: at no point can a mixture of old and new run
 * (invariant 5). Every step may be repeated after a crash.
 */
export async function moveAllAside(files: readonly StagedFile[]): Promise<void> {
  for (const file of files) {
    if (!file.replaces || !(await exists(file.stagedPath)) || (await exists(file.asidePath)))
      continue;
    if (await exists(file.path)) await rename(file.path, file.asidePath);
  }
  await syncFoldersOf(files);
}

export async function moveAllIn(files: readonly StagedFile[]): Promise<void> {
  for (const file of files) {
    if (!(await exists(file.stagedPath))) continue;
    if (await exists(file.path)) {
      throw new OperationError(
        'guest_changed',
        `${file.path} appeared during the restore; it was left alone.`,
      );
    }
    await rename(file.stagedPath, file.path);
  }
  await syncFoldersOf(files);
}

/** The way back from any point: new files leave first, then the old ones return. */
export async function moveAllBack(files: readonly StagedFile[]): Promise<void> {
  for (const file of files) {
    await rm(file.stagedPath, { force: true });
    if (file.inode !== null && (await readInode(file.path)) === file.inode) await unlink(file.path);
  }
  for (const file of files) {
    if (!file.replaces || !(await exists(file.asidePath))) continue;
    if (await exists(file.path)) {
      throw new OperationError(
        'guest_changed',
        `${file.path} was written by somebody else; the original image waits in ${file.asidePath}.`,
      );
    }
    await rename(file.asidePath, file.path);
  }
  await syncFoldersOf(files);
}

/** Device and inode number of a file, null when there is none. */
export async function readInode(filePath: string): Promise<string | null> {
  try {
    const status = await stat(filePath, { bigint: true });
    return `${status.dev}:${status.ino}`;
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return null;
    throw error;
  }
}

export async function removeAside(files: readonly StagedFile[]): Promise<void> {
  for (const file of files) {
    await unlink(file.asidePath).catch((error: unknown) => {
      if (!hasErrorCode(error, 'ENOENT')) throw error;
    });
  }
  await syncFoldersOf(files);
}

async function syncFoldersOf(files: readonly StagedFile[]): Promise<void> {
  for (const folder of new Set(files.map((file) => path.dirname(file.path))))
    await syncFolder(folder);
}
