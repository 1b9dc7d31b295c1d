CREATE TRIGGER audit_events_fixed before update on audit_events begin
    select raise(abort, 'audit events cannot be changed');
  end;

CREATE TRIGGER audit_events_in_order before insert on audit_events
  when new.sequence <> (select coalesce(max(sequence), 0) + 1 from audit_events) begin
    select raise(abort, 'audit events are only appended, without gaps');
  end;

CREATE TRIGGER audit_events_kept before delete on audit_events begin
    select raise(abort, 'audit events cannot be deleted');
  end;

CREATE TRIGGER request_decisions_fixed before update on request_decisions begin
    select raise(abort, 'decisions cannot be changed');
  end;

CREATE TRIGGER request_decisions_kept before delete on request_decisions begin
    select raise(abort, 'decisions cannot be deleted');
  end;

CREATE TRIGGER roles_in_rules before delete on roles
  when exists (
    select 1 from confirmation_rules, json_each(confirmation_rules.roles) as named
    where named.value = old.id
  ) or exists (
    select 1 from confirmation_rules, json_each(confirmation_rules.except_roles) as named
    where named.value = old.id
  ) begin
    select raise(abort, 'a confirmation rule names this role');
  end;

CREATE TRIGGER roles_in_use before delete on roles
  when exists (select 1 from bindings where role_id = old.id) begin
    select raise(abort, 'a role that somebody has cannot be deleted');
  end;

CREATE TRIGGER snapshots_fixed before update of id, vm_id, vm_name, host_id, name, kind, level, level_reason, captured_at, created_at, created_by, created_by_id, pause_ms, pause_phases, sizes, disks, skipped_disks, memory_mode, memory_bytes, parent_snapshot_id, request_id, manifest_digest on snapshots
  when old.state in ('active', 'deleting', 'deleted', 'damaged') and (
    old.id is not new.id or
    old.vm_id is not new.vm_id or
    old.vm_name is not new.vm_name or
    old.host_id is not new.host_id or
    old.name is not new.name or
    old.kind is not new.kind or
    old.level is not new.level or
    old.level_reason is not new.level_reason or
    old.captured_at is not new.captured_at or
    old.created_at is not new.created_at or
    old.created_by is not new.created_by or
    old.created_by_id is not new.created_by_id or
    old.pause_ms is not new.pause_ms or
    old.pause_phases is not new.pause_phases or
    old.sizes is not new.sizes or
    old.disks is not new.disks or
    old.skipped_disks is not new.skipped_disks or
    old.memory_mode is not new.memory_mode or
    old.memory_bytes is not new.memory_bytes or
    old.parent_snapshot_id is not new.parent_snapshot_id or
    old.request_id is not new.request_id or
    old.manifest_digest is not new.manifest_digest
  ) begin
    select raise(abort, 'what an active snapshot is cannot be changed');
  end;

CREATE TRIGGER snapshots_kept before delete on snapshots begin
    select raise(abort, 'snapshot rows are kept as tombstones');
  end;

CREATE TRIGGER snapshots_transition before update of state on snapshots
  when old.state <> new.state and not (
    (old.state = 'creating' and new.state in ('active', 'failed')) or
    (old.state = 'active' and new.state in ('deleting', 'damaged')) or
    (old.state = 'damaged' and new.state in ('deleting', 'active')) or
    (old.state = 'failed' and new.state = 'deleting') or
    (old.state = 'deleting' and new.state in ('deleted', 'active', 'damaged', 'failed'))
  ) begin
    select raise(abort, 'a snapshot cannot change between these states');
  end;

CREATE TABLE audit_events (
    sequence integer primary key check (sequence > 0),
    at text not null,
    actor text not null check (json_valid(actor)),
    actor_id text not null,
    on_behalf_of text check (json_valid(on_behalf_of)),
    source_address text,
    action text not null,
    resource_type text not null,
    resource_id text,
    resource_name text,
    request_id text,
    outcome text not null check (outcome in ('intent', 'succeeded', 'failed', 'denied')),
    reason text,
    details text not null check (json_valid(details)),
    previous_hash text not null,
    hash text not null unique
  ) strict;

CREATE TABLE bindings (
    id text primary key,
    principal_id text not null references principals (id),
    role_id text not null,
    effect text not null check (effect in ('allow', 'deny')),
    scope text not null check (json_valid(scope)),
    created_by text not null check (json_valid(created_by)),
    created_at text not null,
    updated_at text not null,
    version integer not null default 1
  ) strict;

CREATE TABLE confirmation_rules (
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
  ) strict;

CREATE TABLE hosts (
    id text primary key,
    name text not null,
    state text not null check (state in ('ready', 'unreachable')),
    state_reason text,
    description text check (json_valid(description)),
    room text check (json_valid(room)),
    created_at text not null,
    last_seen_at text
  ) strict;

CREATE TABLE idempotency_keys (
    principal_id text not null references principals (id),
    key text not null,
    body_hash text not null,
    answer text not null check (json_valid(answer)),
    created_at text not null,
    expires_at text not null,
    primary key (principal_id, key)
  ) strict, without rowid;

