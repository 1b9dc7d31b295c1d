import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { setTimeout as delay } from 'node:timers/promises';
import { describeThrown, OperationError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/logger.ts';
import { listAuditEvents, type AuditEventRow } from '../database/audit-events.ts';
import type { Catalog } from '../database/catalog.ts';
import { readForwardPosition, writeForwardPosition } from '../database/forward-position.ts';
import { formatSyslogFrame } from './syslog-message.ts';

const BATCH_SIZE = 200;
const DELIVERY_TIMEOUT_MS = 30_000;
const FIRST_DELAY_MS = 1000;
const DELAY_MS_MAX = 60_000;
const POLL_MS = 1000;

export interface SyslogReceiver {
  readonly host: string;
  readonly port: number;
  /** Null: plain TCP. `ca` is PEM; undefined: the usual authorities. */
  readonly tls: { readonly ca: string | undefined } | null;
}

export interface ForwardOptions {
  readonly catalog: Catalog;
  readonly receiver: SyslogReceiver;
  readonly hostname: string;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  readonly pollMs?: number;
  readonly firstDelayMs?: number;
}

/**
 * Sends every event in order until aborted. Syslog has no acknowledgement, so a batch is a
 * connection of its own: when the receiver closes its side after ours, it has read everything, and
 * only then the position moves. What was not acknowledged is sent again.
 */
export async function forwardAudit(options: ForwardOptions): Promise<void> {
  const { catalog, signal, logger, pollMs = POLL_MS, firstDelayMs = FIRST_DELAY_MS } = options;
  let delayMs = firstDelayMs;
  while (!signal.aborted) {
    try {
      const afterSequence = await readForwardPosition(catalog.read);
      const page = { limit: BATCH_SIZE, afterSequence, order: 'oldest' } as const;
      const events = await listAuditEvents(catalog.read, {}, page);
      const last = events.at(-1);
      if (last) {
        await deliver(options, events);
        await catalog.write((tx) => writeForwardPosition(tx, last.sequence));
      }
      delayMs = firstDelayMs;
      if (events.length < BATCH_SIZE) await pause(pollMs, signal);
    } catch (error) {
      if (signal.aborted) return;
      const reason = describeThrown(error);
      logger.warn({ reason, delayMs }, 'audit events could not be forwarded; trying again');
      await pause(delayMs, signal);
      delayMs = Math.min(delayMs * 2, DELAY_MS_MAX);
    }
  }
}

async function deliver(options: ForwardOptions, events: readonly AuditEventRow[]): Promise<void> {
  const limit = AbortSignal.timeout(DELIVERY_TIMEOUT_MS);
  const signal = AbortSignal.any([options.signal, limit]);
  const socket = openSocket(options.receiver);
  try {
    await once(socket, options.receiver.tls ? 'secureConnect' : 'connect', { signal });
    const closed = once(socket, 'end', { signal });
    socket.resume();
    const early = once(socket, 'close', { signal }).then(() => {
      throw new OperationError('unreachable', 'The receiver cut the connection.');
    });
    early.catch(() => undefined /* closing after the acknowledgement is how it ends */);
    socket.end(events.map((event) => formatSyslogFrame(event, options.hostname)).join(''));
    const finished = once(socket, 'finish', { signal });
    await Promise.race([Promise.all([finished, closed]), early]);
  } finally {
    socket.destroy();
  }
}

function openSocket({ host, port, tls }: SyslogReceiver): Socket {
  if (!tls) return connect({ host, port });
  const authority = tls.ca === undefined ? {} : { ca: tls.ca };
  return connectTls({ host, port, servername: host, minVersion: 'TLSv1.2', ...authority });
}

async function pause(timeMs: number, signal: AbortSignal): Promise<void> {
  // Rejects only when aborted, which the caller looks at next.
  await delay(timeMs, undefined, { signal }).catch(() => undefined);
}
