import type { Reader, Writer } from './catalog.ts';

/** The secret that an app and the server share; it counts once its owner has shown a code of it. */
export interface OneTimeCodesRow {
  readonly principalId: string;
  /** Base32, as in RFC 4648. */
  readonly secret: string;
  readonly createdAt: string;
  readonly confirmedAt: string | null;
  /** Number of the newest time step of which a code was taken: it and older ones are worth nothing. */
  readonly lastStep: number;
}

export async function findOneTimeCodes(
  db: Reader,
  principalId: string,
): Promise<OneTimeCodesRow | undefined> {
  const row = await db
    .selectFrom('one_time_codes')
    .selectAll()
    .where('principal_id', '=', principalId)
    .executeTakeFirst();
  return (
    row && {
      principalId: row.principal_id,
      secret: row.secret,
      createdAt: row.created_at,
      confirmedAt: row.confirmed_at,
      lastStep: row.last_step,
    }
  );
}

export async function saveOneTimeCodes(tx: Writer, row: OneTimeCodesRow): Promise<void> {
  const columns = {
    secret: row.secret,
    created_at: row.createdAt,
    confirmed_at: row.confirmedAt,
    last_step: row.lastStep,
  };
  await tx
    .insertInto('one_time_codes')
    .values({ principal_id: row.principalId, ...columns })
    .onConflict((conflict) => conflict.column('principal_id').doUpdateSet(columns))
    .execute();
}

/** With the recovery codes. */
export async function deleteOneTimeCodes(tx: Writer, principalId: string): Promise<void> {
  await tx.deleteFrom('recovery_codes').where('principal_id', '=', principalId).execute();
  await tx.deleteFrom('one_time_codes').where('principal_id', '=', principalId).execute();
}

/** In place of all earlier ones. */
export async function replaceRecoveryCodes(
  tx: Writer,
  codes: { principalId: string; hashes: readonly string[] },
): Promise<void> {
  const { principalId, hashes } = codes;
  await tx.deleteFrom('recovery_codes').where('principal_id', '=', principalId).execute();
  await tx
    .insertInto('recovery_codes')
    .values(hashes.map((hash) => ({ principal_id: principalId, code_hash: hash })))
    .execute();
}

/** True for the one call that took it. */
export async function takeRecoveryCode(
  tx: Writer,
  code: { principalId: string; hash: string },
): Promise<boolean> {
  const result = await tx
    .deleteFrom('recovery_codes')
    .where('principal_id', '=', code.principalId)
    .where('code_hash', '=', code.hash)
    .executeTakeFirst();
  return result.numDeletedRows > 0n;
}

export async function countRecoveryCodes(db: Reader, principalId: string): Promise<number> {
  const row = await db
    .selectFrom('recovery_codes')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('principal_id', '=', principalId)
    .executeTakeFirstOrThrow();
  return row.count;
}
