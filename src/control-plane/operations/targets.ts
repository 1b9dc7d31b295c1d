import type { Principal, Target } from '../access/principal.ts';
import { mayDo, rolesFor } from '../access/principal.ts';
import type { Reader } from '../database/catalog.ts';
import { findVmLabels } from '../database/vms.ts';

interface LabelledVm {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** A VM, and what belongs to it; `createdById` for a snapshot of it. */
export const targetOf = ({ id, labels }: LabelledVm, createdById?: string): Target => ({
  vm: { id, labels },
  createdById,
});

/** What belongs to the VM with that id, or to none. */
export async function targetOfVmId(db: Reader, vmId: string | null): Promise<Target> {
  if (vmId === null) return { vm: null };
  return targetOf((await findVmLabels(db, vmId)) ?? { id: vmId, labels: {} });
}

/** Whoever has the role over the thing, and came without a token that withholds what makes it one. */
export const isAdministrator = (principal: Principal, target: Target): boolean =>
  rolesFor(principal, target).has('administrator') && mayDo(principal, 'manage-access', target);
