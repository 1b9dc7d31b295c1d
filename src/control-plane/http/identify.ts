import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { OperationError } from '../../shared/errors.ts';
import {
  identifyCaller,
  type Caller,
  type Credentials,
  type Environment,
} from '../operations/environment.ts';
import { refuseForgedCall } from '../operations/sessions.ts';
import { findForgery } from './forgery.ts';
import { readSessionCookie } from './session-cookie.ts';

export interface RateLimits {
  readonly perTokenAndMinute: number;
  readonly failuresPerAddressAndMinute: number;
}

export const RATE_LIMITS: RateLimits = { perTokenAndMinute: 1200, failuresPerAddressAndMinute: 60 };

export interface Identifier {
  /** Who calls, once it is sure that they and no other page asked for it. */
  caller(
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<{ caller: Caller; credentials: Credentials }>;
  /** Does something that shows who calls; its failures count for the address. */
  counted<Result>(
    request: FastifyRequest,
    reply: FastifyReply,
    work: () => Promise<Result>,
  ): Promise<Result>;
}

const SAFE_METHODS = new Set(['GET', 'HEAD']);

export function createIdentifier(
  app: FastifyInstance,
  environment: Environment,
  limits: RateLimits,
): Identifier {
  const timeWindow = 60_000;
  const callers = new WeakMap<FastifyRequest, Caller>();
  const limitToken = app.createRateLimit({
    max: limits.perTokenAndMinute,
    timeWindow,
    keyGenerator: (request) => {
      const caller = callers.get(request);
      return caller?.session?.id ?? caller?.principal.tokenId ?? request.ip;
    },
  });
  const limitFailures = app.createRateLimit({
    max: limits.failuresPerAddressAndMinute,
    timeWindow,
    keyGenerator: (request) => request.ip,
  });
  const refuse = (limit: { ttlInSeconds: number }): never => {
    throw new OperationError('rate_limited', 'Too many calls in a short time.', {
      details: { retryAfterSeconds: Math.max(1, limit.ttlInSeconds) },
    });
  };
  const counted: Identifier['counted'] = async (request, reply, work) => {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof OperationError) || error.code !== 'unauthenticated') throw error;
      const limit = await limitFailures(request);
      if (!limit.isAllowed && limit.isExceeded) refuse(limit);
      reply.header('www-authenticate', 'Bearer');
      throw error;
    }
  };
  return {
    counted,
    caller: async (request, reply) => {
      const credentials = readCredentials(request);
      const caller = await counted(
        request,
        reply,
        async () => await identifyCaller(environment, credentials),
      );
      callers.set(request, caller);
      const limit = await limitToken(request);
      if (!limit.isAllowed && limit.isExceeded) refuse(limit);
      if (caller.session && !SAFE_METHODS.has(request.method)) {
        const reason = findForgery(request, caller.session.csrfToken);
        const operation = request.routeOptions.config.operationId ?? 'unknown';
        if (reason !== undefined)
          await refuseForgedCall(environment, caller, { operation, reason });
      }
      return { caller, credentials };
    },
  };
}

/** A header that cannot be read as a token's still rules the cookie out: the caller meant to use it. */
function readCredentials(request: FastifyRequest): Credentials {
  const { authorization } = request.headers;
  const sourceAddress = request.ip;
  if (authorization !== undefined)
    return { secret: /^Bearer +(\S+)$/i.exec(authorization)?.[1] ?? '', sourceAddress };
  return { secret: undefined, sessionSecret: readSessionCookie(request), sourceAddress };
}
