import { getuid } from 'node:process';
import { hasProgram, runCommand, say, SetupError, tryCommand } from './run-command.ts';

export type PackageGroup = 'product' | 'guest' | 'test' | 'bench';

interface GroupPackages {
  readonly required: readonly string[];
  /** What is missing in some releases; its users say so when it is not there. */
  readonly optional: readonly string[];
}

/** Debian and Ubuntu package names by what needs them. */
export const PACKAGE_GROUPS: Readonly<Record<PackageGroup, GroupPackages>> = {
  product: {
    required: ['qemu-utils', 'libvirt-daemon-system', 'libvirt-daemon-driver-qemu'],
    optional: [],
  },
  guest: {
    required: ['qemu-system-x86', 'libvirt-clients', 'busybox-static', 'e2fsprogs', 'ovmf'],
    optional: ['swtpm', 'swtpm-tools'],
  },
  test: { required: ['libnbd-bin'], optional: ['chromium', 'fonts-noto-cjk'] },
  bench: {
    required: ['libnbd-bin', 'nbdkit'],
    optional: ['virtnbdbackup', 'restic', 'borgbackup'],
  },
};

const LOCK_WAIT_SECONDS = 180;
const INSTALL_TIMEOUT_MS = 20 * 60_000;
const APT_OPTIONS = [
  '--yes',
  '--quiet=2',
  '-o',
  `DPkg::Lock::Timeout=${LOCK_WAIT_SECONDS}`,
  '-o',
  'Dpkg::Use-Pty=0',
  '-o',
  'Acquire::Retries=3',
];
const APT_ENVIRONMENT = { DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'l' };

/** Names of `wanted` that dpkg-query's `status name` lines do not show as installed. */
export function missingPackages(wanted: readonly string[], dpkgLines: string): string[] {
  const installed = new Set(
    dpkgLines
      .split('\n')
      .filter((line) => line.startsWith('installed '))
      .map((line) => line.slice('installed '.length).trim()),
  );
  return [...new Set(wanted)].filter((name) => !installed.has(name));
}

/** Names that `apt-cache policy` shows with a version that can be installed. */
export function availablePackages(policy: string): Set<string> {
  const names = new Set<string>();
  let current = '';
  for (const line of policy.split('\n')) {
    const heading = /^(\S+):$/.exec(line);
    if (heading?.[1] !== undefined) current = heading[1];
    const candidate = /^ {2}Candidate: (.+)$/.exec(line);
    if (candidate && candidate[1] !== '(none)') names.add(current);
  }
  return names;
}

/** Installs what is missing of the given groups, and touches nothing else. */
export async function ensurePackages(groups: readonly PackageGroup[]): Promise<void> {
  const required = groups.flatMap((group) => PACKAGE_GROUPS[group].required);
  const optional = groups.flatMap((group) => PACKAGE_GROUPS[group].optional);
  if (!(await hasProgram('apt-get'))) {
    if (process.env['KOMADORI_SKIP_PACKAGES'] === '1') return;
    throw new SetupError(
      `This machine has no apt-get. Install what Debian calls ${required.join(', ')} with its own package tool, then run this again with KOMADORI_SKIP_PACKAGES=1.`,
    );
  }
  const missing = await findMissing([...required, ...optional]);
  if (missing.length === 0) return;
  requireRoot(`install ${missing.join(', ')}`);

  let available = await findAvailable(missing);
  let fresh = false;
  if (missing.some((name) => !available.has(name))) {
    await updateLists();
    fresh = true;
    available = await findAvailable(missing);
  }
  const absent = missing.filter((name) => !available.has(name));
  const needed = absent.filter((name) => required.includes(name));
  if (needed.length > 0) {
    throw new SetupError(
      `The package sources of this machine do not offer ${needed.join(', ')}. Add a source that does (Debian 12 or newer, Ubuntu 22.04 or newer with "universe").`,
    );
  }
  if (absent.length > 0) say(`not offered by this release, going on without: ${absent.join(', ')}`);
  const wanted = missing.filter((name) => available.has(name));
  if (wanted.length > 0) await install(wanted, fresh);
}

async function install(names: readonly string[], listsAreFresh: boolean): Promise<void> {
  say(`installing ${names.join(' ')} (apt-get)`);
  const args = ['install', ...APT_OPTIONS, '--no-install-recommends', ...names];
  const options = { env: APT_ENVIRONMENT, timeoutMs: INSTALL_TIMEOUT_MS };
  if (!listsAreFresh) {
    const first = await tryCommand('apt-get', args, options);
    if (first.exitCode === 0) return;
    // Lists older than the mirror name versions that are gone.
    await updateLists();
  }
  await runCommand('apt-get', args, options);
}

/** Refreshes apt's lists. */
export async function updateLists(): Promise<void> {
  requireRoot('refresh the package lists');
  say('refreshing the package lists (apt-get update)');
  await runCommand('apt-get', ['update', ...APT_OPTIONS], {
    env: APT_ENVIRONMENT,
    timeoutMs: INSTALL_TIMEOUT_MS,
  });
}

async function findMissing(names: readonly string[]): Promise<string[]> {
  // dpkg-query answers with 1 as soon as it does not know one of the names.
  const known = await tryCommand('dpkg-query', [
    '--show',
    '--showformat=${db:Status-Status} ${Package}\\n',
    ...names,
  ]);
  return missingPackages(names, known.stdout);
}

async function findAvailable(names: readonly string[]): Promise<Set<string>> {
  return availablePackages(await runCommand('apt-cache', ['policy', ...names]));
}

export function requireRoot(what: string): void {
  if (getuid?.() === 0) return;
  throw new SetupError(
    `To ${what}, this must run as root: run the same command with sudo, or as root in a virtual machine or container of its own.`,
  );
}
