import { createHash } from 'node:crypto';
import {
  insertAuditEvent,
  listAuditEvents,
  readAuditHead,
  type AuditEventRow,
  type AuditOutcome,
} from '../database/audit-events.ts';
import type { Reader, Writer } from '../database/catalog.ts';
import { appendNotification } from '../database/notifications.ts';
import { readJson } from '../database/json-column.ts';
import {
  storedJsonObjectSchema,
  type StoredJsonObject,
  type StoredPrincipal,
} from '../database/stored-shapes.ts';
import { canonicalJson } from './canonical-json.ts';

export interface AuditEntry {
  readonly at: string;
  readonly actor: StoredPrincipal;
  readonly onBehalfOf?: StoredPrincipal | null;
  readonly sourceAddress?: string | null;
  /** `<noun>.<verb>`: `snapshot.create`. */
  readonly action: string;
  readonly resourceType: string;
  readonly resourceId?: string | null;
  readonly resourceName?: string | null;
  readonly requestId?: string | null;
  /** `intent` before the act, one of the others after it. */
  readonly outcome: AuditOutcome;
  readonly reason?: string | null;
  /** Never secrets. */
  readonly details?: StoredJsonObject;
}

export interface ChainVerification {
  readonly intact: boolean;
  readonly eventsChecked: number;
  readonly headHash: string | null;
  readonly firstBroken: { readonly sequence: number; readonly reason: string } | null;
}

const FIRST_PREVIOUS_HASH = '0'.repeat(64);
const PAGE_SIZE = 500;

/** In the transaction of what it records, so that neither exists without the other. */
export async function appendAuditEvent(tx: Writer, entry: AuditEntry): Promise<AuditEventRow> {
  const head = await readAuditHead(tx);
  // The catalog stores UTF-8, which has no lone surrogates; what is hashed must be what is stored.
  const text = (value: string | null | undefined): string | null => value?.toWellFormed() ?? null;
  const unsealed = {
    sequence: (head?.sequence ?? 0) + 1,
    at: entry.at,
    actor: entry.actor,
    onBehalfOf: entry.onBehalfOf ?? null,
    sourceAddress: text(entry.sourceAddress),
    action: entry.action.toWellFormed(),
    resourceType: entry.resourceType.toWellFormed(),
    resourceId: text(entry.resourceId),
    resourceName: text(entry.resourceName),
    requestId: entry.requestId ?? null,
    outcome: entry.outcome,
    reason: text(entry.reason),
    // As reading gives it back, which is what verification hashes.
    details: readJson(storedJsonObjectSchema, JSON.stringify(entry.details ?? {}), 'audit details'),
    previousHash: head?.hash ?? FIRST_PREVIOUS_HASH,
  };
  const event = { ...unsealed, hash: hashOf(unsealed) };
  await insertAuditEvent(tx, event);
  await appendNotification(tx, {
    at: entry.at,
    type: 'created',
    resource: 'audit-event',
    resourceId: String(event.sequence),
    vmId: null,
  });
  return event;
}

/** SHA-256 over the canonical JSON of every field but the hash itself; hex. */
function hashOf(event: Omit<AuditEventRow, 'hash'>): string {
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

/** Hash of the newest event: what a manifest carries, so that the past cannot be rewritten alone. */
export async function auditHeadHash(db: Reader): Promise<string | null> {
  return (await readAuditHead(db))?.hash ?? null;
}

/** Recomputes the whole chain, in pages, and names the first link that does not hold. */
export async function verifyAuditChain(db: Reader): Promise<ChainVerification> {
  let checked = 0;
  let previousHash = FIRST_PREVIOUS_HASH;
  for (;;) {
    const page = await readPage(db, checked);
    if (page === 'unreadable')
      return broken(checked, previousHash, 'the record is not readable as it was written');
    for (const event of page) {
      const reason = findBreak(event, { sequence: checked + 1, previousHash });
      if (reason) return broken(checked, previousHash, reason);
      checked += 1;
      previousHash = event.hash;
    }
    if (page.length === 0) break;
  }
  const headHash = checked === 0 ? null : previousHash;
  return { intact: true, eventsChecked: checked, headHash, firstBroken: null };
}

function findBreak(
  event: AuditEventRow,
  expected: { sequence: number; previousHash: string },
): string | undefined {
  if (event.sequence !== expected.sequence) return 'a record is missing here';
  if (event.previousHash !== expected.previousHash)
    return 'the record does not follow from the one before it';
  if (event.hash !== hashOf(event)) return 'the record was changed after it was written';
  return undefined;
}

const broken = (checked: number, headHash: string, reason: string): ChainVerification => ({
  intact: false,
  eventsChecked: checked,
  headHash: checked === 0 ? null : headHash,
  firstBroken: { sequence: checked + 1, reason },
});

/** When a page holds a record that does not parse, only what is before that record. */
async function readPage(
  db: Reader,
  afterSequence: number,
): Promise<AuditEventRow[] | 'unreadable'> {
  for (const limit of [PAGE_SIZE, 1]) {
    try {
      return await listAuditEvents(db, {}, { limit, afterSequence, order: 'oldest' });
    } catch {
      // Safe to ignore: the smaller page, or the caller, says which record it is.
    }
  }
  return 'unreadable';
}
