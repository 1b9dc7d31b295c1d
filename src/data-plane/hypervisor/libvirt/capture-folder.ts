import { chmod, chown, mkdir, rm } from 'node:fs/promises';
import path from 'node:path';

/**
 * Sockets of captures live below libvirt's own state folder: QEMU's user may go there, and UNIX
 * socket paths must stay short (107 bytes).
 */
export const CAPTURE_ROOT = '/var/lib/libvirt/qemu/komadori';

export interface CaptureFolder {
  readonly path: string;
  readonly nbdSocketPath: string;
  readonly memorySocketPath: string;
}

export const captureFolderFor = (captureId: string): CaptureFolder => {
  const folder = path.join(CAPTURE_ROOT, captureId);
  return {
    path: folder,
    nbdSocketPath: path.join(folder, 'nbd.sock'),
    memorySocketPath: path.join(folder, 'memory.sock'),
  };
};

export interface EmulatorOwner {
  readonly uid: number;
  readonly gid: number;
}

/** Makes a folder that only root and QEMU's user may enter. */
export async function makeEmulatorFolder(folder: string, owner: EmulatorOwner): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await chmod(folder, 0o700);
  await chown(folder, owner.uid, owner.gid);
}

export async function makeCaptureFolder(
  captureId: string,
  owner: EmulatorOwner,
): Promise<CaptureFolder> {
  await mkdir(CAPTURE_ROOT, { recursive: true, mode: 0o755 });
  const folder = captureFolderFor(captureId);
  await rm(folder.path, { recursive: true, force: true });
  await makeEmulatorFolder(folder.path, owner);
  return folder;
}
