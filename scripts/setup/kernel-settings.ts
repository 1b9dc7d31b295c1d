import { readFileSync, writeFileSync } from 'node:fs';
import { say } from './run-command.ts';

const USERFAULTFD = '/proc/sys/vm/unprivileged_userfaultfd';

/**
 * QEMU runs as a user of its own, which may write-protect a guest's memory only with this setting.
 * Without it snapshots with memory still work, with a longer pause.
 */
export function allowBackgroundSnapshots(): void {
  let current: string;
  try {
    current = readFileSync(USERFAULTFD, 'utf8').trim();
  } catch (error) {
    // Kernels without the file are built without userfaultfd; the product falls back by itself.
    say(`this kernel has no vm.unprivileged_userfaultfd (${describe(error)}): longer pauses`);
    return;
  }
  if (current === '1') return;
  try {
    writeFileSync(USERFAULTFD, '1\n');
    say(
      'set vm.unprivileged_userfaultfd=1 until the next boot, so that memory is captured while the guest runs',
    );
  } catch (error) {
    say(
      `could not set vm.unprivileged_userfaultfd=1 (${describe(error)}): capturing memory will pause guests longer; as root on the host: sysctl -w vm.unprivileged_userfaultfd=1`,
    );
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
