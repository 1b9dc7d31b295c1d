import type { Migration } from '../migrate.ts';
import { accessStatements } from './0001-access.ts';
import { confirmationStatements } from './0001-confirmation.ts';
import { signInStatements } from './0001-sign-in.ts';

/** Columns that say what a snapshot is: fixed once it is active (design: states). */
const SNAPSHOT_FIXED = [
  'id',
  'vm_id',
  'vm_name',
  'host_id',
  'name',
  'kind',
  'level',
  'level_reason',
  'captured_at',
  'created_at',
  'created_by',
  'created_by_id',
  'pause_ms',
  'pause_phases',
  'sizes',
  'disks',
  'skipped_disks',
  'memory_mode',
  'memory_bytes',
  'parent_snapshot_id',
  'request_id',
  'manifest_digest',
];

const tables = [
  `create table schema_migrations (
    version integer primary key,
    name text not null,
    applied_at text not null
  ) strict`,
  `create table meta (
    key text primary key,
    value text not null
  ) strict, without rowid`,
  `create table hosts (
    id text primary key,
    name text not null,
    state text not null check (state in ('ready', 'unreachable')),
    state_reason text,
    description text check (json_valid(description)),
    room text check (json_valid(room)),
    created_at text not null,
    last_seen_at text
  ) strict`,
  `create table vms (
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
  ) strict`,
  `create table snapshots (
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
  ) strict`,
  `create table requests (
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
  ) strict`,
  `create table jobs (
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
  ) strict`,
  `create table job_steps (
    job_id text not null references jobs (id),
    position integer not null,
    name text not null,
    state text not null check (state in ('waiting', 'running', 'done', 'failed', 'undone')),
    started_at text,
    finished_at text,
    failure text check (json_valid(failure)),
    primary key (job_id, name)
  ) strict, without rowid`,
  `create table scratch_reservations (
    id text primary key,
    host_id text not null references hosts (id),
    job_id text not null references jobs (id),
    folder text not null,
    reserved_bytes integer not null check (reserved_bytes >= 0),
    floor_bytes integer not null check (floor_bytes >= 0),
    created_at text not null,
    released_at text
  ) strict`,
  `create table repositories (
    id text primary key,
    name text not null,
    host_id text not null references hosts (id),
    location text not null,
    state text not null check (state in ('ready', 'locked', 'unavailable')),
    state_reason text,
    statistics text check (json_valid(statistics)),
    measured_at text,
    last_collected_at text
  ) strict`,
  `create table audit_events (
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
  ) strict`,
  `create table manifest_heads (
    snapshot_id text primary key,
    audit_head text,
    captured_at text not null
  ) strict, without rowid`,
  `create table principals (
    id text primary key,
    name text not null unique,
    kind text not null check (kind in ('user', 'token', 'schedule', 'system')),
    created_at text not null,
    disabled_at text
  ) strict`,
  `create table tokens (
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
  ) strict`,
  `create table idempotency_keys (
    principal_id text not null references principals (id),
    key text not null,
    body_hash text not null,
    answer text not null check (json_valid(answer)),
    created_at text not null,
    expires_at text not null,
    primary key (principal_id, key)
  ) strict, without rowid`,
  `create table notifications (
    sequence integer primary key autoincrement,
    at text not null,
    type text not null check (type in ('created', 'changed', 'removed', 'progress')),
    resource text not null,
    resource_id text not null,
    vm_id text
  ) strict`,
];

const indexes = [
  `create index vms_by_host on vms (host_id, present)`,
  `create index vms_by_name on vms (name)`,
  `create unique index snapshots_name_unique on snapshots (vm_id, name) where state <> 'deleted'`,
  `create index snapshots_by_vm on snapshots (vm_id, state, captured_at)`,
  `create index snapshots_by_state on snapshots (state)`,
  `create index requests_by_state on requests (state, expires_at)`,
  `create index requests_approved on requests (approval_expires_at) where state = 'approved'`,
  `create index requests_by_snapshot on requests (snapshot_id)`,
  `create index jobs_to_claim on jobs (host_id, state, created_at)
    where state in ('queued', 'running', 'undoing')`,
  `create unique index jobs_lock on jobs (lock_key)
    where state in ('running', 'undoing') and lock_key is not null`,
  `create index jobs_by_request on jobs (request_id)`,
  `create index scratch_held on scratch_reservations (host_id) where released_at is null`,
  `create index audit_events_by_resource on audit_events (resource_type, resource_id)`,
  `create index audit_events_by_time on audit_events (at)`,
  `create index audit_events_by_request on audit_events (request_id)`,
  `create index tokens_by_principal on tokens (principal_id)`,
  `create index idempotency_keys_by_expiry on idempotency_keys (expires_at)`,
];

const triggers = [
  `create trigger snapshots_fixed before update of ${SNAPSHOT_FIXED.join(', ')} on snapshots
  when old.state in ('active', 'deleting', 'deleted', 'damaged') and (
    ${SNAPSHOT_FIXED.map((column) => `old.${column} is not new.${column}`).join(' or\n    ')}
  ) begin
    select raise(abort, 'what an active snapshot is cannot be changed');
  end`,
  `create trigger snapshots_transition before update of state on snapshots
  when old.state <> new.state and not (
    (old.state = 'creating' and new.state in ('active', 'failed')) or
    (old.state = 'active' and new.state in ('deleting', 'damaged')) or
    (old.state = 'damaged' and new.state in ('deleting', 'active')) or
    (old.state = 'failed' and new.state = 'deleting') or
    (old.state = 'deleting' and new.state in ('deleted', 'active', 'damaged', 'failed'))
  ) begin
    select raise(abort, 'a snapshot cannot change between these states');
  end`,
  `create trigger snapshots_kept before delete on snapshots begin
    select raise(abort, 'snapshot rows are kept as tombstones');
  end`,
  `create trigger audit_events_fixed before update on audit_events begin
    select raise(abort, 'audit events cannot be changed');
  end`,
  `create trigger audit_events_kept before delete on audit_events begin
    select raise(abort, 'audit events cannot be deleted');
  end`,
  `create trigger audit_events_in_order before insert on audit_events
  when new.sequence <> (select coalesce(max(sequence), 0) + 1 from audit_events) begin
    select raise(abort, 'audit events are only appended, without gaps');
  end`,
];

export const initialSchema: Migration = {
  name: '0001-initial',
  statements: [
    ...tables,
    ...accessStatements,
    ...confirmationStatements,
    ...signInStatements,
    ...indexes,
    ...triggers,
  ],
};
