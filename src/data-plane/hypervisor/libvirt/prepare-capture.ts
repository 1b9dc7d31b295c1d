import { chown, open, rm } from 'node:fs/promises';
import path from 'node:path';
import { OperationError, describeThrown } from '../../../shared/errors.ts';
import type { DiskDescription, VmDescription } from '../../../shared/inventory.ts';
import type { Logger } from '../../../shared/logger.ts';
import { throwIfAborted, waitFor } from '../../../shared/waiting.ts';
import type { CaptureRequest } from '../driver.ts';
import { formatBackupXml, formatCheckpointXml } from './backup-xml.ts';
import {
  captureFolderFor,
  makeCaptureFolder,
  makeEmulatorFolder,
  type CaptureFolder,
  type EmulatorOwner,
} from './capture-folder.ts';
import type { DomainControl } from './domain-control.ts';
import { runProgram } from './run-program.ts';

const SCRATCH_CREATE_TIMEOUT_MS = 30_000;
const FLUSH_TIMEOUT_MS = 30_000;

interface CaptureInput {
  readonly domain: DomainControl;
  readonly vm: VmDescription;
  readonly request: CaptureRequest;
  readonly owner: EmulatorOwner;
  readonly logger: Logger;
}

export interface PreparedCapture {
  readonly folder: CaptureFolder;
  readonly scratchFolder: string;
  readonly disks: readonly DiskDescription[];
  readonly checkpointName: string | null;
  readonly checkpointXml: string | null;
  /** Empties the scratch files, for another backup of the same capture. */
  renewScratch(): Promise<void>;
  formatBackup(incremental: string | null): string;
}

export const checkpointNameFor = (captureId: string): string => `komadori-${captureId}`;

/** Everything that can be done while the guest runs is done here. */
export async function prepareCapture(
  input: CaptureInput,
  signal?: AbortSignal,
): Promise<PreparedCapture> {
  const { request, vm, owner } = input;
  const disks = request.disks.map((target) => {
    const disk = vm.disks.find((candidate) => candidate.target === target);
    if (!disk || disk.obstacle) {
      throw new OperationError(
        'unsupported_disk',
        disk?.obstacle?.reason ?? `${vm.name} has no disk ${target}.`,
        { details: { target } },
      );
    }
    return disk;
  });
  const otherTargets = vm.disks
    .map((disk) => disk.target)
    .filter((target) => !request.disks.includes(target));
  const folder = captureFolderFor(request.captureId);
  const scratchFolder = path.join(request.scratchFolder, request.captureId);
  const scratchPathOf = (target: string): string => path.join(scratchFolder, `${target}.qcow2`);
  const makeScratchFiles = async (): Promise<void> => {
    for (const { target, sizeBytes } of disks) {
      await makeScratchFile({ file: scratchPathOf(target), sizeBytes, owner, signal });
    }
  };
  try {
    await makeCaptureFolder(request.captureId, owner);
    await makeEmulatorFolder(scratchFolder, owner);
    await makeScratchFiles();
  } catch (error) {
    for (const made of [folder.path, scratchFolder]) {
      await rm(made, { recursive: true, force: true });
    }
    throw error;
  }
  const checkpointName = checkpointNameFor(request.captureId);
  const checkpointXml = formatCheckpointXml({ name: checkpointName, disks, otherTargets });
  return {
    folder,
    scratchFolder,
    disks,
    checkpointName: checkpointXml ? checkpointName : null,
    checkpointXml,
    renewScratch: makeScratchFiles,
    formatBackup: (incremental) =>
      formatBackupXml({
        socketPath: folder.nbdSocketPath,
        otherTargets,
        disks: disks.map((disk) => ({
          target: disk.target,
          scratchPath: scratchPathOf(disk.target),
          incremental: disk.format === 'qcow2' ? incremental : null,
        })),
      }),
  };
}

async function makeScratchFile(options: {
  file: string;
  sizeBytes: number;
  owner: EmulatorOwner;
  signal: AbortSignal | undefined;
}): Promise<void> {
  const { file, sizeBytes, owner, signal } = options;
  await runProgram('qemu-img', ['create', '-q', '-f', 'qcow2', file, String(sizeBytes)], {
    timeoutMs: SCRATCH_CREATE_TIMEOUT_MS,
    signal,
  });
  await chown(file, owner.uid, owner.gid);
}

/**
 * Stopping makes QEMU wait until its disks are durable: what is written back now, while the guest
 * runs, is not waited for in the pause.
 */
export async function flushImages(vm: VmDescription, logger: Logger): Promise<void> {
  await Promise.all(
    vm.disks.map(async ({ target, path: image }) => {
      if (image === null) return;
      try {
        await waitFor(flushFile(image), {
          timeoutMs: FLUSH_TIMEOUT_MS,
          what: `Flushing disk ${target}`,
        });
      } catch (error) {
        // The pause may be longer by that, and nothing else.
        logger.debug({ target, reason: describeThrown(error) }, 'a disk was not flushed before');
      }
    }),
  );
}

async function flushFile(image: string): Promise<void> {
  const file = await open(image, 'r');
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}

/**
 * Begins the backup; a parent checkpoint whose bitmap QEMU or libvirt finds broken costs a full
 * read, not the capture. Resolves with whether the dirty maps can be used.
 */
export async function beginBackup(
  input: CaptureInput,
  prepared: PreparedCapture,
  giveUp?: AbortSignal,
): Promise<boolean> {
  const { domain, request, logger } = input;
  const { checkpointXml } = prepared;
  if (request.parentCheckpoint) {
    try {
      await domain.beginBackup({
        backupXml: prepared.formatBackup(request.parentCheckpoint),
        checkpointXml,
      });
      return true;
    } catch (error) {
      throwIfAborted(giveUp);
      logger.info(
        { reason: describeThrown(error) },
        'no usable dirty map; the disks are read in full',
      );
    }
  }
  await domain.beginBackup({ backupXml: prepared.formatBackup(null), checkpointXml });
  return false;
}
