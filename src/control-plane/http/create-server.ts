import { createServer as createHttpsServer, type ServerOptions } from 'node:https';
import type { SecureVersion } from 'node:tls';
import helmet from '@fastify/helmet';
import rateLimit from '@fastify/rate-limit';
import {
  fastify,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerFactory,
} from 'fastify';
import { operationIds, routeOf, routes, type OperationId } from '../../contract/routes.ts';
import { OperationError } from '../../shared/errors.ts';
import { newId } from '../../shared/ids.ts';
import type { Environment } from '../operations/environment.ts';
import { createEventFeed } from '../operations/event-feed.ts';
import { sessionCreate } from '../operations/sign-in.ts';
import { checkReady, readFleetNumbers } from '../operations/health.ts';
import { accessHandlers } from './access-handlers.ts';
import { administrationHandlers } from './administration-handlers.ts';
import { bindingHandlers } from './binding-handlers.ts';
import { confirmationHandlers } from './confirmation-handlers.ts';
import { createCall, type Answer, type Handler } from './call.ts';
import { sendAuditExport } from './download.ts';
import { createEventStream } from './event-stream.ts';
import { addDashboard, CONTENT_SECURITY_POLICY, isPageRequest } from './dashboard-files.ts';
import { createIdentifier, RATE_LIMITS, type Identifier, type RateLimits } from './identify.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { createOpenApiDocument } from './openapi.ts';
import { findForeignOrigin } from './forgery.ts';
import { parseInput } from './parse-input.ts';
import { readSessionCookie, writeSessionCookie } from './session-cookie.ts';
import { PROBLEM_MEDIA_TYPE, toProblem } from './problems.ts';
import { requestHandlers } from './request-handlers.ts';
import { snapshotHandlers } from './snapshot-handlers.ts';
import { vmHandlers } from './vm-handlers.ts';

const BODY_LIMIT_BYTES = 1024 * 1024;
const REQUEST_TIMEOUT_MS = 30_000;

/** Every route but the stream; the compiler says when one of the table is missing. */
const handlers: Readonly<
  Record<Exclude<OperationId, 'eventStream' | 'sessionCreate' | 'auditEventExport'>, Handler>
> = {
  ...vmHandlers,
  ...snapshotHandlers,
  ...requestHandlers,
  ...confirmationHandlers,
  ...administrationHandlers,
  ...accessHandlers,
  ...bindingHandlers,
};

/** The HTTP interface over the operations; the caller listens on it, or injects calls. */
export async function createServer(options: {
  environment: Environment;
  rateLimits?: RateLimits;
  /** The built dashboard; without it only the API is served. */
  dashboardFolder?: string;
  /** Certificate and key in PEM; without them it speaks plain HTTP. */
  tls?: { readonly cert: string; readonly key: string; readonly minVersion: SecureVersion };
  /** Proxies whose word on address, host and protocol of the browser is believed. */
  trustedProxies?: readonly string[];
}): Promise<FastifyInstance> {
  const { environment, rateLimits = RATE_LIMITS, trustedProxies = [], tls } = options;
  const app = fastify({
    logger: false,
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    genReqId: () => newId(environment.clock.now().getTime()),
    exposeHeadRoutes: false,
    forceCloseConnections: 'idle',
    trustProxy: trustedProxies.length === 0 ? false : [...trustedProxies],
    routerOptions: { maxParamLength: 128 },
    ...(tls && { serverFactory: tlsServerFactory(tls) }),
    // For what fails before there is a route, such as an address that is not UTF-8.
    frameworkErrors: (error, request, reply) => {
      void sendProblem(environment, error, { request, reply });
    },
  });
  const metrics = createMetrics();
  const feed = createEventFeed(environment);
  const stream = createEventStream({ environment, feed });
  await app.register(helmet, { global: true, contentSecurityPolicy: CONTENT_SECURITY_POLICY });
  await app.register(rateLimit, { global: false });
  const identify = createIdentifier(app, environment, rateLimits);

  const { dashboardFolder } = options;
  if (dashboardFolder !== undefined) await addDashboard(app, dashboardFolder);
  answerErrors(app, environment, { servesPages: dashboardFolder !== undefined });
  observe(app, environment, metrics);
  addOpenRoutes(app, environment);
  app.get('/metrics', async (request, reply) => {
    const { caller } = await identify.caller(request, reply);
    const { contentType, text } = await metrics.render(await readFleetNumbers(environment, caller));
    return await reply.type(contentType).send(text);
  });
  const document = createOpenApiDocument(environment.version);
  app.get('/api/v1/openapi.json', async (request, reply) => {
    await identify.caller(request, reply);
    return await reply.send(document);
  });
  for (const operationId of operationIds) {
    const { method, path } = routeOf(operationId);
    app.route({
      method,
      url: path.replaceAll(/\{(\w+)\}/g, ':$1'),
      config: { operationId },
      handler: async (request, reply) => {
        if (operationId === 'sessionCreate')
          return await answerSignIn(environment, identify, { request, reply });
        const { caller, credentials } = await identify.caller(request, reply);
        if (operationId === 'eventStream')
          return await stream.serve({ request, reply }, caller, credentials);
        if (operationId === 'auditEventExport')
          return await sendAuditExport(environment, caller, { request, reply });
        const answer = await handlers[operationId](createCall(environment, caller, request));
        return await sendAnswer(reply, operationId, answer);
      },
    });
  }
  app.addHook('preClose', async () => {
    stream.close();
    feed.close();
  });
  return app;
}

