import type { VmState } from '../../shared/inventory.ts';
import { jitterFor } from './run-times.ts';

export type VmSelection =
  | { readonly kind: 'everything' }
  | { readonly kind: 'label'; readonly key: string; readonly value: string }
  | { readonly kind: 'vms'; readonly vmIds: readonly string[] };

export interface SchedulableVm {
  readonly id: string;
  readonly name: string;
  readonly hostId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly present: boolean;
  readonly state: VmState;
}

export interface ScheduleTerms {
  readonly id: string;
  readonly selection: VmSelection;
  /** `skip`: what is off does not change, so its last snapshot still holds. */
  readonly offVms: 'skip' | 'capture';
  readonly jitterMs: number;
}

export interface PlannedCapture {
  readonly scheduleId: string;
  readonly vmId: string;
  readonly vmName: string;
  readonly hostId: string;
  /** Not before; the limits on captures at once may let it wait longer. */
  readonly startsAt: string;
}

export interface SkippedVm {
  readonly vmId: string;
  readonly vmName: string;
  readonly code: 'gone' | 'off' | 'crashed' | 'overlap';
  readonly reason: string;
}

/** Chosen anew for each run, so that a VM is covered from the day it has the label. */
export function isSelected(
  selection: VmSelection,
  vm: Pick<SchedulableVm, 'id' | 'labels'>,
): boolean {
  switch (selection.kind) {
    case 'everything':
      return true;
    case 'label':
      return vm.labels[selection.key] === selection.value;
    case 'vms':
      return selection.vmIds.includes(vm.id);
    default:
      return selection satisfies never;
  }
}

/** Which VMs a run captures, and when, and which it leaves out and why. */
export function planScheduleRun(question: {
  readonly schedule: ScheduleTerms;
  readonly at: Date;
  readonly vms: readonly SchedulableVm[];
  /** VMs for which an earlier run of this schedule is not over. */
  readonly unfinished: ReadonlySet<string>;
}): { captures: PlannedCapture[]; skipped: SkippedVm[] } {
  const { schedule, at, vms, unfinished } = question;
  const captures: PlannedCapture[] = [];
  const skipped: SkippedVm[] = [];
  for (const vm of vms.filter((candidate) => isSelected(schedule.selection, candidate))) {
    const why = whySkipped(schedule, vm, unfinished);
    if (why) {
      skipped.push({ vmId: vm.id, vmName: vm.name, ...why });
      continue;
    }
    const delayMs = jitterFor({
      scheduleId: schedule.id,
      vmId: vm.id,
      at,
      maximumMs: schedule.jitterMs,
    });
    captures.push({
      scheduleId: schedule.id,
      vmId: vm.id,
      vmName: vm.name,
      hostId: vm.hostId,
      startsAt: new Date(at.getTime() + delayMs).toISOString(),
    });
  }
  return { captures, skipped };
}

function whySkipped(
  schedule: ScheduleTerms,
  vm: SchedulableVm,
  unfinished: ReadonlySet<string>,
): Pick<SkippedVm, 'code' | 'reason'> | undefined {
  if (!vm.present)
    return { code: 'gone', reason: `${vm.name} is gone from its host; its snapshots stay.` };
  if (unfinished.has(vm.id))
    return {
      code: 'overlap',
      reason: `An earlier run of this schedule is not over for ${vm.name}; it is not started twice.`,
    };
  if (vm.state === 'crashed')
    return { code: 'crashed', reason: `The guest of ${vm.name} has crashed.` };
  if (vm.state === 'off' && schedule.offVms === 'skip')
    return { code: 'off', reason: `${vm.name} is off, and the schedule skips VMs that are.` };
  return undefined;
}

export interface CaptureLimits {
  readonly perHost: number;
  /** By the id of the schedule; absent: only the host limits it. */
  readonly perSchedule: ReadonlyMap<string, number>;
}

interface Running {
  readonly scheduleId: string;
  readonly hostId: string;
  readonly vmId: string;
}

