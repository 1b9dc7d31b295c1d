import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import type { Writer } from '../database/catalog.ts';
import {
  deleteThrottle,
  findThrottle,
  saveThrottle,
  trimThrottles,
  type ThrottleKey,
  type ThrottleKind,
  type ThrottleRow,
} from '../database/sign-in-throttles.ts';

/** Attempts before the first wait; an address may be shared by many people. */
const FREE_ATTEMPTS: Readonly<Record<ThrottleKind, number>> = {
  account: 5,
  unknown: 5,
  address: 20,
};
const FIRST_WAIT_MS = 10_000;
const WAIT_MS_MAX = 15 * 60_000;
const FORGOTTEN_AFTER_MS = 24 * 3600_000;
const ROWS_PER_KIND_MAX = 10_000;

/** Names are kept as hashes: people type their password into the wrong field. */
export function throttleKeys(attempt: {
  name: string;
  isKnown: boolean;
  sourceAddress: string | null;
}): ThrottleKey[] {
  const key = createHash('sha256').update(attempt.name).digest('hex');
  return [
    { kind: attempt.isKnown ? 'account' : 'unknown', key },
    { kind: 'address', key: networkOf(attempt.sourceAddress) },
  ];
}

/** Who has an IPv6 address has its whole /64 network (RFC 6177). */
export function networkOf(address: string | null): string {
  if (address === null) return 'none';
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? [];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.split('%', 1)[0]?.toLowerCase().split('::') ?? [];
  const groups = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - groups.length - after.length);
  const all = [...groups, ...Array.from({ length: zeros }, () => '0'), ...after];
  return `${all
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}

export interface Refusal {
  readonly retryAfterSeconds: number;
  /** The first one since the wait began, which goes into the audit trail. */
  readonly isFirst: boolean;
}

/**
 * Counts an attempt as failed before it is looked at, so that many at once count as many; the one
 * that succeeds is taken back. Undefined: go on.
 */
export async function beginAttempt(
  tx: Writer,
  keys: readonly ThrottleKey[],
  now: Date,
): Promise<Refusal | undefined> {
  const rows = await Promise.all(keys.map(async (key) => await findCurrent(tx, key, now)));
  const blocked = rows.filter((row) => remainingMs(row, now) > 0);
  if (blocked.length > 0) {
    const isFirst = blocked.some((row) => !row.refusalRecorded);
    for (const row of blocked) await saveThrottle(tx, { ...row, refusalRecorded: true });
    const waitMs = Math.max(...blocked.map((row) => remainingMs(row, now)));
    return { retryAfterSeconds: Math.ceil(waitMs / 1000), isFirst };
  }
  for (const row of rows) {
    await saveThrottle(tx, countFailure(row, now));
    await trimThrottles(tx, {
      kind: row.kind,
      failedAfter: new Date(now.getTime() - FORGOTTEN_AFTER_MS).toISOString(),
      kept: ROWS_PER_KIND_MAX,
    });
  }
  return undefined;
}

/** An account begins anew; of an address only this attempt is taken back. */
export async function forgiveAttempt(
  tx: Writer,
  keys: readonly ThrottleKey[],
  now: Date,
): Promise<void> {
  for (const key of keys) {
    if (key.kind !== 'address') {
      await deleteThrottle(tx, key);
      continue;
    }
    const row = await findCurrent(tx, key, now);
    const failures = Math.max(0, row.failures - 1);
    const blockedUntil = failures < FREE_ATTEMPTS.address ? null : row.blockedUntil;
    if (failures === 0) await deleteThrottle(tx, key);
    else await saveThrottle(tx, { ...row, failures, blockedUntil });
  }
}

async function findCurrent(tx: Writer, key: ThrottleKey, now: Date): Promise<ThrottleRow> {
  const row = await findThrottle(tx, key);
  if (row && now.getTime() - Date.parse(row.lastFailedAt) < FORGOTTEN_AFTER_MS) return row;
  const lastFailedAt = now.toISOString();
  return { ...key, failures: 0, lastFailedAt, blockedUntil: null, refusalRecorded: false };
}

const remainingMs = (row: ThrottleRow, now: Date): number =>
  row.blockedUntil === null ? 0 : Date.parse(row.blockedUntil) - now.getTime();

function countFailure(row: ThrottleRow, now: Date): ThrottleRow {
  const failures = row.failures + 1;
  const over = failures - FREE_ATTEMPTS[row.kind];
  const waitMs = over < 0 ? 0 : Math.min(WAIT_MS_MAX, FIRST_WAIT_MS * 2 ** Math.min(over, 16));
  return {
    kind: row.kind,
    key: row.key,
    failures,
    lastFailedAt: now.toISOString(),
    blockedUntil: waitMs === 0 ? null : new Date(now.getTime() + waitMs).toISOString(),
    refusalRecorded: false,
  };
}
