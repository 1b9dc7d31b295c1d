import type { Vm } from '../../contract/vms.ts';

const HOUR_MS = 3_600_000;

export interface Protection {
  readonly total: number;
  readonly protectedCount: number;
  /** Those without any snapshot first, then the ones with the oldest. */
  readonly unprotected: readonly Vm[];
}

/** Which of the VMs that exist have a snapshot younger than `withinHours`. */
export function judgeProtection(vms: readonly Vm[], withinHours: number, now: Date): Protection {
  const since = new Date(now.getTime() - withinHours * HOUR_MS).toISOString();
  const present = vms.filter((vm) => vm.present);
  const unprotected = present
    .filter((vm) => vm.lastSnapshotAt === null || vm.lastSnapshotAt < since)
    .sort(
      (a, b) =>
        (a.lastSnapshotAt ?? '').localeCompare(b.lastSnapshotAt ?? '') ||
        a.name.localeCompare(b.name),
    );
  return {
    total: present.length,
    protectedCount: present.length - unprotected.length,
    unprotected,
  };
}