/**
 * Which of the captures that wait begin now. On each host the schedule that has the fewest running
 * there comes first, so that a large one does not hold up a small one; within a schedule whoever
 * waits longest.
 */
export function chooseCapturesToStart(question: {
  readonly waiting: readonly PlannedCapture[];
  readonly running: readonly Running[];
  readonly limits: CaptureLimits;
  readonly now: Date;
}): PlannedCapture[] {
  const now = question.now.toISOString();
  const usage = createUsage(question.running);
  const chosen: PlannedCapture[] = [];
  const ready = question.waiting.filter(({ startsAt }) => startsAt <= now).toSorted(byWaiting);
  for (const [hostId, onHost] of Map.groupBy(ready, (capture) => capture.hostId)) {
    const queues = [...Map.groupBy(onHost, ({ scheduleId }) => scheduleId).values()];
    while (usage.onHost(hostId) < question.limits.perHost) {
      const next = takeNext(queues, { usage, hostId, limits: question.limits });
      if (!next) break;
      usage.add(next);
      chosen.push(next);
    }
  }
  return chosen;
}

function byWaiting(one: PlannedCapture, other: PlannedCapture): number {
  if (one.startsAt !== other.startsAt) return one.startsAt < other.startsAt ? -1 : 1;
  return one.vmId < other.vmId ? -1 : 1;
}

interface Usage {
  readonly onHost: (hostId: string) => number;
  readonly share: (scheduleId: string, hostId: string) => number;
  readonly ofSchedule: (scheduleId: string) => number;
  readonly hasVm: (vmId: string) => boolean;
  readonly add: (one: Running) => void;
}

function createUsage(running: readonly Running[]): Usage {
  const counts = new Map<string, number>();
  const get = (key: string): number => counts.get(key) ?? 0;
  const keysOf = ({ scheduleId, hostId, vmId }: Running): string[] => [
    `host ${hostId}`,
    `share ${scheduleId} ${hostId}`,
    `schedule ${scheduleId}`,
    `vm ${vmId}`,
  ];
  const add = (one: Running): void => {
    for (const key of keysOf(one)) counts.set(key, get(key) + 1);
  };
  for (const one of running) add(one);
  return {
    onHost: (hostId) => get(`host ${hostId}`),
    share: (scheduleId, hostId) => get(`share ${scheduleId} ${hostId}`),
    ofSchedule: (scheduleId) => get(`schedule ${scheduleId}`),
    hasVm: (vmId) => get(`vm ${vmId}`) > 0,
    add,
  };
}

/** Takes it out of its queue. A VM that is being captured already waits, whichever schedule asks. */
function takeNext(
  queues: PlannedCapture[][],
  { usage, hostId, limits }: { usage: Usage; hostId: string; limits: CaptureLimits },
): PlannedCapture | undefined {
  const candidates = queues.flatMap((queue) => {
    const index = queue.findIndex(({ vmId }) => !usage.hasVm(vmId));
    const capture = queue[index];
    if (!capture) return [];
    const { scheduleId } = capture;
    const limit = limits.perSchedule.get(scheduleId);
    if (limit !== undefined && usage.ofSchedule(scheduleId) >= limit) return [];
    return [{ queue, index, capture, share: usage.share(scheduleId, hostId) }];
  });
  const [first] = candidates.toSorted(
    (one, other) => one.share - other.share || byWaiting(one.capture, other.capture),
  );
  first?.queue.splice(first.index, 1);
  return first?.capture;
}

export interface ScheduleHealth {
  readonly failedRuns: number;
  readonly paused: boolean;
}

/** Pauses after so many runs in a row in which something failed; null: never. */
export function healthAfterRun(
  before: ScheduleHealth,
  run: { readonly failed: boolean; readonly pauseAfter: number | null },
): ScheduleHealth {
  const failedRuns = run.failed ? before.failedRuns + 1 : 0;
  return {
    failedRuns,
    paused: before.paused || (run.pauseAfter !== null && failedRuns >= run.pauseAfter),
  };
}
