import type { AuditEventRow } from '../database/audit-events.ts';

const FACILITY_LOG_AUDIT = 13;
const SEVERITY_WARNING = 4;
const SEVERITY_INFORMATIONAL = 6;
/** The number that RFC 5612 sets aside for use without one of one's own. */
const STRUCTURED_DATA_ID = 'komadori@32473';
const VALUE_MAX_CHARACTERS = 4096;

/** One event as RFC 5424, framed by its length (RFC 6587, octet counting). */
export function formatSyslogFrame(event: AuditEventRow, hostname: string): string {
  const isBad = event.outcome === 'failed' || event.outcome === 'denied';
  const severity = isBad ? SEVERITY_WARNING : SEVERITY_INFORMATIONAL;
  const priority = FACILITY_LOG_AUDIT * 8 + severity;
  const header = `<${priority}>1 ${event.at} ${word(hostname, 255)} komadori - ${word(event.action, 32)}`;
  const thing = event.resourceName ?? event.resourceId ?? '';
  const reason = event.reason === null ? '' : `: ${event.reason}`;
  const sentence = `${event.actor.name} ${event.action} ${event.resourceType} ${thing} ${event.outcome}${reason}`;
  // A message in UTF-8 begins with a byte order mark (RFC 5424, section 6.4).
  const message = `${header} ${structuredData(event)} \ufeff${oneLine(sentence)}`;
  return `${Buffer.byteLength(message)} ${message}`;
}

function structuredData(event: AuditEventRow): string {
  const fields: Readonly<Record<string, string | null>> = {
    sequence: String(event.sequence),
    actorId: event.actor.id,
    actorName: event.actor.name,
    actorKind: event.actor.kind,
    onBehalfOf: event.onBehalfOf?.name ?? null,
    sourceAddress: event.sourceAddress,
    action: event.action,
    resourceType: event.resourceType,
    resourceId: event.resourceId,
    resourceName: event.resourceName,
    requestId: event.requestId,
    outcome: event.outcome,
    reason: event.reason,
    details: JSON.stringify(event.details),
    hash: event.hash,
  };
  const parameters = Object.entries(fields).flatMap(([name, value]) =>
    value === null ? [] : [`${name}="${escapeValue(value)}"`],
  );
  return `[${STRUCTURED_DATA_ID} ${parameters.join(' ')}]`;
}

const escapeValue = (value: string): string =>
  oneLine(value).replaceAll(/["\\\]]/g, String.raw`\$&`);

/** A receiver that writes lines must not be made to write one of somebody's choice. */
const oneLine = (text: string): string =>
  text
    .slice(0, VALUE_MAX_CHARACTERS)
    .toWellFormed()
    .replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, ' ');

/** Printable ASCII without spaces, or a dash for nothing. */
const word = (text: string, limit: number): string =>
  text.replaceAll(/[^\x21-\x7e]/g, '_').slice(0, limit) || '-';
