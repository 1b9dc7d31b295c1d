import type { Confirmation } from '../../contract/confirmation.ts';
import type { CapturePlan, PlanProblem, PlanWarning } from '../../contract/preflight.ts';
import { formatBytes, GIB, MIB } from '../../shared/byte-size.ts';
import type { HostDescription, MemoryMode, VmDescription } from '../../shared/inventory.ts';
import { decideDisks, type DiskDecision } from './capture-disks.ts';
import { decideLevel, isLive } from './capture-level.ts';
import type { CaptureWish } from './capture-wish.ts';

/** Room as last measured; null where it is not known. */
export interface CaptureRoom {
  readonly scratchFreeBytes: number | null;
  /** The scratch file system is never filled beyond this. */
  readonly scratchFloorBytes: number;
  readonly repositoryFreeBytes: number | null;
}

export interface CaptureSituation {
  readonly vm: VmDescription;
  readonly present: boolean;
  readonly host: HostDescription | null;
  readonly wish: CaptureWish;
  readonly room: CaptureRoom;
  readonly inventoryAt: string;
  readonly confirmation: Confirmation;
}

const SCRATCH_SHARE = 0.1;
const SCRATCH_MIN_BYTES = 256 * MIB;
/** What zstd and zero pages leave of fresh data, roughly; deduplication only makes it less. */
const STORED_SHARE = 0.5;
/** A repository with less room than this is full for our purposes. */
const REPOSITORY_FLOOR_BYTES = GIB;

const BACKGROUND_PAUSE_MS = 40;
const BACKGROUND_PAUSE_PER_GIB_MS = 60;
const PRE_COPY_PAUSE_MS = 300;
const STOP_AND_COPY_PAUSE_MS = 200;
const STOP_AND_COPY_BYTES_PER_MS = 500_000;

/** What a capture would do and why not. Pure: the worker asks it again with what it sees itself. */
export function planCapture(situation: CaptureSituation): CapturePlan {
  const { vm, wish } = situation;
  const disks = decideDisks(vm, wish);
  const memory = decideMemory(situation);
  const level = decideLevel({ vm, wish, withMemory: memory.captured });
  const capturedMemoryBytes = memory.captured ? vm.memoryBytes : 0;
  const room = decideRoom(situation, { disks, capturedMemoryBytes });
  const problems = [
    ...findVmProblems(situation),
    ...disks.problems,
    ...level.problems,
    ...memory.problems,
    ...room.problems,
  ];
  return {
    operation: 'create',
    possible: problems.length === 0,
    kind: wish.kind,
    level: level.level,
    levelReason: level.reason,
    memoryMode: memory.mode,
    memoryBytes: capturedMemoryBytes,
    estimatedPauseMs: vm.state === 'running' ? estimatePauseMs(memory.mode, vm.memoryBytes) : 0,
    disks: disks.captured,
    skipped: disks.skipped,
    scratchBytesNeeded: room.scratchBytes,
    scratchFreeBytes: situation.room.scratchFreeBytes,
    repositoryBytesEstimated: room.repositoryBytes,
    freeBytes: situation.room.repositoryFreeBytes,
    confirmationNeeded: situation.confirmation.approvalsNeeded > 0,
    confirmation: situation.confirmation,
    problems,
    warnings: [...disks.warnings, ...level.warnings, ...memory.warnings, ...room.warnings],
    inventoryAt: situation.inventoryAt,
  };
}

function findVmProblems({ vm, present }: CaptureSituation): PlanProblem[] {
  const problems: PlanProblem[] = [];
  if (!present)
    problems.push({
      code: 'wrong_state',
      reason: `The VM ${vm.name} is gone from its host.`,
      whatToDo: 'Define it again, or look whether it moved to a host without a worker.',
    });
  if (vm.state === 'crashed')
    problems.push({
      code: 'wrong_state',
      reason: `The guest of ${vm.name} has crashed.`,
      whatToDo: 'Stop the VM or start it anew, then ask again.',
    });
  if (vm.state === 'other')
    problems.push({
      code: 'wrong_state',
      reason: `The VM ${vm.name} is between states.`,
      whatToDo: 'Try again in a moment.',
    });
  if (vm.jobActive)
    problems.push({
      code: 'in_use',
      reason: `libvirt is busy with another job on ${vm.name}, such as a backup or a migration.`,
      whatToDo: 'Wait for it ("virsh domjobinfo") or end it, then ask again.',
    });
  const { internal, external } = vm.hypervisorSnapshots;
  if (internal > 0 || external > 0)
    problems.push({
      code: 'mixed_hypervisor_snapshots',
      reason: `${vm.name} has libvirt snapshots (${internal} internal, ${external} external), which checkpoints and restores would break.`,
      whatToDo:
        'Merge or delete them ("virsh snapshot-list", "virsh snapshot-delete"), then ask again.',
    });
  return problems;
}

