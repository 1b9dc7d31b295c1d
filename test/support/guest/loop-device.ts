import { open } from 'node:fs/promises';
import { runCommand } from '../../../scripts/setup/run-command.ts';

export interface LoopDevice {
  /** For example `/dev/loop3`. */
  readonly path: string;
  detach(): Promise<void>;
}

const MIB = 1024 * 1024;

/** A real block device above a file; the file goes with its folder, the device must be detached. */
export async function createLoopDevice(file: string, sizeMiB: number): Promise<LoopDevice> {
  const handle = await open(file, 'wx', 0o600);
  await handle.truncate(sizeMiB * MIB);
  await handle.close();
  const path = (await runCommand('losetup', ['--find', '--show', file])).trim();
  return {
    path,
    async detach() {
      await runCommand('losetup', ['--detach', path]);
    },
  };
}
