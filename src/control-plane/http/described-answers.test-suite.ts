import assert from 'node:assert/strict';
import addFormats from 'ajv-formats';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { z } from 'zod';
import { operationIds, routeOf } from '../../contract/routes.ts';
import { createOpenApiDocument } from './openapi.ts';

const contentSchema = z.record(z.string(), z.unknown());
const documentSchema = z.looseObject({
  paths: z.record(
    z.string(),
    z.record(
      z.string(),
      z.looseObject({
        responses: z.record(z.string(), z.looseObject({ content: contentSchema.optional() })),
      }),
    ),
  ),
});

const ID = 'https://komadori.invalid/openapi';
const pointer = (parts: readonly string[]): string =>
  parts.map((part) => part.replaceAll('~', '~0').replaceAll('/', '~1')).join('/');

const document = createOpenApiDocument('1.2.3');
const { paths } = documentSchema.parse(document);
// Only the schemas are JSON Schema; the words of OpenAPI around them are none of ajv's.
const ajv = new Ajv2020({ strict: false, allErrors: true });
addFormats.default(ajv);
ajv.addSchema({ ...document, $id: ID });
const compiled = new Map<string, ValidateFunction>();

/** Fails when an answer of the API is not as its OpenAPI document says. */
export function checkDescribed(
  call: { method: string; url: string },
  answer: { statusCode: number; body: string; contentType: string },
): void {
  const pathname = call.url.split('?', 1)[0] ?? '';
  const operationId = operationIds.find((id) => {
    const { method, path } = routeOf(id);
    const pattern = new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/]+')}$`);
    return method === call.method && pattern.test(pathname);
  });
  if (operationId === undefined) return;
  const route = routeOf(operationId);
  const method = route.method.toLowerCase();
  const responses = paths[route.path]?.[method]?.responses;
  const status = String(answer.statusCode);
  const named = responses && status in responses ? status : 'default';
  const what = `${call.method} ${call.url} ${status}`;
  assert.ok(named !== 'default' || answer.statusCode >= 400, `${what} is not described`);
  const content = responses?.[named]?.content;
  if (!content) {
    assert.equal(answer.body, '', `${what} has a body that is not described`);
    return;
  }
  const media = answer.contentType.split(';', 1)[0] ?? '';
  assert.ok(media in content, `${what}: ${media} is not described`);
  if (!media.endsWith('json')) return;
  const parts = ['paths', route.path, method, 'responses', named, 'content', media, 'schema'];
  const reference = `${ID}#/${pointer(parts)}`;
  const validate = compiled.get(reference) ?? ajv.compile({ $ref: encodeURI(reference) });
  compiled.set(reference, validate);
  const isDescribed = validate(JSON.parse(answer.body));
  assert.ok(isDescribed, `${what}: ${ajv.errorsText(validate.errors)}`);
}
