import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { once } from 'node:events';
import { PROBLEM_MEDIA_TYPE } from '../contract/problem.ts';
import { operationIds, routeOf } from '../contract/routes.ts';
import type { OperationId } from '../contract/routes.ts';
import { ERROR_TABLE, OperationError, toOperationError } from '../shared/errors.ts';

export interface TableCall {
  readonly operationId: OperationId;
  readonly params: Record<string, string>;
  readonly query: Record<string, unknown>;
  readonly body: Record<string, unknown>;
  readonly headers: IncomingMessage['headers'];
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

export type TableHandler = (call: TableCall) => unknown;

export interface TableServer {
  readonly url: string;
  readonly calls: TableCall[];
  handlers: Partial<Record<OperationId, TableHandler>>;
  close(): Promise<void>;
}

export const TABLE_TOKEN = 'test-token';

/** Serves the contract's routes from handlers that a test gives; answers that break the contract fail loudly. */
export async function startTableServer(
  handlers: Partial<Record<OperationId, TableHandler>>,
): Promise<TableServer> {
  const table: { handlers: TableServer['handlers']; calls: TableCall[] } = { handlers, calls: [] };
  const server = createServer((request, response) => {
    answer(table, request, response).catch((thrown: unknown) => {
      if (!response.headersSent) sendProblem(response, toOperationError(thrown));
      else response.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    calls: table.calls,
    get handlers() {
      return table.handlers;
    },
    set handlers(value) {
      table.handlers = value;
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function answer(
  table: { handlers: TableServer['handlers']; calls: TableCall[] },
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const found = match(request.method ?? '', url.pathname);
  if (!found) throw new OperationError('not_found', 'No such route.');
  if (request.headers.authorization !== `Bearer ${TABLE_TOKEN}`)
    throw new OperationError('unauthenticated', 'Nobody is signed in.');
  const route = routeOf(found.operationId);
  const handler = table.handlers[found.operationId];
  if (!handler) throw new OperationError('internal', `The test has no ${found.operationId}.`);
  const parse = (schema: typeof route.body, value: unknown): Record<string, unknown> => {
    const parsed = schema?.safeParse(value);
    if (parsed && !parsed.success)
      throw new OperationError('invalid_input', z.prettifyError(parsed.error));
    return z.record(z.string(), z.unknown()).parse(parsed?.data ?? {});
  };
  const query: Record<string, unknown> = {};
  for (const key of new Set(url.searchParams.keys())) {
    const values = url.searchParams.getAll(key);
    query[key] = values.length === 1 ? values[0] : values;
  }
  const call: TableCall = {
    operationId: found.operationId,
    params: z.record(z.string(), z.string()).parse(parse(route.params, found.params)),
    query: parse(route.query, query),
    body: parse(route.body, route.body ? await readJson(request) : undefined),
    headers: request.headers,
    request,
    response,
  };
  table.calls.push(call);
  const result = await handler(call);
  if (response.headersSent || response.destroyed) return;
  if (!route.response) {
    response.writeHead(route.status).end();
    return;
  }
  const body = route.response.parse(result);
  response
    .writeHead(route.status, { 'content-type': 'application/json', etag: '"1"' })
    .end(JSON.stringify(body));
}

function match(
  method: string,
  pathname: string,
): { operationId: OperationId; params: Record<string, string> } | null {
  for (const operationId of operationIds) {
    const route = routeOf(operationId);
    if (route.method !== method) continue;
    const pattern = new RegExp(`^${route.path.replaceAll(/\{(\w+)\}/g, '(?<$1>[^/]+)')}$`);
    const found = pattern.exec(pathname);
    if (found) return { operationId, params: { ...found.groups } };
  }
  return null;
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const value: unknown = JSON.parse((await text(request)) || 'null');
  return value;
}

function sendProblem(response: ServerResponse, error: OperationError): void {
  const { status } = ERROR_TABLE[error.code];
  const { whatToDo = '', ...details } = error.details;
  response.writeHead(status, { 'content-type': PROBLEM_MEDIA_TYPE }).end(
    JSON.stringify({
      type: `/docs/errors#${error.code}`,
      title: error.code,
      status,
      code: error.code,
      detail: error.message,
      instance: '/',
      requestId: 'test-1',
      whatToDo,
      details,
    }),
  );
}
