import { createTestGuest, type TestGuest } from '../../test/support/guest/create-test-guest.ts';
import { runVirsh } from '../../test/support/guest/virsh.ts';
import { runCommand } from '../setup/run-command.ts';
import type { BigDisk } from './big-disk.ts';

const CONVERT_LIMIT_MS = 15 * 60_000;
const BOOT_LIMIT_MS = 120_000;

export const BIG_TARGET = 'vda';

/** A running VM whose disk is a fresh qcow2 copy of the big disk. */
export async function bootBigGuest(
  disk: BigDisk,
  options: { mode: 'idle' | 'dirty'; memoryMiB: number },
): Promise<TestGuest> {
  const guest = await createTestGuest({
    name: 'bench-big',
    ...options,
    dirtyMiB: 16,
    start: false,
    disks: [{ target: BIG_TARGET, format: 'qcow2', sizeMiB: 1 }],
  });
  try {
    const image = guest.diskPath(BIG_TARGET);
    const formats = ['-f', 'raw', '-O', 'qcow2'];
    await runCommand('qemu-img', ['convert', ...formats, disk.rawPath, image], {
      timeoutMs: CONVERT_LIMIT_MS,
    });
    await runVirsh(['start', guest.name]);
    await guest.waitForLine('guest ready', { timeoutMs: BOOT_LIMIT_MS });
    return guest;
  } catch (error) {
    await guest.destroy();
    throw error;
  }
}
