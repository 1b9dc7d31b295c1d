import { z } from 'zod';
import { accountSchema } from '../../contract/account.ts';
import { tokenCreatedSchema, tokenSchema, whoamiSchema } from '../../contract/access.ts';
import { auditEventSchema, auditVerificationSchema } from '../../contract/audit-events.ts';
import { bindingSchema, principalRightsSchema } from '../../contract/bindings.ts';
import {
  confirmationRuleSchema,
  confirmationSchema,
  decisionSchema,
  mayDecideSchema,
  ruleContentSchema,
} from '../../contract/confirmation.ts';
import { serverEventSchema } from '../../contract/events.ts';
import { hostSchema } from '../../contract/hosts.ts';
import { jobSchema } from '../../contract/jobs.ts';
import { capturePlanSchema, planSchema } from '../../contract/preflight.ts';
import { PROBLEM_MEDIA_TYPE, problemSchema } from '../../contract/problem.ts';
import { repositorySchema } from '../../contract/repositories.ts';
import { requestSchema } from '../../contract/requests.ts';
import { operationIds, routeOf, type OperationId } from '../../contract/routes.ts';
import { roleSchema } from '../../contract/roles.ts';
import { scopeSchema } from '../../contract/scope.ts';
import { snapshotSchema } from '../../contract/snapshots.ts';
import { sessionCreatedSchema, sessionSchema, userSchema } from '../../contract/users.ts';
import { vmSchema } from '../../contract/vms.ts';

const NAMED = {
  Account: accountSchema,
  AuditEvent: auditEventSchema,
  AuditVerification: auditVerificationSchema,
  Binding: bindingSchema,
  CapturePlan: capturePlanSchema,
  Confirmation: confirmationSchema,
  ConfirmationRule: confirmationRuleSchema,
  Decision: decisionSchema,
  Host: hostSchema,
  Job: jobSchema,
  MayDecide: mayDecideSchema,
  Plan: planSchema,
  Problem: problemSchema,
  PrincipalRights: principalRightsSchema,
  Repository: repositorySchema,
  Request: requestSchema,
  Role: roleSchema,
  RuleContent: ruleContentSchema,
  Scope: scopeSchema,
  ServerEvent: serverEventSchema,
  Session: sessionSchema,
  SessionCreated: sessionCreatedSchema,
  Snapshot: snapshotSchema,
  Token: tokenSchema,
  TokenCreated: tokenCreatedSchema,
  User: userSchema,
  Vm: vmSchema,
  Whoami: whoamiSchema,
};

type JsonObject = Record<string, unknown>;

/** OpenAPI 3.1, whose schemas are JSON Schema 2020-12, out of the same table that the server registers. */
export function createOpenApiDocument(version: string): JsonObject {
  const paths: Record<string, JsonObject> = {};
  for (const operationId of operationIds) {
    const { path, method } = routeOf(operationId);
    paths[path] = { ...paths[path], [method.toLowerCase()]: describeOperation(operationId) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Komadori',
      version,
      description: 'Snapshots of virtual machines on libvirt/QEMU/KVM.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{ token: [] }, { session: [] }],
    paths,
    components: {
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', bearerFormat: 'kmd_...' },
        session: {
          type: 'apiKey',
          in: 'cookie',
          name: '__Host-komadori-session',
          description:
            'For browsers; without TLS it is komadori-session. Changes need the header X-CSRF-Token.',
        },
      },
      schemas: namedSchemas(),
    },
  };
}

const nameOf = new Map<z.ZodType, string>(
  Object.entries(NAMED).map(([name, schema]) => [schema, name]),
);

function namedSchemas(): JsonObject {
  const registry = z.registry<{ id: string }>();
  for (const [name, schema] of Object.entries(NAMED)) registry.add(schema, { id: name });
  const { schemas } = z.toJSONSchema(registry, {
    uri: (id) => (id === SHARED ? '' : `#/components/schemas/${id}`),
    ...SCHEMA_OPTIONS,
  });
  // zod gathers what several schemas use in one more schema; OpenAPI wants each under its own name.
  const { [SHARED]: shared, ...named } = schemas;
  const all = { ...named, ...shared?.$defs };
  const text = JSON.stringify(all).replaceAll('"#/$defs/', '"#/components/schemas/');
  const parsed = z.record(z.string(), z.record(z.string(), z.unknown())).parse(JSON.parse(text));
  return Object.fromEntries(
    Object.entries(parsed).map(([name, schema]) => [name, withoutDialect(schema)]),
  );
}

