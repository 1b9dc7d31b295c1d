import type { z } from 'zod';
import type { auditEventExportQuerySchema } from '../../contract/audit-events.ts';
import { describeThrown } from '../../shared/errors.ts';
import { authorizeSomewhere, reachOf } from '../access/principal.ts';
import { CSV_HEADER, formatCsvRow, formatJsonLine } from '../audit/audit-export.ts';
import { appendAuditEvent, type AuditEntry } from '../audit/audit-trail.ts';
import { listAuditEvents } from '../database/audit-events.ts';
import type { VmReach } from '../database/vm-reach.ts';
import type { Caller, Environment } from './environment.ts';
import { auditEntry, recordedAct, type Act } from './recorded.ts';

const PAGE_SIZE = 200;

export type AuditExportQuery = z.output<typeof auditEventExportQuerySchema>;

/**
 * The trail up to the event that records this export, oldest first. Nothing is read before it is
 * asked for, so a slow reader holds one page; when it is gone, the outcome says how far it came.
 */
export async function auditEventExport(
  environment: Environment,
  caller: Caller,
  query: AuditExportQuery,
): Promise<AsyncGenerator<string>> {
  const { format, ...filter } = query;
  const act: Act = {
    action: 'audit.export',
    resourceType: 'audit-trail',
    details: { format, filter: Object.fromEntries(definedOf(filter)) },
  };
  const { sequence } = await recordedAct(environment, caller, act, async (tx) => {
    authorizeSomewhere(caller.principal, 'read-audit');
    return await appendAuditEvent(
      tx,
      auditEntry(environment, caller, { ...act, outcome: 'intent' }),
    );
  });
  return exportLines(environment, {
    query: { ...query, throughSequence: sequence, reach: reachOf(caller.principal, 'read-audit') },
    onEnd: async (outcome, details, reason) => {
      const end = { ...act, outcome, reason, details: { ...act.details, ...details } };
      await environment.catalog.write((tx) =>
        appendAuditEvent(tx, auditEntry(environment, caller, end)),
      );
    },
  });
}

const definedOf = (filter: Readonly<Record<string, string | undefined>>): [string, string][] =>
  Object.entries(filter).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]]));

async function* exportLines(
  { catalog, logger }: Environment,
  options: {
    query: AuditExportQuery & { throughSequence: number; reach: VmReach };
    onEnd: (
      outcome: AuditEntry['outcome'],
      details: { events: number; lastHash: string | null },
      reason: string | null,
    ) => Promise<void>;
  },
): AsyncGenerator<string> {
  const { format, ...filter } = options.query;
  let events = 0;
  let afterSequence = 0;
  let lastHash: string | null = null;
  let failure: string | null = 'the reader went away';
  try {
    if (format === 'csv') yield CSV_HEADER;
    for (;;) {
      const page = await listAuditEvents(catalog.read, filter, {
        limit: PAGE_SIZE,
        afterSequence,
        order: 'oldest',
      });
      const last = page.at(-1);
      if (!last) break;
      yield page.map(format === 'csv' ? formatCsvRow : formatJsonLine).join('');
      events += page.length;
      afterSequence = last.sequence;
      lastHash = last.hash;
    }
    failure = null;
  } catch (error) {
    failure = describeThrown(error);
    logger.error({ error }, 'an export of the audit trail failed');
    throw error;
  } finally {
    await options.onEnd(failure === null ? 'succeeded' : 'failed', { events, lastHash }, failure);
  }
}
