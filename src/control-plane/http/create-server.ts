import helmet from '@fastify/helmet';
import rateLimit from '@fastify/rate-limit';
import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { operationIds, routeOf, type OperationId } from '../../contract/routes.ts';
import { OperationError } from '../../shared/errors.ts';
import { newId } from '../../shared/ids.ts';
import { identifyCaller, type Caller, type Environment } from '../operations/environment.ts';
import { createEventFeed } from '../operations/event-feed.ts';
import { checkReady, readFleetNumbers } from '../operations/health.ts';
import { administrationHandlers } from './administration-handlers.ts';
import { confirmationHandlers } from './confirmation-handlers.ts';
import { createCall, type Answer, type Handler } from './call.ts';
import { createEventStream } from './event-stream.ts';
import { addDashboard, CONTENT_SECURITY_POLICY, isPageRequest } from './dashboard-files.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { createOpenApiDocument } from './openapi.ts';
import { PROBLEM_MEDIA_TYPE, toProblem } from './problems.ts';
import { requestHandlers } from './request-handlers.ts';
import { snapshotHandlers } from './snapshot-handlers.ts';
import { vmHandlers } from './vm-handlers.ts';

const BODY_LIMIT_BYTES = 1024 * 1024;
const REQUEST_TIMEOUT_MS = 30_000;

/** Every route but the stream; the compiler says when one of the table is missing. */
const handlers: Readonly<Record<Exclude<OperationId, 'eventStream'>, Handler>> = {
  ...vmHandlers,
  ...snapshotHandlers,
  ...requestHandlers,
  ...confirmationHandlers,
  ...administrationHandlers,
};

export interface RateLimits {
  readonly perTokenAndMinute: number;
  readonly failuresPerAddressAndMinute: number;
}

export const RATE_LIMITS: RateLimits = { perTokenAndMinute: 1200, failuresPerAddressAndMinute: 60 };

/** The HTTP interface over the operations; the caller listens on it, or injects calls. */
export async function createServer(options: {
  environment: Environment;
  rateLimits?: RateLimits;
  /** The built dashboard; without it only the API is served. */
  dashboardFolder?: string;
}): Promise<FastifyInstance> {
  const { environment, rateLimits = RATE_LIMITS } = options;
  const app = fastify({
    logger: false,
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    genReqId: () => newId(environment.clock.now().getTime()),
    exposeHeadRoutes: false,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 128 },
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
    const { caller } = await identify(request, reply);
    const { contentType, text } = await metrics.render(await readFleetNumbers(environment, caller));
    return await reply.type(contentType).send(text);
  });
  const document = createOpenApiDocument(environment.version);
  app.get('/api/v1/openapi.json', async (request, reply) => {
    await identify(request, reply);
    return await reply.send(document);
  });
  for (const operationId of operationIds) {
    const { method, path } = routeOf(operationId);
    app.route({
      method,
      url: path.replaceAll(/\{(\w+)\}/g, ':$1'),
      config: { operationId },
      handler: async (request, reply) => {
        const { caller, secret } = await identify(request, reply);
        if (operationId === 'eventStream')
          return await stream.serve({ request, reply }, caller, secret);
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

/** What is not in the contract's shape is our bug, and must not go out. */
async function sendAnswer(
  reply: FastifyReply,
  operationId: OperationId,
  answer: Answer,
): Promise<FastifyReply> {
  const route = routeOf(operationId);
  if (answer.etag !== undefined) reply.header('etag', answer.etag);
  if (answer.location !== undefined) reply.header('location', answer.location);
  reply.status(route.status).header('cache-control', 'no-store');
  if (route.response === null) return await reply.send();
  return await reply
    .type('application/json; charset=utf-8')
    .send(route.response.parse(answer.body));
}

type Identifier = (
  request: FastifyRequest,
  reply: FastifyReply,
) => Promise<{ caller: Caller; secret: string | undefined }>;

function createIdentifier(
  app: FastifyInstance,
  environment: Environment,
  limits: RateLimits,
): Identifier {
  const timeWindow = 60_000;
  const callers = new WeakMap<FastifyRequest, Caller>();
  const limitToken = app.createRateLimit({
    max: limits.perTokenAndMinute,
    timeWindow,
    keyGenerator: (request) => callers.get(request)?.principal.tokenId ?? request.ip,
  });
  const limitFailures = app.createRateLimit({
    max: limits.failuresPerAddressAndMinute,
    timeWindow,
    keyGenerator: (request) => request.ip,
  });
  const refuse = (reply: FastifyReply, limit: { ttlInSeconds: number }): never => {
    reply.header('retry-after', Math.max(1, limit.ttlInSeconds));
    throw new OperationError('rate_limited', 'Too many calls in a short time.');
  };
  return async (request, reply) => {
    const secret = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    try {
      const caller = await identifyCaller(environment, { secret, sourceAddress: request.ip });
      callers.set(request, caller);
      const limit = await limitToken(request);
      if (!limit.isAllowed && limit.isExceeded) refuse(reply, limit);
      return { caller, secret };
    } catch (error) {
      if (!(error instanceof OperationError) || error.code !== 'unauthenticated') throw error;
      const limit = await limitFailures(request);
      if (!limit.isAllowed && limit.isExceeded) refuse(reply, limit);
      reply.header('www-authenticate', 'Bearer');
      throw error;
    }
  };
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
