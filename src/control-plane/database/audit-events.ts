import { sql, type RawBuilder } from 'kysely';
import { z } from 'zod';
import type { Reader, Writer } from './catalog.ts';
import { optionalJson, readJson, readOptionalJson, readWord } from './json-column.ts';
import { jsonTextAt } from './sqlite-dialect.ts';
import type { CatalogSchema } from './schema.ts';
import {
  storedJsonObjectSchema,
  storedPrincipalSchema,
  type StoredJsonObject,
  type StoredPrincipal,
} from './stored-shapes.ts';
import { isUnlimited, whereOfReachedVm, type VmReach } from './vm-reach.ts';

const auditOutcomeSchema = z.enum(['intent', 'succeeded', 'failed', 'denied']);
export type AuditOutcome = z.infer<typeof auditOutcomeSchema>;

export interface AuditEventRow {
  readonly sequence: number;
  readonly at: string;
  readonly actor: StoredPrincipal;
  readonly onBehalfOf: StoredPrincipal | null;
  readonly sourceAddress: string | null;
  readonly action: string;
  readonly resourceType: string;
  readonly resourceId: string | null;
  readonly resourceName: string | null;
  readonly requestId: string | null;
  readonly outcome: AuditOutcome;
  readonly reason: string | null;
  readonly details: StoredJsonObject;
  readonly previousHash: string;
  readonly hash: string;
}

export async function insertAuditEvent(tx: Writer, event: AuditEventRow): Promise<void> {
  await tx
    .insertInto('audit_events')
    .values({
      sequence: event.sequence,
      at: event.at,
      actor: JSON.stringify(event.actor),
      actor_id: event.actor.id,
      on_behalf_of: optionalJson(event.onBehalfOf),
      source_address: event.sourceAddress,
      action: event.action,
      resource_type: event.resourceType,
      resource_id: event.resourceId,
      resource_name: event.resourceName,
      request_id: event.requestId,
      outcome: event.outcome,
      reason: event.reason,
      details: JSON.stringify(event.details),
      previous_hash: event.previousHash,
      hash: event.hash,
    })
    .execute();
}

export async function readAuditHead(
  db: Reader,
): Promise<{ sequence: number; hash: string } | undefined> {
  return await db
    .selectFrom('audit_events')
    .select(['sequence', 'hash'])
    .orderBy('sequence', 'desc')
    .limit(1)
    .executeTakeFirst();
}

export interface AuditFilter {
  /** Undefined: for the service itself. */
  readonly reach?: VmReach | undefined;
  readonly action?: string | undefined;
  readonly actorId?: string | undefined;
  readonly actorName?: string | undefined;
  readonly resourceType?: string | undefined;
  readonly resourceId?: string | undefined;
  readonly resourceName?: string | undefined;
  /** Somewhere in action, names, reason or source address. */
  readonly search?: string | undefined;
  readonly requestId?: string | undefined;
  readonly outcome?: AuditOutcome | undefined;
  readonly after?: string | undefined;
  readonly before?: string | undefined;
  readonly throughSequence?: number | undefined;
}

export async function listAuditEvents(
  db: Reader,
  filter: AuditFilter,
  page: { limit: number; afterSequence?: number | undefined; order: 'newest' | 'oldest' },
): Promise<AuditEventRow[]> {
  let query = db.selectFrom('audit_events').selectAll();
  query = query.where(whereAboutReached(filter.reach));
  if (filter.action !== undefined) query = query.where('action', '=', filter.action);
  if (filter.actorId !== undefined) query = query.where('actor_id', '=', filter.actorId);
  if (filter.resourceType !== undefined)
    query = query.where('resource_type', '=', filter.resourceType);
  if (filter.resourceId !== undefined) query = query.where('resource_id', '=', filter.resourceId);
  if (filter.requestId !== undefined) query = query.where('request_id', '=', filter.requestId);
  if (filter.outcome) query = query.where('outcome', '=', filter.outcome);
  if (filter.after) query = query.where('at', '>', filter.after);
  if (filter.before) query = query.where('at', '<', filter.before);
  if (filter.resourceName !== undefined)
    query = query.where('resource_name', '=', filter.resourceName);
  if (filter.actorName !== undefined)
    query = query.where((eb) =>
      eb(jsonTextAt(eb.ref('actor'), 'name'), '=', filter.actorName ?? ''),
    );
  if (filter.search !== undefined) query = query.where(holdsText(filter.search));
  if (filter.throughSequence !== undefined)
    query = query.where('sequence', '<=', filter.throughSequence);
  if (page.afterSequence !== undefined)
    query = query.where('sequence', page.order === 'newest' ? '<' : '>', page.afterSequence);
  const rows = await query
    .orderBy('sequence', page.order === 'newest' ? 'desc' : 'asc')
    .limit(page.limit)
    .execute();
  return rows.map(toAuditEvent);
}

/** A record is about the VM of its request, or of the VM, snapshot or job that it names. */
function whereAboutReached(reach: VmReach | undefined): RawBuilder<boolean> {
  if (!reach || isUnlimited(reach)) return sql<boolean>`true`;
  const vmId = sql<string | null>`coalesce(
    (select vm_id from requests where requests.id = audit_events.request_id),
    case resource_type
      when 'vm' then resource_id
      when 'snapshot' then (select vm_id from snapshots where snapshots.id = resource_id)
      when 'request' then (select vm_id from requests where requests.id = resource_id)
      when 'job' then (select vm_id from jobs where jobs.id = resource_id)
    end)`;
  return whereOfReachedVm(reach, vmId);
}

function holdsText(text: string): RawBuilder<boolean> {
  const pattern = `%${text.replaceAll(/[\\%_]/g, String.raw`\$&`)}%`;
  const columns = ['action', 'actor', 'resource_name', 'resource_id', 'reason', 'source_address'];
  const tests = columns.map((column) => sql`${sql.ref(column)} like ${pattern} escape '\\'`);
  return sql<boolean>`(${sql.join(tests, sql` or `)})`;
}

function toAuditEvent(row: CatalogSchema['audit_events']): AuditEventRow {
  const where = `audit event ${row.sequence}`;
  return {
    sequence: row.sequence,
    at: row.at,
    actor: readJson(storedPrincipalSchema, row.actor, where),
    onBehalfOf: readOptionalJson(storedPrincipalSchema, row.on_behalf_of, where),
    sourceAddress: row.source_address,
    action: row.action,
    resourceType: row.resource_type,
    resourceId: row.resource_id,
    resourceName: row.resource_name,
    requestId: row.request_id,
    outcome: readWord(auditOutcomeSchema, row.outcome, where),
    reason: row.reason,
    details: readJson(storedJsonObjectSchema, row.details, where),
    previousHash: row.previous_hash,
    hash: row.hash,
  };
}
