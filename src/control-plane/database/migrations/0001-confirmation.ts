const ALL_BUT_VERIFY = '["create","restore","delete","export","collect"]';

/** Rows like any other: an administrator changes or deletes them as the place needs it. */
const DEFAULT_RULES: readonly {
  readonly name: string;
  readonly description: string;
  readonly operations: string;
  readonly roles: string | null;
  readonly exceptRoles: string;
  readonly approvals: number;
}[] = [
  {
    name: 'Default: everybody but administrators',
    description: 'What anybody but an administrator asks for, somebody else approves.',
    operations: ALL_BUT_VERIFY,
    roles: null,
    exceptRoles: '["administrator"]',
    approvals: 1,
  },
  {
    name: 'Default: administrators',
    description: 'What an administrator asks for needs nobody else.',
    operations: ALL_BUT_VERIFY,
    roles: '["administrator"]',
    exceptRoles: '[]',
    approvals: 0,
  },
  {
    name: 'Default: verification',
    description: 'Reading again harms nothing.',
    operations: '["verify"]',
    roles: null,
    exceptRoles: '[]',
    approvals: 0,
  },
  {
    name: 'Default: changes of these rules',
    description: 'Raise it to have changes of these rules confirmed as well.',
    operations: '["change-rules"]',
    roles: null,
    exceptRoles: '[]',
    approvals: 0,
  },
];

const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`;

const NOW = `strftime('%Y-%m-%dT%H:%M:%fZ', 'now')`;

const insertRule = (rule: (typeof DEFAULT_RULES)[number], index: number): string =>
  `insert into confirmation_rules (id, name, description, operations, scope, roles, except_roles,
    approvals, built_in, created_at, updated_at)
  values (${[
    quoted(`00000000-0000-4000-8000-00000000000${index + 1}`),
    quoted(rule.name),
    quoted(rule.description),
    quoted(rule.operations),
    quoted('{"kind":"everything"}'),
    rule.roles === null ? 'null' : quoted(rule.roles),
    quoted(rule.exceptRoles),
    rule.approvals,
    1,
    NOW,
    NOW,
  ].join(', ')})`;

export const confirmationStatements: readonly string[] = [
  `create table confirmation_rules (
    id text primary key,
    name text not null unique,
    description text not null default '',
    operations text not null check (json_valid(operations)),
    scope text not null check (json_valid(scope)),
    roles text check (json_valid(roles)),
    except_roles text not null default '[]' check (json_valid(except_roles)),
    approvals integer not null check (approvals between 0 and 5),
    built_in integer not null default 0 check (built_in in (0, 1)),
    created_at text not null,
    updated_at text not null,
    version integer not null default 1
  ) strict`,
  `create table request_decisions (
    request_id text not null references requests (id),
    position integer not null,
    round integer not null,
    kind text not null
      check (kind in ('approve', 'reject', 'comment', 'renew', 'override', 'cancel')),
    decided_by text not null check (json_valid(decided_by)),
    decided_by_id text not null,
    comment text not null,
    at text not null,
    primary key (request_id, position)
  ) strict, without rowid`,
  `create unique index request_decisions_one_approval
    on request_decisions (request_id, round, decided_by_id) where kind = 'approve'`,
  `create trigger request_decisions_fixed before update on request_decisions begin
    select raise(abort, 'decisions cannot be changed');
  end`,
  `create trigger request_decisions_kept before delete on request_decisions begin
    select raise(abort, 'decisions cannot be deleted');
  end`,
  `create trigger roles_in_rules before delete on roles
  when exists (
    select 1 from confirmation_rules, json_each(confirmation_rules.roles) as named
    where named.value = old.id
  ) or exists (
    select 1 from confirmation_rules, json_each(confirmation_rules.except_roles) as named
    where named.value = old.id
  ) begin
    select raise(abort, 'a confirmation rule names this role');
  end`,
  ...DEFAULT_RULES.map(insertRule),
];
