import { z } from 'zod';
import { describeThrown } from '../../shared/errors.ts';
import type { AuditEventRow } from '../database/audit-events.ts';
import { storedJsonObjectSchema } from '../database/stored-shapes.ts';
import type { ChainRecord } from './audit-chain.ts';

/** No record is near this size: details are bounded by what a call may hold. */
const LINE_MAX_CHARACTERS = 4 * 1024 * 1024;

const exportedPrincipalSchema = z.strictObject({
  id: z.string(),
  name: z.string(),
  kind: z.enum(['user', 'token', 'schedule', 'system']),
});

/** Strict: a member that the hash does not cover would be a place to add to history. */
const exportedRecordSchema = z.strictObject({
  sequence: z.int().positive(),
  at: z.string(),
  actor: exportedPrincipalSchema,
  onBehalfOf: exportedPrincipalSchema.nullable(),
  sourceAddress: z.string().nullable(),
  action: z.string(),
  resourceType: z.string(),
  resourceId: z.string().nullable(),
  resourceName: z.string().nullable(),
  requestId: z.string().nullable(),
  outcome: z.enum(['intent', 'succeeded', 'failed', 'denied']),
  reason: z.string().nullable(),
  details: storedJsonObjectSchema,
  previousHash: z.string(),
  hash: z.string(),
});

export const formatJsonLine = (event: AuditEventRow): string => `${JSON.stringify(event)}\n`;

/** Reads a JSON-lines export piece by piece, whatever its size. */
export async function* parseExport(pieces: AsyncIterable<string>): AsyncGenerator<ChainRecord> {
  let rest = '';
  for await (const piece of pieces) {
    rest += piece;
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield parseLine(line);
    if (rest.length > LINE_MAX_CHARACTERS) {
      yield { sequence: null, unreadable: 'the line is too long' };
      return;
    }
  }
  if (rest !== '') yield parseLine(rest);
}

function parseLine(line: string): ChainRecord {
  try {
    return exportedRecordSchema.parse(JSON.parse(line));
  } catch (error) {
    const reason = error instanceof z.ZodError ? z.prettifyError(error) : describeThrown(error);
    return { sequence: null, unreadable: reason };
  }
}

const CSV_COLUMNS: readonly [string, (event: AuditEventRow) => string | number | null][] = [
  ['sequence', (event) => event.sequence],
  ['at', (event) => event.at],
  ['actor_id', (event) => event.actor.id],
  ['actor_name', (event) => event.actor.name],
  ['actor_kind', (event) => event.actor.kind],
  ['on_behalf_of', (event) => event.onBehalfOf?.name ?? null],
  ['source_address', (event) => event.sourceAddress],
  ['action', (event) => event.action],
  ['resource_type', (event) => event.resourceType],
  ['resource_id', (event) => event.resourceId],
  ['resource_name', (event) => event.resourceName],
  ['request_id', (event) => event.requestId],
  ['outcome', (event) => event.outcome],
  ['reason', (event) => event.reason],
  ['details', (event) => JSON.stringify(event.details)],
  ['hash', (event) => event.hash],
];

export const CSV_HEADER = csvRow(CSV_COLUMNS.map(([name]) => name));

export const formatCsvRow = (event: AuditEventRow): string =>
  csvRow(CSV_COLUMNS.map(([, read]) => read(event)));

function csvRow(values: readonly (string | number | null)[]): string {
  return `${values.map(csvField).join(',')}\r\n`;
}

/** RFC 4180; text that a spreadsheet would run as a formula gets an apostrophe before it. */
function csvField(value: string | number | null): string {
  if (value === null) return '';
  if (typeof value === 'number') return String(value);
  const text = /^\s*[=+\-@\t\r\n|%]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
