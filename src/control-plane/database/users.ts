import type { Selectable } from 'kysely';
import type { Reader, Writer } from './catalog.ts';
import type { PageRequest } from './page.ts';
import type { CatalogSchema } from './schema.ts';

/** A principal that is a person, with what lets that person in. */
export interface UserRow {
  readonly id: string;
  readonly name: string;
  readonly createdAt: string;
  readonly disabledAt: string | null;
  readonly displayName: string;
  /** Holds its own parameters. */
  readonly passwordHash: string | null;
  readonly passwordChangedAt: string | null;
  readonly mustChangePassword: boolean;
  /** One-time codes are set up. */
  readonly oneTimeCodes: boolean;
  readonly lastSignInAt: string | null;
  readonly version: number;
}

/** Principals that were made without a row of their own in `users` are users as well. */
const selectUsers = (db: Reader) =>
  db
    .selectFrom('principals')
    .leftJoin('users', 'users.principal_id', 'principals.id')
    .leftJoin('one_time_codes', 'one_time_codes.principal_id', 'principals.id')
    .where('principals.kind', '=', 'user')
    .selectAll('users')
    .select([
      'principals.id',
      'principals.name',
      'principals.created_at',
      'principals.disabled_at',
      'one_time_codes.confirmed_at as codes_confirmed_at',
    ]);

type JoinedRow = Pick<CatalogSchema['principals'], 'id' | 'name' | 'created_at' | 'disabled_at'> & {
  codes_confirmed_at: string | null;
} & {
  [Column in keyof Selectable<CatalogSchema['users']>]:
    | Selectable<CatalogSchema['users']>[Column]
    | null;
};

const toUser = (row: JoinedRow): UserRow => ({
  id: row.id,
  name: row.name,
  createdAt: row.created_at,
  disabledAt: row.disabled_at,
  displayName: row.display_name ?? '',
  passwordHash: row.password_hash,
  passwordChangedAt: row.password_changed_at,
  mustChangePassword: row.must_change_password === 1,
  oneTimeCodes: row.codes_confirmed_at !== null,
  lastSignInAt: row.last_sign_in_at,
  version: row.version ?? 0,
});

export async function findUser(db: Reader, id: string): Promise<UserRow | undefined> {
  const row = await selectUsers(db).where('principals.id', '=', id).executeTakeFirst();
  return row && toUser(row);
}

export async function findUserByName(db: Reader, name: string): Promise<UserRow | undefined> {
  const row = await selectUsers(db).where('principals.name', '=', name).executeTakeFirst();
  return row && toUser(row);
}

/** By name. */
export async function listUsers(
  db: Reader,
  page: PageRequest<{ name: string }>,
): Promise<UserRow[]> {
  let query = selectUsers(db);
  if (page.after) query = query.where('principals.name', '>', page.after.name);
  const rows = await query.orderBy('principals.name').limit(page.limit).execute();
  return rows.map(toUser);
}

export interface UserChange {
  readonly displayName?: string | undefined;
  readonly password?:
    | { readonly hash: string; readonly changedAt: string; readonly mustChange: boolean }
    | undefined;
  /** The same password, hashed as one would today. */
  readonly rehashed?: string | undefined;
  readonly lastSignInAt?: string | undefined;
}

export async function saveUser(tx: Writer, id: string, change: UserChange): Promise<void> {
  const columns = {
    ...(change.displayName !== undefined && { display_name: change.displayName }),
    ...(change.rehashed !== undefined && { password_hash: change.rehashed }),
    ...(change.password && {
      password_hash: change.password.hash,
      password_changed_at: change.password.changedAt,
      must_change_password: change.password.mustChange ? 1 : 0,
    }),
    ...(change.lastSignInAt !== undefined && { last_sign_in_at: change.lastSignInAt }),
  };
  // A sign-in is no change that somebody who edits the user would overwrite.
  const isEdit = change.displayName !== undefined || change.password !== undefined;
  await tx
    .insertInto('users')
    .values({ principal_id: id, ...columns })
    .onConflict((conflict) =>
      conflict.column('principal_id').doUpdateSet((eb) => ({
        ...columns,
        version: isEdit ? eb('users.version', '+', 1) : eb.ref('users.version'),
      })),
    )
    .execute();
}

/** Counts as a change of the user. */
export async function setUserDisabled(
  tx: Writer,
  id: string,
  disabledAt: string | null,
): Promise<void> {
  await tx
    .updateTable('principals')
    .set({ disabled_at: disabledAt })
    .where('id', '=', id)
    .execute();
  await tx
    .insertInto('users')
    .values({ principal_id: id })
    .onConflict((conflict) =>
      conflict
        .column('principal_id')
        .doUpdateSet((eb) => ({ version: eb('users.version', '+', 1) })),
    )
    .execute();
}

/** Ids of the roles that some binding gives to each of them. */
export async function listRoleIds(
  db: Reader,
  userIds: readonly string[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  const rows = await db
    .selectFrom('bindings')
    .select(['principal_id', 'role_id'])
    .distinct()
    .where('principal_id', 'in', userIds)
    .where('effect', '=', 'allow')
    .orderBy('role_id')
    .execute();
  const byUser = Map.groupBy(rows, (row) => row.principal_id);
  return new Map(userIds.map((id) => [id, (byUser.get(id) ?? []).map((row) => row.role_id)]));
}
