import type { z } from 'zod';
import { requestSchema } from './requests.ts';
import type { Right } from './rights.ts';

export interface RouteDefinition {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** OpenAPI style: `/api/v1/snapshots/{id}`. */
  readonly path: `/api/v1/${string}`;
  readonly tag: string;
  readonly summary: string;
  /** Null: whoever is signed in may call it, and the operation decides by the thing at hand. */
  readonly right: Right | null;
  /** Needs no credentials. */
  readonly open?: boolean;
  /** 202 answers carry `Location` of the request, 201 of the new resource. */
  readonly status: 200 | 201 | 202 | 204;
  readonly audited: boolean;
  /** The answer has an ETag; changes take If-Match and answer 412 when it no longer holds. */
  readonly etag?: boolean;
  /** Server-sent events; `response` is the shape of one event's data. */
  readonly stream?: boolean;
  /** Not JSON but one of these media types, sent piece by piece; `response` is one piece. */
  readonly download?: readonly string[];
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  readonly body?: z.ZodType;
  /** Null for 204. */
  readonly response: z.ZodType | null;
}

export const read = { method: 'GET', status: 200, audited: false } as const;
/** Long work: recorded as a request, done by a job. */
export const wish = {
  method: 'POST',
  status: 202,
  audited: true,
  response: requestSchema,
} as const;