interface MemoryDecision {
  readonly captured: boolean;
  readonly mode: MemoryMode | null;
  readonly problems: PlanProblem[];
  readonly warnings: PlanWarning[];
}

function decideMemory({ vm, host, wish }: CaptureSituation): MemoryDecision {
  if (wish.kind === 'disk' || !isLive(vm))
    return { captured: false, mode: null, problems: [], warnings: [] };
  if (vm.memoryObstacles.length > 0)
    return failedMemory({
      code: 'unsupported_vm',
      reason: `The memory of ${vm.name} cannot be captured: ${vm.memoryObstacles.join(' ')}`,
      whatToDo: 'Ask for a snapshot of kind "disk", or shut the VM down first.',
    });
  if (!host)
    return failedMemory({
      code: 'hypervisor_unreachable',
      reason: `The host of ${vm.name} has not said yet what it can do.`,
      whatToDo: 'Look whether its worker runs and reaches libvirt.',
    });
  const modes = host.memoryModes.filter(
    (mode) => mode !== 'background' || vm.backgroundObstacles.length === 0,
  );
  const [mode] = modes;
  if (!mode)
    return failedMemory({
      code: 'host_incapable',
      reason: `The host ${host.hostname} has no way to capture the memory of ${vm.name}.`,
      whatToDo: 'Ask for a snapshot of kind "disk", or update QEMU and libvirt on the host.',
    });
  const reasons = [...vm.backgroundObstacles, ...host.memoryModeHints];
  const warnings =
    mode === 'background'
      ? []
      : [
          {
            code: 'no_background_snapshot',
            message:
              `The guest pauses longer than it had to (mode ${mode}). ${reasons.join(' ')}`.trim(),
          },
        ];
  return { captured: true, mode, problems: [], warnings };
}

const failedMemory = (problem: PlanProblem): MemoryDecision => ({
  captured: true,
  mode: null,
  problems: [problem],
  warnings: [],
});

const PAUSE_MS: Readonly<Record<MemoryMode, (memoryBytes: number) => number>> = {
  background: (memoryBytes) =>
    BACKGROUND_PAUSE_MS + (BACKGROUND_PAUSE_PER_GIB_MS * memoryBytes) / GIB,
  'pre-copy': () => PRE_COPY_PAUSE_MS,
  'stop-and-copy': (memoryBytes) =>
    STOP_AND_COPY_PAUSE_MS + memoryBytes / STOP_AND_COPY_BYTES_PER_MS,
};

const estimatePauseMs = (mode: MemoryMode | null, memoryBytes: number): number =>
  mode === null ? 0 : Math.round(PAUSE_MS[mode](memoryBytes));

function decideRoom(
  { vm, room }: CaptureSituation,
  found: { disks: DiskDecision; capturedMemoryBytes: number },
): {
  scratchBytes: number;
  repositoryBytes: number;
  problems: PlanProblem[];
  warnings: PlanWarning[];
} {
  const { captured } = found.disks;
  const scratchBytes = isLive(vm)
    ? captured.reduce((sum, disk) => sum + scratchBytesFor(disk), 0)
    : 0;
  const allocated = captured.reduce((sum, disk) => sum + disk.allocatedBytes, 0);
  const repositoryBytes = Math.round((allocated + found.capturedMemoryBytes) * STORED_SHARE);
  const problems: PlanProblem[] = [];
  const warnings: PlanWarning[] = [];
  const scratchUsable =
    room.scratchFreeBytes === null ? null : room.scratchFreeBytes - room.scratchFloorBytes;
  if (scratchUsable !== null && scratchBytes > scratchUsable)
    problems.push({
      code: 'insufficient_space',
      reason: `The capture of ${vm.name} needs ${formatBytes(scratchBytes)} of scratch space, and ${formatBytes(Math.max(0, scratchUsable))} may be used.`,
      whatToDo: 'Free space on the scratch file system of the host, or configure another one.',
    });
  const free = room.repositoryFreeBytes;
  if (free !== null && free < Math.min(REPOSITORY_FLOOR_BYTES, repositoryBytes))
    problems.push({
      code: 'insufficient_space',
      reason: `The repository has ${formatBytes(free)} left, and up to ${formatBytes(repositoryBytes)} may be needed.`,
      whatToDo: 'Delete snapshots and collect the repository, or give it more space.',
    });
  else if (free !== null && free < repositoryBytes)
    warnings.push({
      code: 'repository_tight',
      message: `The repository has ${formatBytes(free)} left; without deduplication this takes about ${formatBytes(repositoryBytes)}.`,
    });
  return { scratchBytes, repositoryBytes, problems, warnings };
}

/** What the guest may overwrite while we read, as a guess with a floor; never more than the disk. */
const scratchBytesFor = (disk: { sizeBytes: number; allocatedBytes: number }): number =>
  Math.min(
    disk.sizeBytes,
    Math.max(SCRATCH_MIN_BYTES, Math.round(disk.allocatedBytes * SCRATCH_SHARE)),
  );
