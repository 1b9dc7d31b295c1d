import { serverEventSchema } from '../contract/events.ts';
import type { EventResource, ServerEvent } from '../contract/events.ts';
import { routeOf } from '../contract/routes.ts';
import { OperationError } from '../shared/errors.ts';
import { throwIfAborted } from '../shared/waiting.ts';
import type { Transport } from './client.ts';
import { delay, readText } from './http-exchange.ts';
import { parseJsonOr, parseProblem } from './problem-answer.ts';
import { createSseParser } from './sse-parser.ts';

/** `connected` comes each time the stream opens: what was read before may be out of date. */
export type ClientEvent = { readonly type: 'connected' } | ServerEvent;

export interface FollowOptions {
  readonly resources?: readonly EventResource[] | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Connections are given up when nothing, not even a comment, came for this long. */
  readonly idleTimeoutMs?: number | undefined;
  readonly firstDelayMs?: number | undefined;
}

const IDLE_TIMEOUT_MS = 60_000;
const FIRST_DELAY_MS = 500;
const DELAY_MS_MAX = 30_000;

/** Follows events for ever, reconnecting with Last-Event-ID; throws only when the server refuses, or on abort. */
export async function* followEvents(
  transport: Transport,
  options: FollowOptions = {},
): AsyncGenerator<ClientEvent> {
  const position: Position = { lastEventId: null, retryMs: null };
  let delayMs = options.firstDelayMs ?? FIRST_DELAY_MS;
  for (;;) {
    throwIfAborted(options.signal);
    try {
      for await (const event of readOnce(transport, options, position)) {
        delayMs = options.firstDelayMs ?? FIRST_DELAY_MS;
        yield event;
      }
    } catch (error) {
      throwIfAborted(options.signal);
      if (isRefusal(error)) throw error;
      // Anything else is a lost connection, and this loop is the answer to it.
    }
    await delay(Math.max(delayMs, position.retryMs ?? 0), options.signal);
    delayMs = Math.min(delayMs * 2, DELAY_MS_MAX);
  }
}

interface Position {
  lastEventId: string | null;
  retryMs: number | null;
}

async function* readOnce(
  transport: Transport,
  options: FollowOptions,
  position: Position,
): AsyncGenerator<ClientEvent> {
  const lost = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, lost.signal]) : lost.signal;
  const idleTimeoutMs = options.idleTimeoutMs ?? IDLE_TIMEOUT_MS;
  let timer = setTimeout(() => lost.abort(), idleTimeoutMs);
  try {
    const query = options.resources ? { resource: options.resources } : {};
    const response = await transport.fetch(transport.urlOf(routeOf('eventStream'), { query }), {
      headers: {
        ...transport.headers(),
        accept: 'text/event-stream',
        ...(position.lastEventId === null ? {} : { 'last-event-id': position.lastEventId }),
      },
      signal,
      redirect: 'error',
      cache: 'no-store',
    });
    if (!response.ok || !response.body)
      throw parseProblem({ status: response.status, text: await readText(response, 65_536) });
    yield { type: 'connected' };
    const parser = createSseParser();
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => lost.abort(), idleTimeoutMs);
      for (const message of parser.push(decoder.decode(value, { stream: true }))) {
        position.lastEventId = message.id ?? position.lastEventId;
        const event = serverEventSchema.safeParse(parseJsonOr(message.data, undefined));
        // Kinds of events that a newer server sends are no concern of this client.
        if (event.success) yield event.data;
      }
      position.retryMs = parser.retryMs();
    }
  } finally {
    clearTimeout(timer);
    lost.abort();
  }
}

const REFUSALS: readonly string[] = ['unauthenticated', 'forbidden', 'not_found', 'invalid_input'];

const isRefusal = (error: unknown): error is OperationError =>
  error instanceof OperationError && REFUSALS.includes(error.code);
