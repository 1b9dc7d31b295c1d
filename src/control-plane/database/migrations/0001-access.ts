/** Roles that people made, and who has which role over what. Built-in roles are not in the catalog. */
export const accessStatements = [
  `create table roles (
    id text primary key,
    name text not null,
    description text not null,
    rights text not null check (json_valid(rights)),
    created_at text not null,
    updated_at text not null,
    version integer not null default 1
  ) strict`,
  `create table bindings (
    id text primary key,
    principal_id text not null references principals (id),
    role_id text not null,
    effect text not null check (effect in ('allow', 'deny')),
    scope text not null check (json_valid(scope)),
    created_by text not null check (json_valid(created_by)),
    created_at text not null,
    updated_at text not null,
    version integer not null default 1
  ) strict`,
  `create unique index roles_name_unique on roles (name collate nocase)`,
  `create index bindings_by_principal on bindings (principal_id)`,
  `create index bindings_by_role on bindings (role_id)`,
  `create trigger roles_in_use before delete on roles
  when exists (select 1 from bindings where role_id = old.id) begin
    select raise(abort, 'a role that somebody has cannot be deleted');
  end`,
];
