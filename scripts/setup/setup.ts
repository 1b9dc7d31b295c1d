import { allowBackgroundSnapshots } from './kernel-settings.ts';
import { ensureGuest, type GuestFiles } from './guest.ts';
import { ensureLibvirt } from './daemons.ts';
import { kvmWorks } from './kvm.ts';
import { ensurePackages, PACKAGE_GROUPS, type PackageGroup } from './packages.ts';
import { SetupError } from './run-command.ts';

export interface Environment {
  readonly guest: GuestFiles;
  /** What guests are defined with: KVM where it really works. */
  readonly domainType: 'kvm' | 'qemu';
}

/** Brings this machine to where VMs run on it; does only what is missing. */
export async function setUp(groups: readonly PackageGroup[]): Promise<Environment> {
  await ensurePackages(['product', 'guest', ...groups]);
  allowBackgroundSnapshots();
  const guest = await ensureGuest();
  const hasKvm = await kvmWorks(guest);
  await ensureLibvirt({ hideKvm: !hasKvm });
  return { guest, domainType: hasKvm ? 'kvm' : 'qemu' };
}

/** Runs a script's main function; what a person has to change is shown without a stack. */
export async function runScript(main: () => Promise<number>): Promise<void> {
  try {
    process.exitCode = await main();
  } catch (error) {
    process.exitCode = 1;
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.message}\n`);
  }
}

export function parseGroups(args: readonly string[]): PackageGroup[] {
  return args.map((name) => {
    if (isGroup(name)) return name;
    throw new SetupError(
      `There is no package group ${name}; there are ${Object.keys(PACKAGE_GROUPS).join(', ')}.`,
    );
  });
}

function isGroup(name: string): name is PackageGroup {
  return Object.hasOwn(PACKAGE_GROUPS, name);
}

if (import.meta.main) {
  await runScript(async () => {
    const environment = await setUp(parseGroups(process.argv.slice(2)));
    process.stderr.write(
      `setup: done; VMs run with ${environment.domainType === 'kvm' ? 'KVM' : 'emulation (slow)'}\n`,
    );
    return 0;
  });
}