CREATE TABLE job_steps (
    job_id text not null references jobs (id),
    position integer not null,
    name text not null,
    state text not null check (state in ('waiting', 'running', 'done', 'failed', 'undone')),
    started_at text,
    finished_at text,
    failure text check (json_valid(failure)),
    primary key (job_id, name)
  ) strict, without rowid;

CREATE TABLE jobs (
    id text primary key,
    request_id text not null references requests (id),
    kind text not null,
    host_id text not null references hosts (id),
    vm_id text references vms (id),
    snapshot_id text references snapshots (id),
    state text not null
      check (state in ('queued', 'running', 'undoing', 'succeeded', 'failed', 'cancelled')),
    committed integer not null default 0 check (committed in (0, 1)),
    lock_key text,
    parameters text not null check (json_valid(parameters)),
    data text not null default '{}' check (json_valid(data)),
    attempts integer not null default 0,
    retries integer not null default 0,
    run_after text,
    cancel_requested integer not null default 0 check (cancel_requested in (0, 1)),
    cancel_reason text,
    lease_owner text,
    lease_expires_at text,
    fencing integer not null default 0,
    progress text check (json_valid(progress)),
    failure text check (json_valid(failure)),
    created_at text not null,
    started_at text,
    finished_at text
  ) strict;

CREATE TABLE manifest_heads (
    snapshot_id text primary key,
    audit_head text,
    captured_at text not null
  ) strict, without rowid;

CREATE TABLE meta (
    key text primary key,
    value text not null
  ) strict, without rowid;

CREATE TABLE notifications (
    sequence integer primary key autoincrement,
    at text not null,
    type text not null check (type in ('created', 'changed', 'removed', 'progress')),
    resource text not null,
    resource_id text not null,
    vm_id text
  ) strict;

CREATE TABLE one_time_codes (
    principal_id text primary key references principals (id),
    secret text not null,
    created_at text not null,
    confirmed_at text,
    last_step integer not null
  ) strict;

CREATE TABLE principals (
    id text primary key,
    name text not null unique,
    kind text not null check (kind in ('user', 'token', 'schedule', 'system')),
    created_at text not null,
    disabled_at text
  ) strict;

CREATE TABLE recovery_codes (
    principal_id text not null references principals (id),
    code_hash text not null,
    primary key (principal_id, code_hash)
  ) strict, without rowid;

CREATE TABLE repositories (
    id text primary key,
    name text not null,
    host_id text not null references hosts (id),
    location text not null,
    state text not null check (state in ('ready', 'locked', 'unavailable')),
    state_reason text,
    statistics text check (json_valid(statistics)),
    measured_at text,
    last_collected_at text
  ) strict;

CREATE TABLE request_decisions (
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
  ) strict, without rowid;

CREATE TABLE requests (
    id text primary key,
    operation text not null
      check (operation in ('create', 'restore', 'delete', 'export', 'verify', 'collect',
        'change-rules')),
    state text not null check (state in ('pending', 'approved', 'executing', 'succeeded', 'failed',
      'rejected', 'expired', 'cancelled')),
    vm_id text references vms (id),
    vm_name text,
    snapshot_id text references snapshots (id),
    snapshot_name text,
    host_id text references hosts (id),
    parameters text not null check (json_valid(parameters)),
    plan text check (json_valid(plan)),
    requested_by text not null check (json_valid(requested_by)),
    requested_by_id text not null,
    source_address text,
    reason text,
    reference text,
    created_at text not null,
    expires_at text,
    approval_expires_at text,
    confirmation text not null check (json_valid(confirmation)),
    approvals_needed integer not null default 0,
    round integer not null default 1,
    emergency integer not null default 0 check (emergency in (0, 1)),
    decided_by text check (json_valid(decided_by)),
    decided_at text,
    decision_comment text,
    job_id text references jobs (id),
    finished_at text,
    failure text check (json_valid(failure)),
    result text check (json_valid(result)),
    updated_at text not null,
    version integer not null default 1
  ) strict;

CREATE TABLE roles (
    id text primary key,
    name text not null,
    description text not null,
    rights text not null check (json_valid(rights)),
    created_at text not null,
    updated_at text not null,
    version integer not null default 1
  ) strict;

CREATE TABLE schema_migrations (
    version integer primary key,
    name text not null,
    applied_at text not null
  ) strict;

CREATE TABLE scratch_reservations (
    id text primary key,
    host_id text not null references hosts (id),
    job_id text not null references jobs (id),
    folder text not null,
    reserved_bytes integer not null check (reserved_bytes >= 0),
    floor_bytes integer not null check (floor_bytes >= 0),
    created_at text not null,
    released_at text
  ) strict;

CREATE TABLE sessions (
    id text primary key,
    principal_id text not null references principals (id),
    secret_hash text not null unique,
    method text not null check (method in ('password', 'openid-connect')),
    source_address text,
    user_agent text,
    created_at text not null,
    last_used_at text not null,
    expires_at text not null
  ) strict;

