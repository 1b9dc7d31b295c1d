import { describeThrown } from '../../shared/errors.ts';
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
import {
  checkChain,
  FIRST_PREVIOUS_HASH,
  hashOf,
  type ChainRecord,
  type ChainVerification,
  type KnownHead,
} from './audit-chain.ts';

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

/** Hash of the newest event: what a manifest carries, so that the past cannot be rewritten alone. */
export async function auditHeadHash(db: Reader): Promise<string | null> {
  return (await readAuditHead(db))?.hash ?? null;
}

/** Checks the whole chain of a catalog, in pages, and that heads known from elsewhere are in it. */
export const verifyAuditChain = async (
  db: Reader,
  heads: readonly KnownHead[] = [],
): Promise<ChainVerification> => await checkChain(readRecords(db), heads);

async function* readRecords(db: Reader): AsyncGenerator<ChainRecord> {
  let afterSequence = 0;
  for (;;) {
    const page = await readPage(db, afterSequence);
    yield* page;
    const last = page.at(-1);
    if (!last || 'unreadable' in last) return;
    afterSequence = last.sequence;
  }
}

/** When a page holds a record that does not parse, only what is before that record. */
async function readPage(db: Reader, afterSequence: number): Promise<ChainRecord[]> {
  let reason = '';
  for (const limit of [PAGE_SIZE, 1]) {
    try {
      return await listAuditEvents(db, {}, { limit, afterSequence, order: 'oldest' });
    } catch (error) {
      // The smaller page, or the record that is given out, says where it is.
      reason = describeThrown(error);
    }
  }
  return [{ sequence: null, unreadable: reason }];
}
