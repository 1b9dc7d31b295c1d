import type { Generated } from 'kysely';

/**
 * The tables as SQL sees them. Times are ISO 8601 in UTC with milliseconds, so that they sort as
 * text; flags are 0 or 1; columns named in stored-shapes.ts hold JSON.
 */
export interface CatalogSchema {
  schema_migrations: { version: number; name: string; applied_at: string };
  meta: { key: string; value: string };
  hosts: {
    id: string;
    name: string;
    state: string;
    state_reason: string | null;
    description: string | null;
    room: string | null;
    created_at: string;
    last_seen_at: string | null;
  };
  vms: {
    id: string;
    host_id: string;
    name: string;
    state: string;
    description: string;
    labels: string;
    present: number;
    current_snapshot_id: string | null;
    created_at: string;
    updated_at: string;
    /** When the worker last saw it; does not count as a change. */
    seen_at: string;
    version: number;
  };
  snapshots: {
    id: string;
    vm_id: string;
    vm_name: string;
    host_id: string;
    name: string;
    description: string;
    state: string;
    kind: string;
    level: string | null;
    level_reason: string | null;
    captured_at: string | null;
    created_at: string;
    created_by: string;
    created_by_id: string;
    pause_ms: number | null;
    pause_phases: string;
    sizes: string | null;
    disks: string;
    skipped_disks: string;
    memory_mode: string | null;
    memory_bytes: number;
    parent_snapshot_id: string | null;
    checkpoint: string | null;
    labels: string;
    pinned: number;
    expires_at: string | null;
    failure: string | null;
    damage: string;
    last_verified_at: string | null;
    request_id: string | null;
    manifest_digest: string | null;
    updated_at: string;
    version: number;
  };
  requests: {
    id: string;
    operation: string;
    state: string;
    vm_id: string | null;
    vm_name: string | null;
    snapshot_id: string | null;
    snapshot_name: string | null;
    /** Null: nothing of a host is concerned. */
    host_id: string | null;
    parameters: string;
    plan: string | null;
    requested_by: string;
    requested_by_id: string;
    source_address: string | null;
    reason: string | null;
    reference: string | null;
    created_at: string;
    expires_at: string | null;
    approval_expires_at: string | null;
    confirmation: string;
    approvals_needed: number;
    /** Approvals of an earlier round were of another plan and do not count. */
    round: number;
    emergency: number;
    decided_by: string | null;
    decided_at: string | null;
    decision_comment: string | null;
    job_id: string | null;
    finished_at: string | null;
    failure: string | null;
    result: string | null;
    updated_at: string;
    version: number;
  };
  request_decisions: {
    request_id: string;
    /** From 1 on, in the order in which they were made. */
    position: number;
    round: number;
    kind: string;
    decided_by: string;
    decided_by_id: string;
    comment: string;
    at: string;
  };
  confirmation_rules: {
    id: string;
    name: string;
    description: string;
    operations: string;
    scope: string;
    roles: string | null;
    except_roles: string;
    approvals: number;
    built_in: number;
    created_at: string;
    updated_at: string;
    version: number;
  };
  jobs: {
    id: string;
    request_id: string;
    kind: string;
    host_id: string;
    vm_id: string | null;
    snapshot_id: string | null;
    state: string;
    committed: number;
    lock_key: string | null;
    parameters: string;
    data: string;
    attempts: number;
    retries: number;
    run_after: string | null;
    cancel_requested: number;
    cancel_reason: string | null;
    lease_owner: string | null;
    lease_expires_at: string | null;
    fencing: number;
    progress: string | null;
    failure: string | null;
    created_at: string;
    started_at: string | null;
    finished_at: string | null;
  };
  job_steps: {
    job_id: string;
    position: number;
    name: string;
    state: string;
    started_at: string | null;
    finished_at: string | null;
    failure: string | null;
  };
  scratch_reservations: {
    id: string;
    host_id: string;
    job_id: string;
    folder: string;
    reserved_bytes: number;
    floor_bytes: number;
    created_at: string;
    released_at: string | null;
  };
  repositories: {
    id: string;
    name: string;
    host_id: string;
    location: string;
    state: string;
    state_reason: string | null;
    statistics: string | null;
    measured_at: string | null;
    last_collected_at: string | null;
  };
  audit_events: {
    sequence: number;
    at: string;
    actor: string;
    actor_id: string;
    on_behalf_of: string | null;
    source_address: string | null;
    action: string;
    resource_type: string;
    resource_id: string | null;
    resource_name: string | null;
    request_id: string | null;
    outcome: string;
    reason: string | null;
    details: string;
    previous_hash: string;
    hash: string;
  };
  /** Heads of the audit trail that stand in the bundles' manifests. */
  manifest_heads: { snapshot_id: string; audit_head: string | null; captured_at: string };
  principals: {
    id: string;
    name: string;
    kind: string;
    created_at: string;
    disabled_at: string | null;
  };
  roles: {
    id: string;
    name: string;
    description: string;
    rights: string;
    created_at: string;
    updated_at: string;
    version: Generated<number>;
  };
  bindings: {
    id: string;
    principal_id: string;
    role_id: string;
    effect: string;
    scope: string;
    created_by: string;
    created_at: string;
    updated_at: string;
    version: Generated<number>;
  };
  tokens: {
    id: string;
    principal_id: string;
    name: string;
    secret_hash: string;
    rights: string | null;
    scopes: string;
    created_at: string;
    expires_at: string | null;
    revoked_at: string | null;
    last_used_at: string | null;
  };
  users: {
    principal_id: string;
    display_name: Generated<string>;
    password_hash: string | null;
    password_changed_at: string | null;
    must_change_password: Generated<number>;
    last_sign_in_at: string | null;
    version: Generated<number>;
  };
  sessions: {
    id: string;
    principal_id: string;
    secret_hash: string;
    method: string;
    source_address: string | null;
    user_agent: string | null;
    created_at: string;
    last_used_at: string;
    expires_at: string;
  };
  one_time_codes: {
    principal_id: string;
    secret: string;
    created_at: string;
    confirmed_at: string | null;
    last_step: number;
  };
  recovery_codes: { principal_id: string; code_hash: string };
  sign_in_throttles: {
    kind: string;
    key: string;
    failures: number;
    last_failed_at: string;
    blocked_until: string | null;
    refusal_recorded: number;
  };
  idempotency_keys: {
    principal_id: string;
    key: string;
    body_hash: string;
    answer: string;
    created_at: string;
    expires_at: string;
  };
  notifications: {
    sequence: Generated<number>;
    at: string;
    type: string;
    resource: string;
    resource_id: string;
    /** The VM whose viewers may know of it; null: whoever may view anything. */
    vm_id: string | null;
  };
}
