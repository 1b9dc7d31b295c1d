import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { RIGHTS } from '../../contract/rights.ts';
import { operationIds, routeOf } from '../../contract/routes.ts';
import { BUILT_IN_ROLES, ROLE_RIGHTS } from '../access/roles.ts';
import { callRoute } from './route-calls.test-suite.ts';
import { startTestServer, UNKNOWN_ID, type TestServer } from './server.test-suite.ts';

const DOCUMENT = path.join(import.meta.dirname, '../../../docs/permissions.md');

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');

const roleTable = (): string =>
  table(
    ['right', ...BUILT_IN_ROLES],
    RIGHTS.map((right) => [
      `\`${right}\``,
      ...BUILT_IN_ROLES.map((role) => (hasRight(role, right) ? 'yes' : '-')),
    ]),
  );

const hasRight = (role: (typeof BUILT_IN_ROLES)[number], right: string): boolean =>
  ROLE_RIGHTS[role].some((own) => own === right);

/** Asked of a running server, about things that do not exist: 404 is what the allowed get. */
async function routeTable(server: TestServer): Promise<string> {
  const rows: string[][] = [];
  for (const operationId of operationIds) {
    const { method, path: url, right, open } = routeOf(operationId);
    const verdicts: string[] = [];
    for (const role of BUILT_IN_ROLES) {
      if (routeOf(operationId).open) {
        verdicts.push('yes');
        continue;
      }
      if (operationId === 'eventStream') {
        verdicts.push(hasRight(role, 'view') ? 'yes' : '-');
        continue;
      }
      const name = `${role} ${operationId}`;
      const token = await server.token(role, { name });
      const { statusCode, body } = await callRoute(server, operationId, token, UNKNOWN_ID);
      assert.ok(
        [200, 201, 202, 204, 403, 404, 409].includes(statusCode) ||
          operationId === 'oneTimeCodesConfirm',
        `${operationId}: give it a body in route-calls.test-suite.ts: ${body}`,
      );
      verdicts.push(statusCode === 403 ? '-' : 'yes');
    }
    rows.push([
      `\`${method} ${url}\``,
      open ? '(anybody)' : right === null ? '(own)' : `\`${right}\``,
      ...verdicts,
    ]);
  }
  return table(['route', 'right', ...BUILT_IN_ROLES], rows);
}

test('docs/permissions.md is who may do what', async (t) => {
  const server = await startTestServer(t, {
    rateLimits: { perTokenAndMinute: 1000, failuresPerAddressAndMinute: 1000 },
  });
  const before = await readFile(DOCUMENT, 'utf8');
  const after = [
    ['roles', roleTable()],
    ['routes', await routeTable(server)],
  ].reduce(
    (text, [name, rows]) =>
      text.replace(
        new RegExp(`(<!-- ${name} -->\n)[^]*?(<!-- /${name} -->)`),
        (_all, start, end) => `${start}\n${rows}\n\n${end}`,
      ),
    before,
  );
  if (process.env['UPDATE_GOLDEN']) await writeFile(DOCUMENT, after);
  assert.equal(
    await readFile(DOCUMENT, 'utf8'),
    after,
    'run again with UPDATE_GOLDEN=1 and review',
  );
});
