import { OperationError } from '../../shared/errors.ts';
import { abortReason } from '../../shared/waiting.ts';
import type { PendingRequest } from './reply-reader.ts';
import { createReplyReader } from './reply-reader.ts';
import { COMMAND, describeRequest, encodeRequest, protocolError } from './protocol.ts';
import type { Wire } from './wire.ts';

export interface RequestSpec {
  readonly command: number;
  readonly flags: number;
  readonly offset: number;
  readonly lengthBytes: number;
  /** For reads. */
  readonly target?: Uint8Array;
  /** For writes. */
  readonly payload?: Uint8Array;
  readonly signal?: AbortSignal | undefined;
}

export interface RequestQueue {
  /**
   * Resolves when the server has done it. Once it rejects, neither target nor payload is
   * touched any more.
   */
  submit(spec: RequestSpec): Promise<PendingRequest>;
  /** Requests under way and waiting. */
  load(): number;
  /** Lets requests finish within the time, then says goodbye. No request may follow. */
  close(timeoutMs: number): Promise<void>;
}

export interface RequestQueueOptions {
  readonly where: string;
  readonly structuredReplies: boolean;
  readonly contextIds: ReadonlySet<number>;
  readonly maxRequestsInFlight: number;
  readonly requestTimeoutMs: number;
}

/** A caller with more requests waiting than this has lost track of them. */
const MAX_WAITING = 65_536;
/** How long a cancelled request may go on using its buffer before the connection is cut. */
const CANCEL_GRACE_MS = 1000;

interface Entry extends PendingRequest {
  readonly spec: RequestSpec;
  deadlineMs: number;
  cancelled: OperationError | null;
  settle(failure: OperationError | null): void;
}

interface QueueState {
  readonly wire: Wire;
  readonly options: RequestQueueOptions;
  readonly pending: Map<number, Entry>;
  readonly waiting: Entry[];
  lastCookie: number;
  failure: OperationError | null;
  closing: boolean;
  timer: NodeJS.Timeout | null;
  onDrained: () => void;
}

export function createRequestQueue(wire: Wire, options: RequestQueueOptions): RequestQueue {
  const state: QueueState = {
    wire,
    options,
    pending: new Map(),
    waiting: [],
    lastCookie: 0,
    failure: null,
    closing: false,
    timer: null,
    onDrained: () => undefined,
  };
  const { pending, waiting } = state;
  const reader = createReplyReader({
    ...options,
    find: (cookie) => pending.get(cookie),
    finish(cookie) {
      const entry = pending.get(cookie);
      pending.delete(cookie);
      entry?.settle(entry.cancelled ?? entry.failure);
      sendWaiting(state);
      if (pending.size === 0) state.onDrained();
    },
  });
  wire.setSink(reader);
  void wire.closed.then((reason) => failAll(state, reason));
  return {
    load: () => pending.size + waiting.length,
    async submit(spec) {
      if (state.failure !== null) throw state.failure;
      if (state.closing) {
        throw new OperationError('wrong_state', 'The NBD connection is being closed.');
      }
      if (spec.signal?.aborted) throw abortReason(spec.signal);
      if (waiting.length >= MAX_WAITING) {
        throw new OperationError('limit_reached', `${MAX_WAITING} NBD requests wait already.`);
      }
      return await new Promise<PendingRequest>((resolve, reject) => {
        const cancel = (entry: Entry, reason: OperationError): void =>
          cancelEntry(state, reader.filling() === entry, entry, reason);
        const entry = createEntry(spec, { resolve, reject, cancel });
        if (pending.size < options.maxRequestsInFlight) send(state, entry);
        else waiting.push(entry);
      });
    },
    async close(timeoutMs) {
      if (state.failure !== null || state.closing) return;
      state.closing = true;
      await drain(state, timeoutMs);
      wire.write([encodeRequest(DISCONNECT)]);
      await wire.end(timeoutMs);
    },
  };
}

const DISCONNECT = {
  flags: 0,
  command: COMMAND.disconnect,
  cookie: 0,
  offset: 0,
  lengthBytes: 0,
} as const;

