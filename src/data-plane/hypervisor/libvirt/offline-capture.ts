import { readFile, rm } from 'node:fs/promises';
import type { Clock } from '../../../shared/clock.ts';
import { OperationError, describeThrown } from '../../../shared/errors.ts';
import type { VmDescription } from '../../../shared/inventory.ts';
import type { Logger } from '../../../shared/logger.ts';
import type { CaptureRequest, CaptureSession } from '../driver.ts';
import { makeCaptureFolder, type EmulatorOwner } from './capture-folder.ts';
import { hasErrorCode } from './file-errors.ts';
import { openOfflineImages } from './offline-images.ts';
import { readTpmState, tpmStateFolder } from './tpm-state.ts';

export interface OfflineCaptureInput {
  readonly vm: VmDescription;
  readonly request: CaptureRequest;
  readonly owner: EmulatorOwner;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly invalidated: AbortSignal;
  readPersistentXml(): Promise<string>;
}

/** Captures a VM that is off; a start of the VM wins and makes the capture invalid. */
export async function beginOfflineCapture(
  input: OfflineCaptureInput,
  signal?: AbortSignal,
): Promise<CaptureSession> {
  const { vm, request, clock, logger } = input;
  const disks = request.disks.map((target) => {
    const disk = vm.disks.find((candidate) => candidate.target === target);
    if (!disk || disk.obstacle) {
      const reason = disk?.obstacle?.reason ?? `${vm.name} has no disk ${target}.`;
      throw new OperationError('unsupported_disk', reason, { details: { target } });
    }
    return disk;
  });
  const folder = await makeCaptureFolder(request.captureId, input.owner);
  try {
    const images = await openOfflineImages({ disks, socketFolder: folder.path, signal });
    return {
      level: 'offline',
      levelReason: 'The VM was off.',
      capturedAt: clock.now(),
      pauseMs: 0,
      pausePhases: [],
      memoryMode: null,
      vm,
      configuration: {
        liveXml: null,
        persistentXml: await input.readPersistentXml(),
        memoryXml: null,
        nvram: vm.nvramPath === null ? null : await readIfThere(vm.nvramPath),
        tpmState: vm.tpm ? await readTpmState(tpmStateFolder(vm.id)) : null,
      },
      disks: images.disks,
      checkpoint: null,
      memoryDone: Promise.resolve(),
      invalidated: input.invalidated,
      checkStillValid: async () => await images.checkUnchanged(),
      async end() {
        await images.close();
        await rm(folder.path, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await rm(folder.path, { recursive: true, force: true }).catch((cleanUpError: unknown) => {
      logger.warn({ reason: describeThrown(cleanUpError) }, 'cleaning up after a capture failed');
    });
    throw error;
  }
}

export async function readIfThere(path: string): Promise<Uint8Array | null> {
  try {
    return await readFile(path);
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return null;
    throw error;
  }
}
