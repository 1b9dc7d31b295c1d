import { timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';

export const CSRF_HEADER = 'x-csrf-token';

/** Why a change may have been asked for by another site than ours; undefined: it was not. */
export function findForgery(
  request: FastifyRequest,
  csrfToken: string | undefined,
): string | undefined {
  const foreign = findForeignOrigin(request);
  if (foreign !== undefined) return foreign;
  if (csrfToken === undefined) return undefined;
  const given = request.headers[CSRF_HEADER];
  if (typeof given !== 'string' || !isEqual(given, csrfToken))
    return 'The header X-CSRF-Token is missing, or is not that of this session.';
  return undefined;
}

/** Browsers say from where a call comes, and pages cannot change what they say. */
export function findForeignOrigin(request: FastifyRequest): string | undefined {
  const { origin, 'sec-fetch-site': site } = request.headers;
  if (site !== undefined && site !== 'same-origin')
    return 'The call comes from a page of another site.';
  if (origin === undefined) return undefined;
  const isOurs = hostOf(origin) === hostOf(`${request.protocol}://${request.host}`);
  return isOurs ? undefined : 'The call comes from a page of another origin.';
}

/** Without the port where it goes without saying; a proxy that is not known hides the protocol. */
const hostOf = (origin: string): string =>
  URL.canParse(origin) ? new URL(origin).host : `unreadable ${origin}`;

function isEqual(given: string, expected: string): boolean {
  const [one, other] = [Buffer.from(given), Buffer.from(expected)];
  return one.length === other.length && timingSafeEqual(one, other);
}
