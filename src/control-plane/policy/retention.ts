import { createPeriodNamer, type Period, type PeriodNamer } from './periods.ts';

/** How many to keep; an absent rule keeps nothing by itself, and no rule at all keeps everything. */
export interface RetentionRules {
  readonly last?: number | undefined;
  readonly hourly?: number | undefined;
  readonly daily?: number | undefined;
  readonly weekly?: number | undefined;
  readonly monthly?: number | undefined;
  readonly yearly?: number | undefined;
}

export type RetentionRule = 'last' | Period;

export interface RetainedSnapshot {
  readonly id: string;
  readonly name: string;
  readonly vmId: string;
  /** The schedule that made it; null: made by hand, which no schedule ever removes. */
  readonly scheduleId: string | null;
  readonly state: 'creating' | 'active' | 'deleting' | 'deleted' | 'failed' | 'damaged';
  /** As the catalog has times: in UTC with milliseconds, so that they sort as text. */
  readonly at: string;
  readonly pinned: boolean;
  readonly locked: boolean;
  /** A job or request works with it. */
  readonly busy: boolean;
}

export interface RetentionReason {
  readonly rule: RetentionRule;
  /** The period whose newest it is: `2026-W07`; null for `last`. */
  readonly period: string | null;
}

export interface RetentionVerdict {
  readonly id: string;
  readonly name: string;
  readonly vmId: string;
  readonly at: string;
  /** `ignored` ones are neither counted nor removed. */
  readonly fate: 'kept' | 'removed' | 'ignored';
  readonly keptBy: readonly RetentionReason[];
  readonly explanation: string;
}

export interface RetentionQuestion {
  readonly scheduleId: string;
  readonly rules: RetentionRules;
  readonly timeZone: string;
  /** Of any VMs and origins; each VM is decided by itself. */
  readonly snapshots: readonly RetainedSnapshot[];
  /** The run that is about to make another snapshot of these VMs, which then counts already. */
  readonly upcoming?: { readonly at: string; readonly vmIds: readonly string[] } | undefined;
}

const RULES: readonly RetentionRule[] = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'];

/**
 * For each snapshot what keeps it, or why it goes. Preview, dry run and removal all ask this and
 * nothing else. Newest first within a VM.
 */
export function decideRetention(question: RetentionQuestion): RetentionVerdict[] {
  const nameOf = createPeriodNamer(question.timeZone);
  const upcoming = new Set(question.upcoming?.vmIds);
  return [...Map.groupBy(question.snapshots, ({ vmId }) => vmId)].flatMap(([vmId, snapshots]) =>
    decideForVm(question, snapshots, {
      nameOf,
      upcomingAt: upcoming.has(vmId) ? question.upcoming?.at : undefined,
    }),
  );
}

interface VmContext {
  readonly nameOf: PeriodNamer;
  readonly upcomingAt: string | undefined;
}

function decideForVm(
  { rules, scheduleId }: RetentionQuestion,
  snapshots: readonly RetainedSnapshot[],
  { nameOf, upcomingAt }: VmContext,
): RetentionVerdict[] {
  const newestFirst = snapshots.toSorted(byAgeThenId);
  const counted = newestFirst.filter(
    (snapshot) => snapshot.state === 'active' && whyIgnored(snapshot, scheduleId) === undefined,
  );
  const reasons = findReasons(rules, counted, { nameOf, upcomingAt });
  const newestGood = counted.at(0);
  return newestFirst.map((snapshot) => {
    const { id, name, vmId, at } = snapshot;
    const keptBy = reasons.get(id) ?? [];
    const { fate, explanation } = decideFate(snapshot, {
      ignored: whyIgnored(snapshot, scheduleId),
      keepsAll: RULES.every((rule) => rules[rule] === undefined),
      keptBy,
      newestGood,
      isUpcoming: upcomingAt !== undefined,
    });
    return { id, name, vmId, at, fate, keptBy, explanation };
  });
}

function byAgeThenId(one: RetainedSnapshot, other: RetainedSnapshot): number {
  if (one.at !== other.at) return one.at < other.at ? 1 : -1;
  return one.id < other.id ? 1 : -1;
}

function whyIgnored(snapshot: RetainedSnapshot, scheduleId: string): string | undefined {
  if (snapshot.scheduleId === null) return 'It was made by hand.';
  if (snapshot.scheduleId !== scheduleId) return 'Another schedule made it.';
  if (snapshot.pinned) return 'It is pinned.';
  if (snapshot.locked) return 'It is locked.';
  switch (snapshot.state) {
    case 'creating':
      return 'It is still being taken.';
    case 'deleting':
      return 'It is being deleted already.';
    case 'deleted':
      return 'It was deleted.';
    case 'damaged':
      return 'It is damaged: what is left of it is for somebody to look at.';
    case 'active':
    case 'failed':
      return undefined;
    default:
      return snapshot.state satisfies never;
  }
}

function findReasons(
  rules: RetentionRules,
  newestFirst: readonly RetainedSnapshot[],
  { nameOf, upcomingAt }: VmContext,
): Map<string, RetentionReason[]> {
  const reasons = new Map<string, RetentionReason[]>();
  const instants = [
    ...(upcomingAt === undefined ? [] : [{ id: null, at: upcomingAt }]),
    ...newestFirst,
  ];
  for (const rule of RULES) {
    const periods = new Set<string>();
    for (const { id, at } of instants) {
      if (periods.size >= (rules[rule] ?? 0)) break;
      const period = rule === 'last' ? null : nameOf(rule, new Date(at));
      const key = period ?? String(id);
      if (periods.has(key)) continue;
      periods.add(key);
      if (id !== null) reasons.set(id, [...(reasons.get(id) ?? []), { rule, period }]);
    }
  }
  return reasons;
}

interface FateFacts {
  readonly ignored: string | undefined;
  readonly keepsAll: boolean;
  readonly keptBy: readonly RetentionReason[];
  readonly newestGood: RetainedSnapshot | undefined;
  readonly isUpcoming: boolean;
}

function decideFate(
  snapshot: RetainedSnapshot,
  { ignored, keepsAll, keptBy, newestGood, isUpcoming }: FateFacts,
): Pick<RetentionVerdict, 'fate' | 'explanation'> {
  const kept = (explanation: string) => ({ fate: 'kept', explanation }) as const;
  if (ignored !== undefined) return { fate: 'ignored', explanation: ignored };
  if (keepsAll) return kept('The schedule has no retention rule, so it keeps everything.');
  if (keptBy.length > 0) return kept(`Kept by ${keptBy.map(describeReason).join(', ')}.`);
  // A new one may fail: what is there goes only once there is something newer to restore.
  if (snapshot.id === newestGood?.id && isUpcoming)
    return kept('It is the newest one until the next snapshot is there.');
  if (snapshot.state === 'failed' && isAtLeastAsNew(snapshot, newestGood))
    return kept('It failed, and no later one has succeeded yet.');
  if (snapshot.busy) return kept('It would go, but something works with it; it goes next time.');
  return snapshot.state === 'failed'
    ? { fate: 'removed', explanation: 'It failed, and a later one succeeded.' }
    : { fate: 'removed', explanation: 'No rule keeps it.' };
}

const isAtLeastAsNew = (snapshot: RetainedSnapshot, good: RetainedSnapshot | undefined): boolean =>
  good === undefined || snapshot.at >= good.at;

const describeReason = ({ rule, period }: RetentionReason): string =>
  period === null ? `keep-${rule}` : `keep-${rule} (${period})`;
