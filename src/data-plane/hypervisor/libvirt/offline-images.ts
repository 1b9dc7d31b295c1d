import { stat } from 'node:fs/promises';
import path from 'node:path';
import { OperationError } from '../../../shared/errors.ts';
import type { DiskDescription } from '../../../shared/inventory.ts';
import { openNbdClient, type NbdClient } from '../../nbd/client.ts';
import type { CapturedDisk } from '../driver.ts';
import { runProgram } from './run-program.ts';

const START_TIMEOUT_MS = 30_000;
/** Connections per image: the engine's pool plus the one that keeps the server alive. */
const CLIENTS_MAX = 16;

export interface OfflineImages {
  readonly disks: readonly CapturedDisk[];
  /** Throws `guest_changed` when an image was written to since it was opened. */
  checkUnchanged(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Serves the images of a VM that is off, without a lock, so that the VM can be started at any
 * moment (the start wins, and the caller must notice). qemu-nbd ends with its last client; one
 * connection is held open here, so the server ends with this process however that dies.
 */
export async function openOfflineImages(options: {
  disks: readonly DiskDescription[];
  socketFolder: string;
  signal?: AbortSignal | undefined;
}): Promise<OfflineImages> {
  const holders: NbdClient[] = [];
  const disks: CapturedDisk[] = [];
  const stamps = new Map<string, string>();
  const close = async (): Promise<void> => {
    await Promise.all(holders.map(async (client) => await client.close()));
  };
  try {
    for (const [index, disk] of options.disks.entries()) {
      if (disk.path === null) {
        throw new OperationError(
          'unsupported_disk',
          `Disk ${disk.target} has no file or device to read.`,
        );
      }
      for (const file of [disk.path, ...disk.backingPaths]) stamps.set(file, await readStamp(file));
      const socketPath = path.join(options.socketFolder, `offline-${index}.sock`);
      await serveImage({ disk, imagePath: disk.path, socketPath, signal: options.signal });
      holders.push(
        await openNbdClient({
          address: { socketPath },
          exportName: disk.target,
          signal: options.signal,
        }),
      );
      disks.push({
        target: disk.target,
        sizeBytes: disk.sizeBytes,
        nbd: { socketPath, exportName: disk.target },
        dirtyContext: null,
      });
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    disks,
    close,
    async checkUnchanged() {
      for (const [file, stamp] of stamps) {
        if ((await readStamp(file)) !== stamp) {
          throw new OperationError(
            'guest_changed',
            `${file} was written to while it was captured; take the snapshot again.`,
          );
        }
      }
    },
  };
}

async function serveImage(options: {
  disk: DiskDescription;
  imagePath: string;
  socketPath: string;
  signal?: AbortSignal | undefined;
}): Promise<void> {
  const { disk, imagePath, socketPath, signal } = options;
  await runProgram(
    'qemu-nbd',
    [
      '--fork',
      '--read-only',
      `--shared=${CLIENTS_MAX}`,
      `--socket=${socketPath}`,
      `--export-name=${disk.target}`,
      '--image-opts',
      formatImageOptions(disk.format, imagePath),
    ],
    { timeoutMs: START_TIMEOUT_MS, signal },
  );
}

/** QEMU's option syntax doubles commas inside values. */
function formatImageOptions(format: string, imagePath: string): string {
  return `driver=${format},file.filename=${imagePath.replaceAll(',', ',,')},force-share=on`;
}

/** Changes whenever content or identity of a file changes. */
async function readStamp(file: string): Promise<string> {
  const status = await stat(file, { bigint: true });
  return [status.dev, status.ino, status.size, status.mtimeNs, status.ctimeNs].join(':');
}