CREATE TABLE sign_in_throttles (
    kind text not null check (kind in ('account', 'unknown', 'address')),
    key text not null,
    failures integer not null,
    last_failed_at text not null,
    blocked_until text,
    refusal_recorded integer not null default 0 check (refusal_recorded in (0, 1)),
    primary key (kind, key)
  ) strict, without rowid;

CREATE TABLE snapshots (
    id text primary key,
    vm_id text not null references vms (id),
    vm_name text not null,
    host_id text not null references hosts (id),
    name text not null,
    description text not null default '',
    state text not null
      check (state in ('creating', 'active', 'deleting', 'deleted', 'failed', 'damaged')),
    kind text not null check (kind in ('disk', 'full')),
    level text check (level in ('memory', 'application', 'crash', 'offline')),
    level_reason text,
    captured_at text,
    created_at text not null,
    created_by text not null check (json_valid(created_by)),
    created_by_id text not null,
    pause_ms real,
    pause_phases text not null default '[]' check (json_valid(pause_phases)),
    sizes text check (json_valid(sizes)),
    disks text not null default '[]' check (json_valid(disks)),
    skipped_disks text not null default '[]' check (json_valid(skipped_disks)),
    memory_mode text,
    memory_bytes integer not null default 0,
    parent_snapshot_id text references snapshots (id),
    checkpoint text,
    labels text not null default '{}' check (json_valid(labels)),
    pinned integer not null default 0 check (pinned in (0, 1)),
    expires_at text,
    failure text check (json_valid(failure)),
    damage text not null default '[]' check (json_valid(damage)),
    last_verified_at text,
    request_id text references requests (id),
    manifest_digest text,
    updated_at text not null,
    version integer not null default 1,
    check (state not in ('active', 'damaged') or
      (level is not null and captured_at is not null and manifest_digest is not null))
  ) strict;

CREATE TABLE tokens (
    id text primary key,
    principal_id text not null references principals (id),
    name text not null,
    secret_hash text not null unique,
    rights text check (json_valid(rights)),
    scopes text not null default '[]' check (json_valid(scopes)),
    created_at text not null,
    expires_at text,
    revoked_at text,
    last_used_at text
  ) strict;

CREATE TABLE users (
    principal_id text primary key references principals (id),
    display_name text not null default '',
    password_hash text,
    password_changed_at text,
    must_change_password integer not null default 0 check (must_change_password in (0, 1)),
    last_sign_in_at text,
    version integer not null default 1
  ) strict;

CREATE TABLE vms (
    id text primary key,
    host_id text not null references hosts (id),
    name text not null,
    state text not null,
    description text not null check (json_valid(description)),
    labels text not null default '{}' check (json_valid(labels)),
    present integer not null check (present in (0, 1)),
    current_snapshot_id text references snapshots (id),
    created_at text not null,
    updated_at text not null,
    seen_at text not null,
    version integer not null default 1
  ) strict;

CREATE INDEX audit_events_by_request on audit_events (request_id);

CREATE INDEX audit_events_by_resource on audit_events (resource_type, resource_id);

CREATE INDEX audit_events_by_time on audit_events (at);

CREATE INDEX bindings_by_principal on bindings (principal_id);

CREATE INDEX bindings_by_role on bindings (role_id);

CREATE INDEX idempotency_keys_by_expiry on idempotency_keys (expires_at);

CREATE INDEX jobs_by_request on jobs (request_id);

CREATE UNIQUE INDEX jobs_lock on jobs (lock_key)
    where state in ('running', 'undoing') and lock_key is not null;

CREATE INDEX jobs_to_claim on jobs (host_id, state, created_at)
    where state in ('queued', 'running', 'undoing');

CREATE UNIQUE INDEX request_decisions_one_approval
    on request_decisions (request_id, round, decided_by_id) where kind = 'approve';

CREATE INDEX requests_approved on requests (approval_expires_at) where state = 'approved';

CREATE INDEX requests_by_snapshot on requests (snapshot_id);

CREATE INDEX requests_by_state on requests (state, expires_at);

CREATE UNIQUE INDEX roles_name_unique on roles (name collate nocase);

CREATE INDEX scratch_held on scratch_reservations (host_id) where released_at is null;

CREATE INDEX sessions_by_principal on sessions (principal_id);

CREATE INDEX sign_in_throttles_by_age on sign_in_throttles (kind, last_failed_at);

CREATE INDEX snapshots_by_state on snapshots (state);

CREATE INDEX snapshots_by_vm on snapshots (vm_id, state, captured_at);

CREATE UNIQUE INDEX snapshots_name_unique on snapshots (vm_id, name) where state <> 'deleted';

CREATE INDEX tokens_by_principal on tokens (principal_id);

CREATE INDEX vms_by_host on vms (host_id, present);

CREATE INDEX vms_by_name on vms (name);
