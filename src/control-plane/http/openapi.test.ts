import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { operationIds, routeOf } from '../../contract/routes.ts';
import { createOpenApiDocument } from './openapi.ts';
import { startTestServer } from './server.test-suite.ts';

const document = createOpenApiDocument('1.2.3');

test('docs/openapi.json is the interface as it is', async () => {
  const golden = path.resolve(import.meta.dirname, '../../../docs/openapi.json');
  const actual = `${JSON.stringify(createOpenApiDocument('0'), undefined, 2)}\n`;
  if (process.env['UPDATE_GOLDEN']) await writeFile(golden, actual);
  assert.equal(actual, await readFile(golden, 'utf8'), 'run again with UPDATE_GOLDEN=1 and review');
});

test('the document is served, and has each route of the table', async (t) => {
  const server = await startTestServer(t);
  const response = await server.call(await server.token('viewer'), 'GET', '/api/v1/openapi.json');
  assert.deepEqual(response.json(), JSON.parse(JSON.stringify(document)));
  const { paths } = response.json<{
    paths: Record<string, Record<string, { operationId: string }>>;
  }>();
  for (const operationId of operationIds) {
    const { path: route, method } = routeOf(operationId);
    assert.equal(paths[route]?.[method.toLowerCase()]?.operationId, operationId);
  }
});

test('every reference of the document leads somewhere', () => {
  const text = JSON.stringify(document);
  const { components } = document as { components: { schemas: Record<string, unknown> } };
  const names = [...text.matchAll(/"\$ref":"([^"]*)"/g)].map((match) => match[1] ?? '');
  assert.ok(names.length > 50);
  for (const name of new Set(names)) {
    const [, found] = /^#\/components\/schemas\/(\w+)$/.exec(name) ?? [];
    assert.ok(found && components.schemas[found], name);
  }
});
