import { OperationError } from '../shared/errors.ts';
import { abortReason, throwIfAborted } from '../shared/waiting.ts';
import { parseProblem } from './problem-answer.ts';

export interface ExchangeOptions {
  readonly fetch: typeof globalThis.fetch;
  readonly url: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** Whether sending it again cannot do it twice. */
  readonly repeatable: boolean;
}

export interface Exchange {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

const ATTEMPTS = 4;
const FIRST_DELAY_MS = 200;
const RETRY_AFTER_MS_MAX = 10_000;
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

/** Sends a request, again after connection errors where that is safe; throws OperationError for every failure. */
export async function exchange(options: ExchangeOptions): Promise<Exchange> {
  for (let attempt = 1; ; attempt += 1) {
    const outcome = await attemptOnce(options);
    if (outcome.kind === 'answer') return outcome.answer;
    const delayMs = outcome.retryAfterMs ?? FIRST_DELAY_MS * 2 ** (attempt - 1);
    if (!outcome.retryable || attempt >= ATTEMPTS || delayMs > RETRY_AFTER_MS_MAX)
      throw outcome.error;
    await delay(delayMs, options.signal);
  }
}

type Outcome =
  | { readonly kind: 'answer'; readonly answer: Exchange }
  | {
      readonly kind: 'failure';
      readonly error: OperationError;
      readonly retryable: boolean;
      readonly retryAfterMs?: number | undefined;
    };

async function attemptOnce(options: ExchangeOptions): Promise<Outcome> {
  throwIfAborted(options.signal);
  const timeout = AbortSignal.timeout(options.timeoutMs);
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
  let answer: Exchange;
  try {
    const response = await options.fetch(options.url, {
      method: options.method,
      headers: options.headers,
      ...(options.body === undefined ? {} : { body: options.body }),
      signal,
      // A redirect would carry the token elsewhere.
      redirect: 'error',
      cache: 'no-store',
    });
    const text = await readText(response, ANSWER_BYTES_MAX);
    answer = { status: response.status, headers: response.headers, text };
  } catch (error) {
    if (options.signal?.aborted) throw abortReason(options.signal);
    if (error instanceof OperationError) throw error;
    return {
      kind: 'failure',
      error: connectionError(options, timeout.aborted, error),
      retryable: options.repeatable && !timeout.aborted,
    };
  }
  if (answer.status < 400) return { kind: 'answer', answer };
  const retryAfterMs = parseRetryAfter(answer.headers.get('retry-after'));
  return {
    kind: 'failure',
    error: parseProblem(answer),
    // The server says that it did nothing yet and when to come back.
    retryable:
      options.repeatable &&
      retryAfterMs !== undefined &&
      (answer.status === 429 || answer.status === 503),
    retryAfterMs,
  };
}

function connectionError(
  options: ExchangeOptions,
  timedOut: boolean,
  cause: unknown,
): OperationError {
  const origin = new URL(options.url, 'http://localhost').origin;
  if (timedOut)
    return new OperationError(
      'timed_out',
      `The server at ${origin} did not answer within ${options.timeoutMs} ms. Check its log, or give it more time.`,
      { cause, details: { url: options.url } },
    );
  return new OperationError(
    'unreachable',
    `The server at ${origin} cannot be reached (${connectionReason(cause)}). Check that it runs and that the address is right.`,
    { cause, details: { url: options.url } },
  );
}

function connectionReason(cause: unknown): string {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  if (inner instanceof Error && 'code' in inner && typeof inner.code === 'string')
    return inner.code;
  return inner instanceof Error ? inner.message : String(inner);
}

/** Seconds, or nothing: dates are rare here and clocks differ. */
function parseRetryAfter(value: string | null): number | undefined {
  return value !== null && /^\d{1,6}$/.test(value) ? Number(value) * 1000 : undefined;
}

export async function readText(response: Response, limitBytes: number): Promise<string> {
  if (!response.body) return '';
  const decoder = new TextDecoder();
  const parts: string[] = [];
  let total = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    total += value.byteLength;
    if (total > limitBytes) {
      await reader.cancel();
      throw new OperationError(
        'protocol_error',
        `The server's answer is larger than ${limitBytes} bytes. Ask for fewer items.`,
      );
    }
    parts.push(decoder.decode(value, { stream: true }));
  }
  parts.push(decoder.decode());
  return parts.join('');
}

export async function delay(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  throwIfAborted(signal);
  await new Promise<void>((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal ? abortReason(signal) : new OperationError('cancelled', 'Cancelled.'));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, delayMs);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
