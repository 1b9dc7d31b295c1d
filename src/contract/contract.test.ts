import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { snapshotListQuerySchema } from './snapshots.ts';
import { operationIds, routeOf } from './routes.ts';
import {
  absolutePathSchema,
  idSchema,
  labelsSchema,
  snapshotNameSchema,
  descriptionSchema,
} from './scalars.ts';
import { snapshotCreateInputSchema, snapshotRestoreInputSchema } from './snapshot-inputs.ts';

test('the table of routes is sound', () => {
  assert.ok(operationIds.length > 25);
  const seen = new Set<string>();
  for (const operationId of operationIds) {
    const route = routeOf(operationId);
    const key = `${route.method} ${route.path}`;
    assert.ok(!seen.has(key), `${key} stands twice in the table`);
    seen.add(key);
    const placeholders = [...route.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
    assert.deepEqual(Object.keys(route.params?.shape ?? {}), placeholders, operationId);
    assert.equal(route.response === null, route.status === 204, operationId);
    assert.ok(!(route.method === 'GET' && route.body), `${operationId}: GET has no body`);
    const isExport = route.download !== undefined;
    const isChange = (route.method !== 'GET' && operationId !== 'vmPreflight') || isExport;
    assert.equal(route.audited, isChange, `${operationId}: changes are audited, reading is not`);
  }
});

test('every schema can be written as JSON Schema for the OpenAPI document', () => {
  for (const operationId of operationIds) {
    const { params, query, body, response } = routeOf(operationId);
    for (const input of [params, query, body])
      if (input) assert.ok(z.toJSONSchema(input, { io: 'input' }), operationId);
    if (response) assert.ok(z.toJSONSchema(response, { io: 'output' }), operationId);
  }
});

const takes = (schema: z.ZodType, value: unknown): boolean => schema.safeParse(value).success;

test('names and paths that would hurt are refused', () => {
  for (const name of ['before upgrade', '更新前', 'a'.repeat(128)])
    assert.ok(takes(snapshotNameSchema, name), name);
  for (const name of [
    '',
    ' a',
    'a ',
    'a/b',
    'a\\b',
    'a\u001b[31m',
    'a\u202eb',
    'a\nb',
    'a'.repeat(129),
    '5f0c0b1e-6e0a-4f43-9d0e-2f1a6c3b7d10',
  ])
    assert.ok(!takes(snapshotNameSchema, name), JSON.stringify(name));
  assert.ok(takes(absolutePathSchema, '/var/lib/images'));
  for (const path of ['relative', '/', '/a/../b', '/a\0b', '/..'])
    assert.ok(!takes(absolutePathSchema, path), JSON.stringify(path));
  assert.ok(takes(descriptionSchema, 'two\nlines\tand a tab'));
  assert.ok(!takes(descriptionSchema, 'bell \u0007'));
  const labels = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, 'v']));
  assert.ok(takes(labelsSchema, labels(32)));
  assert.ok(!takes(labelsSchema, labels(33)));
  assert.ok(!takes(labelsSchema, { 'UPPER case': 'v' }));
});

test('ids are compared in one case', () => {
  assert.equal(
    idSchema.parse('5F0C0B1E-6E0A-0F43-0D0E-2F1A6C3B7D10'),
    '5f0c0b1e-6e0a-0f43-0d0e-2f1a6c3b7d10',
  );
});

test('defaults are the careful ones', () => {
  const create = snapshotCreateInputSchema.parse({ vm: 'web' });
  assert.deepEqual([create.kind, create.quiesce, create.skipDisks], ['full', 'prefer', []]);
  const rollback = snapshotRestoreInputSchema.parse({ mode: 'rollback', confirmVmName: 'web' });
  assert.ok(rollback.mode === 'rollback' && rollback.safetySnapshot);
  const copy = snapshotRestoreInputSchema.parse({ mode: 'new-vm', name: 'copy' });
  assert.ok(copy.mode === 'new-vm' && copy.linksDown && !copy.start && !copy.resumeMemory);
  assert.ok(!takes(snapshotRestoreInputSchema, { mode: 'rollback' }), 'a name must be typed');
  assert.ok(!takes(snapshotCreateInputSchema, { vm: 'web', kinds: 'disk' }), 'typos are refused');
});

test('query parameters come as text, once or several times', () => {
  assert.deepEqual(snapshotListQuerySchema.parse({ limit: '5', state: 'active', pinned: 'true' }), {
    limit: 5,
    state: ['active'],
    pinned: true,
  });
  assert.deepEqual(snapshotListQuerySchema.parse({ state: ['active', 'damaged'] }).state, [
    'active',
    'damaged',
  ]);
  for (const limit of ['0', '501', '1.5', 'many'])
    assert.ok(!takes(snapshotListQuerySchema, { limit }));
});
