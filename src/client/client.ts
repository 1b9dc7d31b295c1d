import { z } from 'zod';
import { routeOf } from '../contract/routes.ts';
import type { RouteDefinition } from '../contract/route-definition.ts';
import type { OperationId } from '../contract/routes.ts';
import { systemClock } from '../shared/clock.ts';
import { OperationError } from '../shared/errors.ts';
import { newId } from '../shared/ids.ts';
import { plainArgumentsSchema } from './call-types.ts';
import type {
  AnswerOf,
  ArgumentsOf,
  CallOptions,
  ItemOf,
  PagedOperationId,
  PlainArguments,
} from './call-types.ts';
import { download } from './download.ts';
import { followEvents } from './event-stream.ts';
import type { ClientEvent, FollowOptions } from './event-stream.ts';
import { exchange } from './http-exchange.ts';
import type { Exchange } from './http-exchange.ts';
import { pagesOf } from './pages.ts';
import type { PageOptions } from './pages.ts';
import { parseJsonOr } from './problem-answer.ts';
import { waitForRequest, watchRequest } from './watch-request.ts';
import type { RequestSight, WatchOptions } from './watch-request.ts';

export interface ClientOptions {
  /** For example `http://127.0.0.1:7070`; in a browser the page's own origin. */
  readonly baseUrl: string;
  readonly token?: string | undefined;
  /** Of a session whose cookie the browser sends by itself. */
  readonly csrfToken?: (() => string | undefined) | undefined;
  readonly timeoutMs?: number | undefined;
  readonly userAgent?: string | undefined;
  readonly fetch?: typeof globalThis.fetch | undefined;
}

export interface Answer<Body> {
  readonly body: Body;
  readonly status: number;
  readonly etag: string | null;
  readonly location: string | null;
}

export interface Client {
  /** Calls a route of the contract; throws OperationError with the server's code. */
  call<Id extends OperationId>(
    operationId: Id,
    args: ArgumentsOf<Id>,
    options?: CallOptions,
  ): Promise<AnswerOf<Id>>;
  /** As `call`, with what stands in the headers. */
  ask<Id extends OperationId>(
    operationId: Id,
    args: ArgumentsOf<Id>,
    options?: CallOptions,
  ): Promise<Answer<AnswerOf<Id>>>;
  /** The pieces of an answer that is no JSON. */
  download(
    operationId: 'auditEventExport',
    args: ArgumentsOf<'auditEventExport'>,
    options?: { signal?: AbortSignal },
  ): AsyncGenerator<string>;
  /** Items of all pages, read as they are needed. */
  pages<Id extends PagedOperationId>(
    operationId: Id,
    args: ArgumentsOf<Id>,
    options?: PageOptions,
  ): AsyncGenerator<ItemOf<Id>>;
  events(options?: FollowOptions): AsyncGenerator<ClientEvent>;
  /** Yields at every change until the request is over. */
  watchRequest(requestId: string, options?: WatchOptions): AsyncGenerator<RequestSight>;
  /** Resolves when the request is over, however it ended. */
  waitForRequest(requestId: string, options?: WatchOptions): Promise<RequestSight>;
}

const TIMEOUT_MS = 30_000;

export function createClient(options: ClientOptions): Client {
  const transport = createTransport(options);

  function ask<Id extends OperationId>(
    operationId: Id,
    args: ArgumentsOf<Id>,
    callOptions?: CallOptions,
  ): Promise<Answer<AnswerOf<Id>>>;
  // The table ties the answer's type to its schema, and the schema has checked the value.
  async function ask(
    operationId: OperationId,
    args: unknown,
    callOptions: CallOptions = {},
  ): Promise<Answer<unknown>> {
    const route = routeOf(operationId);
    const answer = await transport.send(route, plainArgumentsSchema.parse(args), callOptions);
    return {
      body: decodeAnswer(operationId, route, answer),
      status: answer.status,
      etag: answer.headers.get('etag'),
      location: answer.headers.get('location'),
    };
  }

  const client: Client = {
    ask,
    call: async (operationId, args, callOptions) =>
      (await ask(operationId, args, callOptions)).body,
    pages: (operationId, args, pageOptions) => pagesOf(client, operationId, args, pageOptions),
    download: (operationId, args, downloadOptions) =>
      download(transport, operationId, {
        args: plainArgumentsSchema.parse(args),
        signal: downloadOptions?.signal,
      }),
    events: (followOptions) => followEvents(transport, followOptions),
    watchRequest: (requestId, watchOptions) => watchRequest(client, requestId, watchOptions),
    waitForRequest: (requestId, watchOptions) => waitForRequest(client, requestId, watchOptions),
  };
  return client;
}