/** A server that fastify did not make has Node's limits, not fastify's. */
const tlsServerFactory =
  (tls: ServerOptions): FastifyServerFactory =>
  (handler) => {
    const server = createHttpsServer(tls, handler);
    server.requestTimeout = REQUEST_TIMEOUT_MS;
    return server;
  };

/** What is not in the contract's shape is our bug, and must not go out. */
async function sendAnswer(
  reply: FastifyReply,
  operationId: OperationId,
  answer: Answer,
): Promise<FastifyReply> {
  const route = routeOf(operationId);
  if (answer.etag !== undefined) reply.header('etag', answer.etag);
  if (answer.sessionSecret !== undefined) writeSessionCookie(reply, answer.sessionSecret);
  if (answer.location !== undefined) reply.header('location', answer.location);
  reply.status(route.status).header('cache-control', 'no-store');
  if (route.response === null) return await reply.send();
  return await reply
    .type('application/json; charset=utf-8')
    .send(route.response.parse(answer.body));
}

/** The one route of the table that needs no credentials, since it gives them. */
async function answerSignIn(
  environment: Environment,
  identify: Identifier,
  { request, reply }: { request: FastifyRequest; reply: FastifyReply },
): Promise<FastifyReply> {
  const foreign = findForeignOrigin(request);
  if (foreign !== undefined) throw new OperationError('forbidden', foreign);
  const { session, body } = await identify.counted(request, reply, async () => {
    const input = parseInput(routes.sessionCreate.body, request.body, 'body');
    return await sessionCreate(environment, input, {
      sourceAddress: request.ip,
      userAgent: request.headers['user-agent'] ?? null,
      sessionSecret: readSessionCookie(request),
    });
  });
  const location = session === null ? {} : { location: `/api/v1/sessions/${session.id}` };
  const sessionSecret = session === null ? {} : { sessionSecret: session.secret };
  return await sendAnswer(reply, 'sessionCreate', { body, ...location, ...sessionSecret });
}

function answerErrors(
  app: FastifyInstance,
  environment: Environment,
  { servesPages }: { servesPages: boolean },
): void {
  app.setErrorHandler(
    async (error, request, reply) => await sendProblem(environment, error, { request, reply }),
  );
  app.setNotFoundHandler(async (request, reply) => {
    if (servesPages && isPageRequest(request)) {
      return await reply.header('cache-control', 'no-cache').sendFile('index.html');
    }
    const message = `There is no ${request.method} ${pathOf(request)}. /api/v1/openapi.json lists what there is.`;
    const error = new OperationError('not_found', message);
    return await sendProblem(environment, error, { request, reply });
  });
}

function sendProblem(
  environment: Environment,
  error: unknown,
  { request, reply }: { request: FastifyRequest; reply: FastifyReply },
): FastifyReply {
  const problem = toProblem(error, {
    path: pathOf(request),
    requestId: request.id,
    logger: environment.logger,
  });
  const { retryAfterSeconds } = problem.details;
  if (typeof retryAfterSeconds === 'number') reply.header('retry-after', retryAfterSeconds);
  reply.status(problem.status).header('cache-control', 'no-store').type(PROBLEM_MEDIA_TYPE);
  return reply.send(JSON.stringify(problem));
}

/** Queries may hold names that are not for logs. */
const pathOf = (request: FastifyRequest): string => request.url.split('?', 1)[0] ?? '/';

function observe(app: FastifyInstance, environment: Environment, metrics: Metrics): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
  });
  app.addHook('onResponse', async (request, reply) => {
    const call = {
      operation: request.routeOptions.config.operationId ?? request.routeOptions.url ?? 'unknown',
      status: reply.statusCode,
      durationMs: Math.round(reply.elapsedTime),
    };
    metrics.observeCall(call);
    environment.logger.info(
      { ...call, requestId: request.id, method: request.method, path: pathOf(request) },
      'call',
    );
  });
}

function addOpenRoutes(app: FastifyInstance, environment: Environment): void {
  app.get('/healthz', async () => ({ status: 'ok' }));
  app.get('/readyz', async () => {
    await checkReady(environment);
    return { status: 'ready' };
  });
}

declare module 'fastify' {
  interface FastifyContextConfig {
    operationId?: string;
  }
}
