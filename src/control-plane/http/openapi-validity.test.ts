import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { createOpenApiDocument } from './openapi.ts';

test('an independent validator takes the document as OpenAPI 3.1', async () => {
  const document = structuredClone(createOpenApiDocument('1.2.3'));
  const validator = new Validator();
  const result = await validator.validate(document);
  assert.ok(result.valid, JSON.stringify(result.errors, undefined, 2));
  assert.equal(validator.version, '3.1');
});
