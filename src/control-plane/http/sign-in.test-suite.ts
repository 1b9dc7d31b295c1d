import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { LightMyRequestResponse } from 'fastify';
import { sessionCreatedSchema, type User } from '../../contract/users.ts';
import type { AuditEventRow } from '../database/audit-events.ts';
import { listAuditEvents } from '../database/audit-events.ts';
import { startTestServer, type TestServer } from './server.test-suite.ts';

export const PASSWORD = 'seven quiet herons';
export const COOKIE = 'komadori-session';

/** What a browser holds after a sign-in. */
export interface Browser {
  readonly cookie: string;
  readonly csrfToken: string;
  readonly sessionId: string;
  call(
    method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
    url: string,
    more?: { body?: object; headers?: Record<string, string> },
  ): Promise<LightMyRequestResponse>;
}

export interface SignInServer extends TestServer {
  readonly administrator: string;
  /** With a password of their own. */
  user(name: string, role?: string): Promise<User>;
  signIn(
    body: object,
    headers?: Record<string, string>,
    remoteAddress?: string,
  ): Promise<LightMyRequestResponse>;
  browser(name: string, more?: object): Promise<Browser>;
  audit(action: string): Promise<AuditEventRow[]>;
}

export async function startSignInServer(
  t: TestContext,
  options: Parameters<typeof startTestServer>[1] = {},
): Promise<SignInServer> {
  const server = await startTestServer(t, {
    rateLimits: { perTokenAndMinute: 10_000, failuresPerAddressAndMinute: 10_000 },
    ...options,
  });
  const administrator = await server.token('administrator');
  const signIn: SignInServer['signIn'] = async (body, headers = {}, remoteAddress = '192.0.2.1') =>
    await server.app.inject({
      method: 'POST',
      url: '/api/v1/sessions',
      headers,
      payload: body,
      remoteAddress,
    });
  return {
    ...server,
    administrator,
    signIn,
    user: async (name, role = 'operator') => {
      const temporaryPassword = `temporary ${name} phrase`;
      const made = await server.call(administrator, 'POST', '/api/v1/users', {
        body: { name, bindings: [{ role }], temporaryPassword },
      });
      assert.equal(made.statusCode, 201, made.body);
      const first = await signIn({ name, password: temporaryPassword, newPassword: PASSWORD });
      assert.equal(first.statusCode, 201, first.body);
      return made.json<User>();
    },
    browser: async (name, more = {}) => {
      const answer = await signIn({ name, password: PASSWORD, ...more });
      assert.equal(answer.statusCode, 201, answer.body);
      return browserOf(server, answer);
    },
    audit: async (action) =>
      await listAuditEvents(server.catalog.read, { action }, { limit: 100, order: 'oldest' }),
  };
}

export const cookieOf = (answer: LightMyRequestResponse): string =>
  /^([^;]*)/.exec(String(answer.headers['set-cookie'] ?? ''))?.[1] ?? '';

function browserOf(server: TestServer, answer: LightMyRequestResponse): Browser {
  const { session } = sessionCreatedSchema.parse(answer.json());
  const cookie = cookieOf(answer);
  const csrfToken = session?.csrfToken ?? '';
  return {
    cookie,
    csrfToken,
    sessionId: session?.id ?? '',
    call: async (method, url, { body, headers } = {}) =>
      await server.call(null, method, url, {
        headers: { cookie, 'x-csrf-token': csrfToken, ...headers },
        ...(body && { body }),
      }),
  };
}
