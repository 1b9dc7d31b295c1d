import fastifyStatic from '@fastify/static';
import type { FastifyInstance } from 'fastify';

/** File names of the build hold a digest of their content. */
const ASSETS = '/assets/';
const YEAR_SECONDS = 365 * 24 * 3600;

/** What the dashboard may load and reach: its own origin, and nothing inline. */
export const CONTENT_SECURITY_POLICY = {
  useDefaults: false,
  directives: {
    defaultSrc: ["'none'"],
    scriptSrc: ["'self'"],
    styleSrc: ["'self'"],
    imgSrc: ["'self'", 'data:'],
    fontSrc: ["'self'"],
    connectSrc: ["'self'"],
    manifestSrc: ["'self'"],
    baseUri: ["'none'"],
    formAction: ["'self'"],
    frameAncestors: ["'none'"],
  },
};

/**
 * Gives out the built dashboard. Its pages are routes of the browser, so every address that is
 * neither a file nor the API's answers with the one HTML page.
 */
export async function addDashboard(app: FastifyInstance, folder: string): Promise<void> {
  await app.register(fastifyStatic, {
    root: folder,
    wildcard: false,
    cacheControl: false,
    setHeaders(response, filePath) {
      const isAsset = filePath.startsWith(`${folder}${ASSETS}`);
      const value = isAsset ? `public, max-age=${YEAR_SECONDS}, immutable` : 'no-cache';
      response.header('cache-control', value);
    },
  });
}

/** Whether a request that met no route is a browser asking for a page of the dashboard. */
export function isPageRequest(request: {
  method: string;
  url: string;
  headers: { accept?: string | undefined };
}): boolean {
  if (request.method !== 'GET' || request.url.startsWith('/api/')) return false;
  return (request.headers.accept ?? '').includes('text/html');
}
