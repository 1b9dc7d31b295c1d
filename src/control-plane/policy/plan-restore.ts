import type { Confirmation } from '../../contract/confirmation.ts';
import type { PlanProblem, PlanWarning, RestorePlan } from '../../contract/preflight.ts';
import type { SnapshotRestoreInput } from '../../contract/snapshot-inputs.ts';
import type { Snapshot } from '../../contract/snapshots.ts';
import type { Vm } from '../../contract/vms.ts';
import { formatBytes } from '../../shared/byte-size.ts';

export interface RestoreSituation {
  readonly snapshot: Snapshot;
  /** The VM that the snapshot is of; it may be gone. */
  readonly vm: Pick<Vm, 'present' | 'state' | 'description'> | null;
  readonly wish: SnapshotRestoreInput;
  /** Whether a VM with the wished name is known already. */
  readonly nameTaken: boolean;
  readonly freeBytes: number | null;
  readonly mayPower: boolean;
  readonly confirmation: Confirmation;
}

/** What a restore would do and why not; the states of snapshot and VM are checked apart. */
export function planRestore(situation: RestoreSituation): RestorePlan {
  const { snapshot, vm, wish, freeBytes } = situation;
  const isRollback = wish.mode === 'rollback';
  const hasMemory = snapshot.level === 'memory';
  const starts = isRollback
    ? wish.start === true || (wish.start === 'as-captured' && hasMemory)
    : wish.start || wish.resumeMemory;
  const bytesToWrite = snapshot.disks.reduce((sum, disk) => sum + disk.sizeBytes, 0);
  const problems: PlanProblem[] = [];
  const warnings: PlanWarning[] = [];
  if (wish.mode === 'new-vm' && wish.resumeMemory && !hasMemory)
    problems.push({
      code: 'invalid_input',
      reason: `The snapshot ${snapshot.name} holds no memory to go on from.`,
      whatToDo: 'Ask without resumeMemory; the new VM can boot instead.',
    });
  if (wish.mode === 'new-vm' && situation.nameTaken)
    problems.push({
      code: 'name_taken',
      reason: `A VM named ${wish.name} exists already.`,
      whatToDo: 'Choose another name.',
    });
  if (starts && !situation.mayPower)
    problems.push({
      code: 'forbidden',
      reason: 'Starting a VM after a restore needs the right "power".',
      whatToDo: 'Ask with start false, or ask an administrator for the right.',
    });
  if (freeBytes !== null && freeBytes < bytesToWrite)
    warnings.push({
      code: 'images_may_not_fit',
      message: `The disks span ${formatBytes(bytesToWrite)} and ${formatBytes(freeBytes)} is free; sparse images usually take less.`,
    });
  if (isRollback && !wish.safetySnapshot)
    warnings.push({
      code: 'no_safety_snapshot',
      message: 'What the VM holds now is lost for good.',
    });
  return {
    operation: 'restore',
    possible: problems.length === 0,
    confirmationNeeded: situation.confirmation.approvalsNeeded > 0,
    confirmation: situation.confirmation,
    snapshotState: snapshot.state,
    problems,
    warnings,
    mode: wish.mode,
    vmName: wish.mode === 'new-vm' ? wish.name : snapshot.vmName,
    stopsVm: isRollback && vm !== null && vm.state !== 'off',
    startsVm: starts,
    resumesMemory: starts && hasMemory && (isRollback || wish.resumeMemory),
    safetySnapshot: isRollback && wish.safetySnapshot,
    bytesToWrite,
    freeBytes,
  };
}
