import type { CapturePlan, Plan, RestorePlan, RulesPlan } from '../../contract/preflight.ts';

/**
 * Why a plan that somebody saw is not what would be done now; null when it still is. Room, estimates
 * and the age of the inventory change by themselves and are left out.
 */
export function describePlanChange(seen: Plan, now: Plan): string | null {
  const [problem] = now.problems;
  if (problem) return now.problems.map(({ reason }) => reason).join(' ');
  const needed = now.confirmation.approvalsNeeded;
  if (needed > seen.confirmation.approvalsNeeded)
    return `The confirmation rules ask for more approvals now: ${now.confirmation.explanation}`;
  const before = factsOf(seen);
  const after = factsOf(now);
  const changes = Object.keys({ ...before, ...after }).filter((key) => before[key] !== after[key]);
  if (changes.length === 0) return null;
  return changes
    .map((key) => `${key}: it was ${before[key] ?? 'nothing'}, and is ${after[key] ?? 'nothing'}.`)
    .join(' ');
}

/** What the approver decided about, as text that can be compared and read. */
function factsOf(plan: Plan): Readonly<Record<string, string>> {
  switch (plan.operation) {
    case 'create':
      return captureFacts(plan);
    case 'restore':
      return restoreFacts(plan);
    case 'change-rules':
      return ruleFacts(plan);
    case 'delete':
    case 'export':
    case 'verify':
    case 'collect':
      return { snapshot: plan.snapshotState ?? 'none' };
    default:
      return plan satisfies never;
  }
}

function captureFacts(plan: CapturePlan): Record<string, string> {
  const disks = plan.disks.map(
    (disk) => `${disk.target} (${disk.format}, ${disk.sizeBytes} bytes)`,
  );
  return {
    kind: plan.kind,
    level: plan.level,
    'way to the memory': plan.memoryMode ?? 'none',
    disks: disks.toSorted().join(', '),
    'disks left out': plan.skipped
      .map(({ target }) => target)
      .toSorted()
      .join(', '),
  };
}

const yesNo = (value: boolean): string => (value ? 'yes' : 'no');

const restoreFacts = (plan: RestorePlan): Record<string, string> => ({
  snapshot: plan.snapshotState,
  VM: plan.vmName,
  'stops the VM': yesNo(plan.stopsVm),
  'starts the VM': yesNo(plan.startsVm),
  'resumes the memory': yesNo(plan.resumesMemory),
  'safety snapshot': yesNo(plan.safetySnapshot),
});

const ruleFacts = (plan: RulesPlan): Record<string, string> => ({
  'rule before': JSON.stringify(plan.before),
  'rule after': JSON.stringify(plan.after),
});