function send(state: QueueState, entry: Entry): void {
  const { options } = state;
  state.lastCookie += 1;
  const cookie = state.lastCookie;
  entry.deadlineMs = performance.now() + options.requestTimeoutMs;
  state.pending.set(cookie, entry);
  state.timer ??= setTimeout(() => watchDeadlines(state), options.requestTimeoutMs);
  const header = encodeRequest({ ...entry.spec, cookie });
  state.wire.write(entry.spec.payload === undefined ? [header] : [header, entry.spec.payload]);
}

function sendWaiting(state: QueueState): void {
  while (state.pending.size < state.options.maxRequestsInFlight) {
    const next = state.waiting.shift();
    if (next === undefined) return;
    send(state, next);
  }
}

function watchDeadlines(state: QueueState): void {
  state.timer = null;
  const now = performance.now();
  let earliest = Number.POSITIVE_INFINITY;
  for (const entry of state.pending.values()) {
    if (entry.deadlineMs <= now) {
      state.wire.destroy(entry.cancelled ?? lateAnswer(state.options, entry));
      return;
    }
    earliest = Math.min(earliest, entry.deadlineMs);
  }
  if (state.pending.size > 0) {
    state.timer = setTimeout(() => watchDeadlines(state), Math.ceil(earliest - now));
  }
}

function cancelEntry(
  state: QueueState,
  isFilling: boolean,
  entry: Entry,
  reason: OperationError,
): void {
  entry.cancelled = reason;
  const at = state.waiting.indexOf(entry);
  if (at >= 0) {
    state.waiting.splice(at, 1);
    entry.settle(reason);
  } else if (isFilling || entry.spec.payload !== undefined) {
    // The kernel may be using the caller's buffer: it is his again when the server is done.
    entry.deadlineMs = Math.min(entry.deadlineMs, performance.now() + CANCEL_GRACE_MS);
    if (state.timer !== null) clearTimeout(state.timer);
    watchDeadlines(state);
  } else {
    entry.target = null;
    entry.settle(reason);
  }
}

function failAll(state: QueueState, reason: OperationError): void {
  state.failure = reason;
  if (state.timer !== null) clearTimeout(state.timer);
  for (const entry of [...state.pending.values(), ...state.waiting]) {
    entry.settle(entry.cancelled ?? reason);
  }
  state.pending.clear();
  state.waiting.length = 0;
  state.onDrained();
}

async function drain(state: QueueState, timeoutMs: number): Promise<void> {
  if (state.pending.size === 0) return;
  const late = setTimeout(
    () => state.wire.destroy(lateClose(state.options.where, timeoutMs)),
    timeoutMs,
  );
  await new Promise<void>((resolve) => {
    state.onDrained = resolve;
  });
  clearTimeout(late);
}

function createEntry(
  spec: RequestSpec,
  outcome: {
    resolve(request: PendingRequest): void;
    reject(reason: OperationError): void;
    cancel(entry: Entry, reason: OperationError): void;
  },
): Entry {
  const { signal } = spec;
  const onAbort = (): void => {
    if (signal !== undefined) outcome.cancel(entry, abortReason(signal));
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  const entry: Entry = {
    spec,
    command: spec.command,
    offset: spec.offset,
    lengthBytes: spec.lengthBytes,
    target: spec.target ?? null,
    covered: [],
    statuses: new Map(),
    failure: null,
    deadlineMs: Number.POSITIVE_INFINITY,
    cancelled: null,
    settle(reason) {
      signal?.removeEventListener('abort', onAbort);
      if (reason === null) outcome.resolve(entry);
      else outcome.reject(reason);
    },
  };
  return entry;
}

function lateAnswer(options: RequestQueueOptions, entry: Entry): OperationError {
  return new OperationError(
    'timed_out',
    `The NBD server at ${options.where} did not ${describeRequest(entry)} within ${options.requestTimeoutMs} ms.`,
  );
}

function lateClose(where: string, timeoutMs: number): OperationError {
  return protocolError(
    `The NBD server at ${where} left requests unanswered for ${timeoutMs} ms while closing.`,
  );
}
