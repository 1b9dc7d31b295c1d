import { createHash } from 'node:crypto';
import type { AuditEventRow } from '../database/audit-events.ts';
import { canonicalJson } from './canonical-json.ts';

export type ChainBreakKind =
  | 'altered'
  | 'missing'
  | 'reordered'
  | 'truncated'
  | 'rewritten'
  | 'unreadable';

export interface ChainBreak {
  readonly sequence: number;
  readonly kind: ChainBreakKind;
  readonly reason: string;
}

export interface ChainVerification {
  readonly intact: boolean;
  readonly eventsChecked: number;
  readonly headHash: string | null;
  /** Heads from outside the trail that were found in it. */
  readonly headsChecked: number;
  readonly firstBroken: ChainBreak | null;
}

/** A head that was written down outside the trail, such as in a manifest. */
export interface KnownHead {
  readonly hash: string;
  /** Null where only the hash was written down. */
  readonly sequence: number | null;
  /** Not before the event of that hash. */
  readonly at: string | null;
  readonly where: string;
}

export interface UnreadableRecord {
  readonly sequence: number | null;
  readonly unreadable: string;
}

export type ChainRecord = AuditEventRow | UnreadableRecord;

export const FIRST_PREVIOUS_HASH = '0'.repeat(64);
/** How far around its place a record is looked for when its number does not fit its hash. */
const MOVE_DISTANCE = 1000;

/** SHA-256 over the canonical JSON of every field but the hash itself; hex. */
export function hashOf(event: Omit<AuditEventRow, 'hash'>): string {
  const { id, name, kind } = event.actor;
  const onBehalfOf = event.onBehalfOf && {
    id: event.onBehalfOf.id,
    name: event.onBehalfOf.name,
    kind: event.onBehalfOf.kind,
  };
  const sealed = {
    sequence: event.sequence,
    at: event.at,
    actor: { id, name, kind },
    onBehalfOf,
    sourceAddress: event.sourceAddress,
    action: event.action,
    resourceType: event.resourceType,
    resourceId: event.resourceId,
    resourceName: event.resourceName,
    requestId: event.requestId,
    outcome: event.outcome,
    reason: event.reason,
    details: event.details,
    previousHash: event.previousHash,
  };
  return createHash('sha256').update(canonicalJson(sealed), 'utf8').digest('hex');
}

interface Place {
  readonly sequence: number;
  readonly previousHash: string;
}

/**
 * Recomputes the chain in the order given and names the first link that does not hold. Known heads
 * must stand in it: a history that was rewritten from some record on is consistent in itself.
 */
export async function checkChain(
  records: AsyncIterable<ChainRecord>,
  heads: readonly KnownHead[] = [],
): Promise<ChainVerification> {
  const open = createHeadCheck(heads);
  let checked = 0;
  let previousHash = FIRST_PREVIOUS_HASH;
  let lastAt: string | null = null;
  let broken: (ChainBreak & { readonly seeks?: number }) | null = null;
  for await (const record of records) {
    if (broken) {
      // Only whether the record that seems to be missing comes later is still of interest.
      if (record.sequence !== broken.seeks) continue;
      broken = { ...broken, kind: 'reordered', reason: 'the record stands later, out of order' };
      break;
    }
    broken = findBreak(record, { sequence: checked + 1, previousHash });
    if (broken) {
      if (broken.seeks === undefined) break;
      continue;
    }
    if ('unreadable' in record) break;
    checked += 1;
    previousHash = record.hash;
    lastAt = record.at;
    open.see(record);
  }
  const firstBroken = broken ?? open.finish({ checked, lastAt });
  return {
    intact: firstBroken === null,
    eventsChecked: checked,
    headHash: checked === 0 ? null : previousHash,
    headsChecked: open.found(),
    firstBroken: firstBroken && {
      sequence: firstBroken.sequence,
      kind: firstBroken.kind,
      reason: firstBroken.reason,
    },
  };
}

function findBreak(
  record: ChainRecord,
  place: Place,
): (ChainBreak & { readonly seeks?: number }) | null {
  const { sequence } = place;
  if ('unreadable' in record)
    return {
      sequence,
      kind: 'unreadable',
      reason: `the record is not readable: ${record.unreadable}`,
    };
  if (record.sequence > sequence)
    return { sequence, kind: 'missing', reason: 'a record is missing here', seeks: sequence };
  if (record.sequence < sequence)
    return {
      sequence,
      kind: 'reordered',
      reason: `record ${record.sequence} stands here once more, or out of order`,
    };
  if (record.hash !== hashOf(record)) return altered(record);
  if (record.previousHash !== place.previousHash)
    return {
      sequence,
      kind: 'altered',
      reason: 'the record does not follow from the one before it',
    };
  return null;
}

/** A record that was only given another number still fits its own hash under the old one. */
function altered(record: AuditEventRow): ChainBreak {
  const { sequence } = record;
  const from = Math.max(1, sequence - MOVE_DISTANCE);
  for (let other = from; other <= sequence + MOVE_DISTANCE; other += 1)
    if (record.hash === hashOf({ ...record, sequence: other }))
      return { sequence, kind: 'reordered', reason: `the record was written as number ${other}` };
  return { sequence, kind: 'altered', reason: 'the record was changed after it was written' };
}

function createHeadCheck(heads: readonly KnownHead[]): {
  see(event: AuditEventRow): void;
  found(): number;
  finish(end: { checked: number; lastAt: string | null }): ChainBreak | null;
} {
  const open = new Map<string, KnownHead[]>();
  for (const head of heads) open.set(head.hash, [...(open.get(head.hash) ?? []), head]);
  let found = 0;
  let lastFound = 0;
  return {
    see: ({ hash, sequence }) => {
      const fitting = open.get(hash)?.filter((head) => (head.sequence ?? sequence) === sequence);
      if (!fitting || fitting.length === 0) return;
      found += fitting.length;
      lastFound = sequence;
      open.delete(hash);
    },
    found: () => found,
    finish: ({ checked, lastAt }) => {
      const [first] = [...open.values()].flat().toSorted(byAge);
      if (!first) return null;
      const tells = `${first.where} carries the head ${first.hash.slice(0, 16)}…`;
      const isBeyond =
        first.sequence === null
          ? lastAt === null || (first.at !== null && lastAt < first.at)
          : first.sequence > checked;
      if (isBeyond)
        return {
          sequence: checked + 1,
          kind: 'truncated',
          reason: `${tells}, and the trail ends before it`,
        };
      if (first.sequence !== null)
        return {
          sequence: Math.min(lastFound + 1, first.sequence),
          kind: 'rewritten',
          reason: `${tells} at record ${first.sequence}, which has another hash`,
        };
      return {
        sequence: lastFound + 1,
        kind: 'rewritten',
        reason: `${tells}, which is not in the trail: records from ${lastFound + 1} on were written anew`,
      };
    },
  };
}

/** The oldest one says most about where a rewriting began. */
function byAge(one: KnownHead, other: KnownHead): number {
  if (one.sequence !== null && other.sequence !== null) return one.sequence - other.sequence;
  return (one.at ?? '') < (other.at ?? '') ? -1 : 1;
}
