import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { spawn } from 'node:child_process';
import { KERNEL_ARGUMENTS, type GuestFiles } from './guest.ts';
import { say } from './run-command.ts';

const PROBE_TIMEOUT_MS = 20_000;
const STATE_FILE = '/run/komadori/kvm-works';

/**
 * Whether a guest under KVM reaches user space. Some clouds offer /dev/kvm without being able to
 * virtualize, and a guest then hangs; only trying tells. Remembered until the next boot.
 */
export async function kvmWorks(guest: GuestFiles): Promise<boolean> {
  if (!existsSync('/dev/kvm')) return false;
  const known = await readFile(STATE_FILE, 'utf8').catch(() => undefined);
  if (known !== undefined) return known.trim() === 'yes';
  const works = await bootsWithKvm(guest);
  say(
    works ? 'guests run with KVM here' : '/dev/kvm is there but no guest runs with it: emulating',
  );
  await mkdir(path.dirname(STATE_FILE), { recursive: true });
  await writeFile(STATE_FILE, works ? 'yes\n' : 'no\n');
  return works;
}

async function bootsWithKvm(guest: GuestFiles): Promise<boolean> {
  const args = ['-accel', 'kvm', '-m', '192', '-nodefaults', '-display', 'none', '-no-reboot'];
  args.push('-serial', 'stdio', '-kernel', guest.kernelPath, '-initrd', guest.initramfsPath);
  args.push('-append', `${KERNEL_ARGUMENTS} komadori.mode=idle`);
  const child = spawn('qemu-system-x86_64', args, {
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: PROBE_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  return await new Promise<boolean>((resolve) => {
    let seen = '';
    child.stdout.on('data', (chunk: Buffer) => {
      seen = (seen + chunk.toString('latin1')).slice(-4096);
      if (seen.includes('guest ready')) {
        resolve(true);
        child.kill('SIGKILL');
      }
    });
    child.on('error', () => resolve(false));
    child.on('close', () => resolve(false));
  });
}
