/**
 * The closed set of error codes. Each has one HTTP status and one CLI exit code,
 * mapped here and nowhere else; docs/errors.md documents every row and a test compares both.
 */
export const ERROR_TABLE = {
  // Input and access
  invalid_input: { status: 400, exitCode: 2 },
  unauthenticated: { status: 401, exitCode: 3 },
  forbidden: { status: 403, exitCode: 4 },
  not_found: { status: 404, exitCode: 5 },
  name_taken: { status: 409, exitCode: 6 },
  wrong_state: { status: 409, exitCode: 6 },
  in_use: { status: 409, exitCode: 6 },
  plan_changed: { status: 409, exitCode: 6 },
  confirmation_mismatch: { status: 422, exitCode: 2 },
  precondition_failed: { status: 412, exitCode: 6 },
  idempotency_conflict: { status: 409, exitCode: 6 },
  payload_too_large: { status: 413, exitCode: 2 },
  rate_limited: { status: 429, exitCode: 7 },
  limit_reached: { status: 429, exitCode: 7 },
  // What a VM or host cannot do
  unsupported_vm: { status: 422, exitCode: 8 },
  unsupported_disk: { status: 422, exitCode: 8 },
  mixed_hypervisor_snapshots: { status: 422, exitCode: 8 },
  agent_unavailable: { status: 422, exitCode: 8 },
  host_incapable: { status: 422, exitCode: 8 },
  // Room
  insufficient_space: { status: 507, exitCode: 9 },
  // Stored data
  repository_locked: { status: 503, exitCode: 10 },
  repository_key_wrong: { status: 503, exitCode: 10 },
  repository_not_found: { status: 503, exitCode: 10 },
  repository_damaged: { status: 500, exitCode: 11 },
  snapshot_damaged: { status: 409, exitCode: 11 },
  catalog_too_new: { status: 500, exitCode: 10 },
  // The outside world
  hypervisor_unreachable: { status: 503, exitCode: 12 },
  hypervisor_failed: { status: 502, exitCode: 12 },
  guest_changed: { status: 409, exitCode: 6 },
  protocol_error: { status: 502, exitCode: 12 },
  permission_denied: { status: 502, exitCode: 12 },
  unreachable: { status: 503, exitCode: 12 },
  timed_out: { status: 504, exitCode: 13 },
  cancelled: { status: 409, exitCode: 14 },
  interrupted: { status: 503, exitCode: 14 },
  internal: { status: 500, exitCode: 1 },
} as const satisfies Record<string, { status: number; exitCode: number }>;

export type ErrorCode = keyof typeof ERROR_TABLE;

export const isErrorCode = (value: string): value is ErrorCode => Object.hasOwn(ERROR_TABLE, value);

export type ErrorDetails = Readonly<
  Record<string, string | number | boolean | null | readonly string[]>
>;

/**
 * An expected failure. `message` is safe to show: what happened, to what, and what to do.
 * `details` are machine-readable and safe to show; `cause` is for the log only.
 */
export class OperationError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(
    code: ErrorCode,
    message: string,
    options: { details?: ErrorDetails; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'OperationError';
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** Turns anything thrown into an OperationError; what is not one already is our bug and becomes `internal`. */
export function toOperationError(thrown: unknown): OperationError {
  if (thrown instanceof OperationError) return thrown;
  if (isAbortError(thrown)) {
    const reason = thrown.cause;
    if (reason instanceof OperationError) return reason;
    return new OperationError('cancelled', 'The operation was cancelled.', { cause: thrown });
  }
  return new OperationError(
    'internal',
    'Something went wrong inside Komadori; the log has the details.',
    {
      cause: thrown,
    },
  );
}

export function isAbortError(thrown: unknown): thrown is Error {
  return thrown instanceof Error && thrown.name === 'AbortError';
}

/** A reason for a log line or for wrapping: the message of whatever was thrown. */
export function describeThrown(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
