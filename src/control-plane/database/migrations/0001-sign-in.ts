/** What lets people in. Secrets stand here as hashes, but for those of one-time codes, which have to be computed. */
export const signInStatements = [
  `create table users (
    principal_id text primary key references principals (id),
    display_name text not null default '',
    password_hash text,
    password_changed_at text,
    must_change_password integer not null default 0 check (must_change_password in (0, 1)),
    last_sign_in_at text,
    version integer not null default 1
  ) strict`,
  `create table sessions (
    id text primary key,
    principal_id text not null references principals (id),
    secret_hash text not null unique,
    method text not null check (method in ('password', 'openid-connect')),
    source_address text,
    user_agent text,
    created_at text not null,
    last_used_at text not null,
    expires_at text not null
  ) strict`,
  `create table one_time_codes (
    principal_id text primary key references principals (id),
    secret text not null,
    created_at text not null,
    confirmed_at text,
    last_step integer not null
  ) strict`,
  `create table recovery_codes (
    principal_id text not null references principals (id),
    code_hash text not null,
    primary key (principal_id, code_hash)
  ) strict, without rowid`,
  `create table sign_in_throttles (
    kind text not null check (kind in ('account', 'unknown', 'address')),
    key text not null,
    failures integer not null,
    last_failed_at text not null,
    blocked_until text,
    refusal_recorded integer not null default 0 check (refusal_recorded in (0, 1)),
    primary key (kind, key)
  ) strict, without rowid`,
  `create index sessions_by_principal on sessions (principal_id)`,
  `create index sign_in_throttles_by_age on sign_in_throttles (kind, last_failed_at)`,
];
