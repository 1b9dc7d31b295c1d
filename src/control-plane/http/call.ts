import type { z } from 'zod';
import type { OperationId } from '../../contract/routes.ts';
import { OperationError } from '../../shared/errors.ts';
import type { Caller, Environment } from '../operations/environment.ts';
import { parseInput } from './parse-input.ts';

/** One call as a handler sees it: who, and the raw parts with a parser for each. */
export interface Call {
  readonly environment: Environment;
  readonly caller: Caller;
  params<Schema extends z.ZodType>(schema: Schema): z.output<Schema>;
  query<Schema extends z.ZodType>(schema: Schema): z.output<Schema>;
  /** No body counts as an empty object. */
  body<Schema extends z.ZodType>(schema: Schema): z.output<Schema>;
  readonly ifMatch: string | undefined;
  readonly idempotencyKey: string | undefined;
}

export interface Answer {
  readonly body: unknown;
  readonly etag?: string;
  readonly location?: string;
  /** Goes into the cookie; null takes the cookie away. */
  readonly sessionSecret?: string | null;
}

export type Handler = (call: Call) => Promise<Answer>;
export type Handlers = Partial<Record<OperationId, Handler>>;

export interface RawCall {
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

export function createCall(environment: Environment, caller: Caller, raw: RawCall): Call {
  return {
    environment,
    caller,
    params: (schema) => parseInput(schema, raw.params, 'path'),
    query: (schema) => parseInput(schema, raw.query, 'query'),
    body: (schema) => parseInput(schema, raw.body ?? {}, 'body'),
    ifMatch: singleHeader(raw.headers['if-match']),
    idempotencyKey: readIdempotencyKey(raw.headers['idempotency-key']),
  };
}

const singleHeader = (value: string | string[] | undefined): string | undefined =>
  Array.isArray(value) ? value.join(', ') : value;

function readIdempotencyKey(value: string | string[] | undefined): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'string' && /^[\x21-\x7e]{1,128}$/.test(value)) return value;
  throw new OperationError(
    'invalid_input',
    'The Idempotency-Key must be 1 to 128 printable ASCII characters without spaces.',
  );
}