export interface Transport {
  send(route: RouteDefinition, args: PlainArguments, options: CallOptions): Promise<Exchange>;
  readonly fetch: typeof globalThis.fetch;
  urlOf(route: RouteDefinition, args: PlainArguments): string;
  headers(): Record<string, string>;
}

function createTransport(options: ClientOptions): Transport {
  const baseUrl = options.baseUrl.replace(/\/+$/, '');
  const transport: Transport = {
    // Browsers refuse a fetch that lost its `this`.
    fetch: options.fetch ?? ((input, init) => globalThis.fetch(input, init)),
    urlOf: (route, args) => baseUrl + fillPath(route, args.params) + formatQuery(args.query),
    headers: () => ({
      ...csrfHeader(options.csrfToken?.()),
      ...(options.token ? { authorization: `Bearer ${options.token}` } : {}),
      ...(options.userAgent ? { 'user-agent': options.userAgent } : {}),
    }),
    send: async (route, args, callOptions) => {
      const once = route.method === 'POST' || route.method === 'DELETE';
      return await exchange({
        fetch: transport.fetch,
        url: transport.urlOf(route, args),
        method: route.method,
        headers: {
          ...transport.headers(),
          accept: 'application/json, application/problem+json',
          ...(args.body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(once
            ? {
                'idempotency-key': callOptions.idempotencyKey ?? newId(systemClock.now().getTime()),
              }
            : {}),
          ...(callOptions.ifMatch === undefined ? {} : { 'if-match': callOptions.ifMatch }),
        },
        body: args.body === undefined ? undefined : JSON.stringify(args.body),
        timeoutMs: callOptions.timeoutMs ?? options.timeoutMs ?? TIMEOUT_MS,
        signal: callOptions.signal,
        // A second PATCH with If-Match would fail because of the first.
        repeatable: route.method !== 'PATCH' || callOptions.ifMatch === undefined,
      });
    },
  };
  return transport;
}

const csrfHeader = (token: string | undefined): Record<string, string> =>
  token === undefined ? {} : { 'x-csrf-token': token };

function decodeAnswer(
  operationId: OperationId,
  route: RouteDefinition,
  answer: Exchange,
): z.output<z.ZodType> {
  if (!route.response) return undefined;
  const decoded = route.response.safeParse(parseJsonOr(answer.text, undefined));
  if (decoded.success) return decoded.data;
  const issue = decoded.error.issues[0];
  throw new OperationError(
    'protocol_error',
    `The server's answer to ${operationId} is not what its interface promises (${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not JSON'}). Use a client and a server of the same version.`,
    { cause: decoded.error },
  );
}

/** Checked here as well: `..` as an id would name another route. */
function fillPath(route: RouteDefinition, params: PlainArguments['params'] = {}): string {
  for (const [name, schema] of Object.entries(route.params?.shape ?? {}))
    if (!z.safeParse(schema, params[name]).success)
      throw new OperationError(
        'invalid_input',
        `“${String(params[name])}” cannot be the ${name} in ${route.path}. Ids are shown by the list commands.`,
      );
  return route.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const value = params[name];
    return encodeURIComponent(typeof value === 'string' ? value : '');
  });
}

function formatQuery(query: PlainArguments['query'] = {}): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    const values: readonly unknown[] = Array.isArray(value) ? value : [value];
    for (const one of values)
      if (typeof one === 'string' || typeof one === 'number' || typeof one === 'boolean')
        search.append(key, String(one));
  }
  const text = search.toString();
  return text === '' ? '' : `?${text}`;
}
