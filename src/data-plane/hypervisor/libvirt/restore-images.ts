import { chown, mkdir, open, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { OperationError } from '../../../shared/errors.ts';
import type { DiskPlacement, NbdEndpoint, RestoreRequest, StagedRestore } from '../driver.ts';
import { hasErrorCode } from './file-errors.ts';
import { runProgram } from './run-program.ts';
import {
  copyOwnership,
  exists,
  moveAllAside,
  moveAllBack,
  moveAllIn,
  readInode,
  removeAside,
  stagedFileFor,
  syncFile,
  type StagedFile,
} from './staged-files.ts';
import { moveFolder, tpmStateFolder, unpackTpmState } from './tpm-state.ts';

/** A whole disk of many terabytes over a slow repository still fits; a hung copy does not stay for ever. */
const IMAGE_COPY_TIMEOUT_MS = 48 * 3600 * 1000;

export interface ImageOwner {
  readonly uid: number;
  readonly gid: number;
}

export const nbdUri = (endpoint: NbdEndpoint): string =>
  `nbd+unix:///${encodeURIComponent(endpoint.exportName)}?socket=${encodeURIComponent(endpoint.socketPath)}`;

/** Copies an NBD export into a new image file with `qemu-img convert` and makes it durable. */
export async function writeImage(
  disk: Pick<DiskPlacement, 'source' | 'format'>,
  targetPath: string,
  signal?: AbortSignal,
): Promise<void> {
  // Made here for its mode: qemu-img would let everybody read the disk while it is written.
  try {
    await (await open(targetPath, 'wx', 0o600)).close();
  } catch (error) {
    if (!hasErrorCode(error, 'EEXIST')) throw error;
    throw new OperationError('name_taken', `${targetPath} exists already; choose another name.`, {
      cause: error,
    });
  }
  await runProgram(
    'qemu-img',
    ['convert', '-f', 'raw', '-O', disk.format, '-W', '-m', '8', nbdUri(disk.source), targetPath],
    { timeoutMs: IMAGE_COPY_TIMEOUT_MS, signal },
  );
  await syncFile(targetPath);
}

/** Overwrites an existing image or device, zeroes included. */
export async function overwriteInPlace(disk: DiskPlacement, signal?: AbortSignal): Promise<void> {
  await runProgram(
    'qemu-img',
    [
      'convert',
      '-n',
      '-f',
      'raw',
      '-O',
      disk.format,
      '-W',
      '-m',
      '8',
      '-t',
      'writeback',
      nbdUri(disk.source),
      disk.path,
    ],
    { timeoutMs: IMAGE_COPY_TIMEOUT_MS, signal },
  );
  await syncFile(disk.path);
}

/** What a restore will do, without an effect; `nvramPath` is where the new definition expects NVRAM. */
export async function planStaging(
  request: RestoreRequest,
  options: { nvramPath: string | null; oldXml: string | null },
): Promise<StagedRestore> {
  const paths = request.disks.filter((disk) => !disk.inPlace).map((disk) => disk.path);
  if (request.nvram && options.nvramPath) paths.push(options.nvramPath);
  const files: StagedFile[] = [];
  for (const filePath of paths) {
    const isThere = await exists(filePath);
    if (isThere && request.isNewVm) {
      throw new OperationError(
        'name_taken',
        `${filePath} exists already; choose another name or folder.`,
      );
    }
    files.push(stagedFileFor(filePath, request.restoreId, isThere));
  }
  const folder = tpmStateFolder(request.vmId);
  return {
    vmId: request.vmId,
    restoreId: request.restoreId,
    files,
    tpm: request.tpmState
      ? {
          path: folder,
          stagedPath: `${folder}.komadori-${request.restoreId}.new`,
          asidePath: `${folder}.komadori-${request.restoreId}.old`,
        }
      : null,
    inPlace: request.disks.filter((disk) => disk.inPlace),
    newXml: request.xml,
    oldXml: options.oldXml,
  };
}

/** Writes everything that `planStaging` named, beside what is in use. */
export async function writeStaged(
  staged: StagedRestore,
  request: RestoreRequest,
  owner: ImageOwner,
  signal?: AbortSignal,
): Promise<StagedRestore> {
  const files: StagedFile[] = [];
  for (const file of staged.files) {
    await mkdir(path.dirname(file.path), { recursive: true });
    const disk = request.disks.find((candidate) => candidate.path === file.path);
    await rm(file.stagedPath, { force: true });
    if (disk) await writeImage(disk, file.stagedPath, signal);
    else if (request.nvram)
      await writeFile(file.stagedPath, request.nvram, { mode: 0o600, flush: true });
    if (file.replaces) await copyOwnership(file);
    else await chown(file.stagedPath, owner.uid, owner.gid);
    files.push({ ...file, inode: await readInode(file.stagedPath) });
  }
  if (staged.tpm && request.tpmState) {
    await unpackTpmState(request.tpmState, staged.tpm.stagedPath, owner);
  }
  return { ...staged, files };
}

/**
 * Moves the staged content in; `define` runs when the old content is aside and the new is not yet in place.
 */
export async function commitStaged(
  staged: StagedRestore,
  define: () => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  await moveAllAside(staged.files);
  if (staged.tpm && (await exists(staged.tpm.stagedPath))) {
    if (!(await exists(staged.tpm.asidePath)))
      await moveFolder(staged.tpm.path, staged.tpm.asidePath);
    await moveFolder(staged.tpm.stagedPath, staged.tpm.path);
  }
  await define();
  for (const disk of staged.inPlace) await overwriteInPlace(disk, signal);
  await moveAllIn(staged.files);
}

export async function undoStaged(
  staged: StagedRestore,
  defineOld: () => Promise<void>,
): Promise<void> {
  if (staged.tpm) {
    await rm(staged.tpm.stagedPath, { recursive: true, force: true });
    if (await exists(staged.tpm.asidePath)) {
      await rm(staged.tpm.path, { recursive: true, force: true });
      await moveFolder(staged.tpm.asidePath, staged.tpm.path);
    }
  }
  await defineOld();
  await moveAllBack(staged.files);
}

export async function removeStaged(staged: StagedRestore): Promise<void> {
  for (const file of staged.files) await rm(file.stagedPath, { force: true });
  if (staged.tpm) await rm(staged.tpm.stagedPath, { recursive: true, force: true });
}

export async function discardStagedLeftovers(staged: StagedRestore): Promise<void> {
  await removeAside(staged.files);
  if (staged.tpm) await rm(staged.tpm.asidePath, { recursive: true, force: true });
}