const SHARED = '__shared';

const SCHEMA_OPTIONS = {
  target: 'draft-2020-12',
  unrepresentable: 'any',
  // zod spells formats out as long patterns and integers with their bounds; the format says enough.
  override: ({ jsonSchema }: { jsonSchema: z.core.JSONSchema.BaseSchema }): void => {
    if (jsonSchema.format !== undefined) delete jsonSchema.pattern;
    if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
    if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
  },
} as const;

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): JsonObject {
  const name = nameOf.get(schema);
  if (name !== undefined) return { $ref: `#/components/schemas/${name}` };
  if (io === 'output' && schema instanceof z.ZodObject) {
    const { items } = schema.shape;
    const itemName = items instanceof z.ZodArray ? nameOf.get(toType(items.element)) : undefined;
    if (itemName !== undefined) return pageSchema(itemName);
  }
  return withoutDialect(z.toJSONSchema(schema, { io, ...SCHEMA_OPTIONS }));
}

const toType = (schema: unknown): z.ZodType => (schema instanceof z.ZodType ? schema : z.unknown());

const pageSchema = (itemName: string): JsonObject => ({
  type: 'object',
  properties: {
    items: { type: 'array', items: { $ref: `#/components/schemas/${itemName}` } },
    nextCursor: { type: ['string', 'null'] },
  },
  required: ['items', 'nextCursor'],
});

const withoutDialect = ({ $schema: _dialect, $id: _id, ...schema }: JsonObject): JsonObject =>
  schema;

function describeOperation(operationId: OperationId): JsonObject {
  const route = routeOf(operationId);
  const media = route.stream ? ['text/event-stream'] : (route.download ?? ['application/json']);
  return {
    operationId,
    tags: [route.tag],
    summary: route.summary,
    ...(route.open && { security: [] }),
    'x-right': route.right,
    'x-audited': route.audited,
    parameters: describeParameters(operationId),
    ...(route.body && {
      requestBody: {
        required: !route.body.safeParse({}).success,
        content: { 'application/json': { schema: schemaOf(route.body, 'input') } },
      },
    }),
    responses: {
      [String(route.status)]: {
        description: route.response ? 'Done, or begun' : 'Done',
        ...describeHeaders(operationId),
        ...(route.response && {
          content: contentOf(route.response, media),
        }),
      },
      default: {
        description: 'What went wrong and what to do (RFC 9457)',
        content: { [PROBLEM_MEDIA_TYPE]: { schema: { $ref: '#/components/schemas/Problem' } } },
      },
    },
  };
}

function contentOf(response: z.ZodType, media: readonly string[]): JsonObject {
  const schema = schemaOf(response, 'output');
  return Object.fromEntries(media.map((name) => [name, { schema }]));
}

function describeHeaders(operationId: OperationId): JsonObject {
  const route = routeOf(operationId);
  const headers = {
    ...(route.etag && route.status === 200 && { ETag: { schema: { type: 'string' } } }),
    ...((route.status === 201 || route.status === 202) && {
      Location: { schema: { type: 'string' } },
    }),
  };
  return Object.keys(headers).length === 0 ? {} : { headers };
}

function describeParameters(operationId: OperationId): JsonObject[] {
  const route = routeOf(operationId);
  const text = { type: 'string' };
  return [
    ...parametersOf(route.params, 'path'),
    ...parametersOf(route.query, 'query'),
    ...(route.etag && route.method !== 'GET'
      ? [{ name: 'If-Match', in: 'header', required: false, schema: text }]
      : []),
    ...(route.status === 202
      ? [{ name: 'Idempotency-Key', in: 'header', required: false, schema: text }]
      : []),
    ...(route.stream
      ? [{ name: 'Last-Event-ID', in: 'header', required: false, schema: text }]
      : []),
  ];
}

function parametersOf(schema: z.ZodObject | undefined, place: 'path' | 'query'): JsonObject[] {
  if (!schema) return [];
  return Object.entries(schema.shape).map(([name, field]) => ({
    name,
    in: place,
    required: place === 'path',
    schema: schemaOf(toType(field), 'input'),
  }));
}
