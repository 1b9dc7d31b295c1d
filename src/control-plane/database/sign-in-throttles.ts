import type { Reader, Writer } from './catalog.ts';

/** `unknown`: names that no account has, kept apart so that they can never push out those of accounts. */
export type ThrottleKind = 'account' | 'unknown' | 'address';

export interface ThrottleKey {
  readonly kind: ThrottleKind;
  readonly key: string;
}

export interface ThrottleRow extends ThrottleKey {
  readonly failures: number;
  readonly lastFailedAt: string;
  readonly blockedUntil: string | null;
  /** The refusal of this block is in the audit trail; one record a block is enough. */
  readonly refusalRecorded: boolean;
}

export async function findThrottle(
  db: Reader,
  { kind, key }: ThrottleKey,
): Promise<ThrottleRow | undefined> {
  const row = await db
    .selectFrom('sign_in_throttles')
    .selectAll()
    .where('kind', '=', kind)
    .where('key', '=', key)
    .executeTakeFirst();
  return (
    row && {
      kind,
      key,
      failures: row.failures,
      lastFailedAt: row.last_failed_at,
      blockedUntil: row.blocked_until,
      refusalRecorded: row.refusal_recorded === 1,
    }
  );
}

export async function saveThrottle(tx: Writer, row: ThrottleRow): Promise<void> {
  const columns = {
    failures: row.failures,
    last_failed_at: row.lastFailedAt,
    blocked_until: row.blockedUntil,
    refusal_recorded: row.refusalRecorded ? 1 : 0,
  };
  await tx
    .insertInto('sign_in_throttles')
    .values({ kind: row.kind, key: row.key, ...columns })
    .onConflict((conflict) => conflict.columns(['kind', 'key']).doUpdateSet(columns))
    .execute();
}

export async function deleteThrottle(tx: Writer, { kind, key }: ThrottleKey): Promise<void> {
  await tx
    .deleteFrom('sign_in_throttles')
    .where('kind', '=', kind)
    .where('key', '=', key)
    .execute();
}

/** What is too old to count, then the oldest of what is more than the table may hold. */
export async function trimThrottles(
  tx: Writer,
  limits: { kind: ThrottleKind; failedAfter: string; kept: number },
): Promise<void> {
  await tx
    .deleteFrom('sign_in_throttles')
    .where('kind', '=', limits.kind)
    .where('last_failed_at', '<=', limits.failedAfter)
    .execute();
  const overflow = tx
    .selectFrom('sign_in_throttles')
    .select('key')
    .where('kind', '=', limits.kind)
    .orderBy('last_failed_at', 'desc')
    .offset(limits.kept)
    .limit(1_000_000);
  await tx
    .deleteFrom('sign_in_throttles')
    .where('kind', '=', limits.kind)
    .where('key', 'in', overflow)
    .execute();
}
