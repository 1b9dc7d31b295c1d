import type { CapturePlan, PlanProblem, PlanWarning } from '../../contract/preflight.ts';
import type { DiskDescription, VmDescription } from '../../shared/inventory.ts';
import { isLive } from './capture-level.ts';
import type { CaptureWish } from './capture-wish.ts';

export interface DiskDecision {
  readonly captured: CapturePlan['disks'];
  readonly skipped: CapturePlan['skipped'];
  readonly problems: PlanProblem[];
  readonly warnings: PlanWarning[];
}

/**
 * | disk                | asked for | in skipDisks | becomes  |
 * | ------------------- | --------- | ------------ | -------- |
 * | not a disk (CD-ROM) | -         | -            | ignored  |
 * | any                 | no        | -            | skipped  |
 * | any                 | -         | yes          | skipped  |
 * | without obstacle    | yes       | no           | captured |
 * | with obstacle       | yes       | no           | problem  |
 */
export function decideDisks(vm: VmDescription, wish: CaptureWish): DiskDecision {
  const captured: DiskDecision['captured'] = [];
  const skipped: DiskDecision['skipped'] = [];
  const problems = findUnknownTargets(vm, wish);
  for (const disk of vm.disks) {
    const { target, obstacle } = disk;
    if (obstacle?.code === 'not_a_disk') continue;
    if (wish.skipDisks.includes(target))
      skipped.push({
        target,
        reason: `Left out on request.${obstacle ? ` ${obstacle.reason}` : ''}`,
      });
    else if (wish.disks && !wish.disks.includes(target))
      skipped.push({ target, reason: 'Not among the disks that were asked for.' });
    else {
      captured.push(describeDisk(disk));
      if (obstacle)
        problems.push({
          code: 'unsupported_disk',
          reason: `Disk ${target} of ${vm.name} cannot be captured: ${obstacle.reason}`,
          whatToDo: `Leave it out with skipDisks ["${target}"] if the rest is enough, or remove the cause.`,
        });
    }
  }
  if (captured.length === 0 && (wish.kind === 'disk' || !isLive(vm)))
    problems.push({
      code: 'unsupported_vm',
      reason: `There is nothing to capture of ${vm.name}: no disk is left.`,
      whatToDo: 'Ask for at least one disk.',
    });
  return { captured, skipped, problems, warnings: warnOfMissingDisks(vm, wish, skipped) };
}

const describeDisk = (disk: DiskDescription): DiskDecision['captured'][number] => ({
  target: disk.target,
  format: disk.format,
  sizeBytes: disk.sizeBytes,
  allocatedBytes: disk.allocatedBytes,
  obstacle: disk.obstacle,
});

function findUnknownTargets(vm: VmDescription, wish: CaptureWish): PlanProblem[] {
  const known = vm.disks.map((disk) => disk.target);
  const asked = new Set([...(wish.disks ?? []), ...wish.skipDisks]);
  return [...asked]
    .filter((target) => !known.includes(target))
    .map((target) => ({
      code: 'invalid_input',
      reason: `${vm.name} has no disk ${target}.`,
      whatToDo: `Its disks are: ${known.join(', ') || 'none'}.`,
    }));
}

const warnOfMissingDisks = (
  vm: VmDescription,
  wish: CaptureWish,
  skipped: DiskDecision['skipped'],
): PlanWarning[] =>
  wish.kind === 'full' && isLive(vm) && skipped.length > 0
    ? [
        {
          code: 'memory_without_disk',
          message: `The memory knows of disks that the snapshot will not have (${skipped.map((disk) => disk.target).join(', ')}); going on from it may damage them.`,
        },
      ]
    : [];
