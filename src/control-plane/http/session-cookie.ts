import type { FastifyReply, FastifyRequest } from 'fastify';

/** `__Host-` binds a cookie to this host and to TLS, so that no neighbour can plant one (RFC 6265bis). */
const SECURE_NAME = '__Host-komadori-session';
const PLAIN_NAME = 'komadori-session';

/** Over TLS as the browser sees it: a proxy that is trusted says so in X-Forwarded-Proto. */
const isSecure = (request: FastifyRequest): boolean => request.protocol === 'https';

const nameFor = (request: FastifyRequest): string => (isSecure(request) ? SECURE_NAME : PLAIN_NAME);

/** Two cookies of the name mean that somebody planted one: neither counts. */
export function readSessionCookie(request: FastifyRequest): string | undefined {
  const name = nameFor(request);
  const values = (request.headers.cookie ?? '').split(';').flatMap((part) => {
    const at = part.indexOf('=');
    return at > 0 && part.slice(0, at).trim() === name ? [part.slice(at + 1).trim()] : [];
  });
  return values.length === 1 ? values[0] : undefined;
}

/** A session cookie of the browser as well: it goes when the browser ends. */
export function writeSessionCookie(reply: FastifyReply, secret: string | null): void {
  const { request } = reply;
  const attributes = [
    `${nameFor(request)}=${secret ?? ''}`,
    'Path=/',
    'HttpOnly',
    'SameSite=Strict',
    ...(isSecure(request) ? ['Secure'] : []),
    ...(secret === null ? ['Max-Age=0'] : []),
  ];
  reply.header('set-cookie', attributes.join('; '));
}
