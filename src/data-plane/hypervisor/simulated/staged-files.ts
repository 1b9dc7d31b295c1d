import { existsSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { OperationError } from '../../../shared/errors.ts';
import type { StagedRestore } from '../driver.ts';
import { readInode } from './image-file.ts';

export type StagedFile = StagedRestore['files'][number];

export function stagedFileFor(filePath: string, restoreId: string): StagedFile {
  const base = path.join(
    path.dirname(filePath),
    `.${path.basename(filePath)}.komadori-${restoreId}`,
  );
  return {
    path: filePath,
    stagedPath: `${base}.new`,
    asidePath: `${base}.old`,
    replaces: existsSync(filePath),
    inode: null,
  };
}

/** Every step may be repeated, and any process may die between two of them. */
export function moveAside(file: StagedFile): void {
  if (!file.replaces || !existsSync(file.stagedPath) || existsSync(file.asidePath)) return;
  if (existsSync(file.path)) renameSync(file.path, file.asidePath);
}

export function moveIn(file: StagedFile): void {
  if (!existsSync(file.stagedPath)) return;
  if (existsSync(file.path)) {
    throw new OperationError(
      'guest_changed',
      `${file.path} appeared during the restore; it was left alone.`,
    );
  }
  renameSync(file.stagedPath, file.path);
}

export function moveAllBack(files: readonly StagedFile[]): void {
  for (const file of files) {
    rmSync(file.stagedPath, { force: true });
    if (file.inode !== null && readInode(file.path) === file.inode) rmSync(file.path);
  }
  for (const file of files) {
    if (!file.replaces || !existsSync(file.asidePath)) continue;
    if (existsSync(file.path)) {
      throw new OperationError(
        'guest_changed',
        `${file.path} was written by somebody else; the original image waits in ${file.asidePath}.`,
      );
    }
    renameSync(file.asidePath, file.path);
  }
}
