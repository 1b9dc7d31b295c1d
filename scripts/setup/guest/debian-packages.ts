import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { updateLists } from '../packages.ts';
import { runCommand, say, SetupError, tryCommand } from '../run-command.ts';

const DOWNLOAD_TIMEOUT_MS = 10 * 60_000;

/** Meta packages whose dependency is a kernel with virtio: Debian's, then Ubuntu's. */
const KERNEL_PACKAGES = ['linux-image-cloud-amd64', 'linux-image-virtual'];

/** Downloads a package and unpacks it into `root`, without installing it. */
export async function downloadPackage(name: string, root: string): Promise<void> {
  // apt downloads as user _apt, which can write here only if the folder is its own.
  const folder = await mkdtemp(path.join(tmpdir(), 'komadori-package-'));
  try {
    say(`downloading ${name} for the guest (not installed on this machine)`);
    const args = ['-o', 'APT::Sandbox::User=root', '--quiet=2', 'download', name];
    const options = { cwd: folder, timeoutMs: DOWNLOAD_TIMEOUT_MS };
    const first = await tryCommand('apt-get', args, options);
    if (first.exitCode !== 0) {
      await updateLists();
      await runCommand('apt-get', args, options);
    }
    const [file] = (await readdir(folder)).filter((entry) => entry.endsWith('.deb'));
    if (file === undefined) throw new Error(`apt-get downloaded no file for ${name}`);
    await runCommand('dpkg', ['-x', path.join(folder, file), root]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Names of the packages that hold the kernel image and its modules. */
export async function findKernelPackages(): Promise<string[]> {
  const found = await lookUpKernel();
  if (found.length > 0) return found;
  await updateLists();
  const second = await lookUpKernel();
  if (second.length > 0) return second;
  throw new SetupError(
    `The package sources of this machine offer none of ${KERNEL_PACKAGES.join(', ')}; the guest takes its kernel from there.`,
  );
}

async function lookUpKernel(): Promise<string[]> {
  for (const name of KERNEL_PACKAGES) {
    const shown = await tryCommand('apt-cache', ['show', '--no-all-versions', name]);
    const packages = shown.exitCode === 0 ? parseKernelDependencies(shown.stdout) : [];
    if (packages.length > 0) return packages;
  }
  return [];
}

/** The versioned kernel image that a meta package depends on, and on Ubuntu its modules. */
export function parseKernelDependencies(shown: string): string[] {
  const dependencies = /^Depends: (.+)$/m.exec(shown)?.[1] ?? '';
  const image = /\blinux-image-\d[a-z0-9.+-]*/.exec(dependencies)?.[0];
  if (image === undefined) return [];
  return image.endsWith('-generic') ? [image, image.replace('-image-', '-modules-')] : [image];
}
