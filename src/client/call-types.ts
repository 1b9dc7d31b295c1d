import { z } from 'zod';
import type { OperationId, Routes } from '../contract/routes.ts';

type Input<Id extends OperationId, Part extends string> =
  Routes[Id] extends Readonly<Record<Part, infer Schema extends z.ZodType>>
    ? z.input<Schema>
    : never;

type Required<Id extends OperationId, Part extends string> = [Input<Id, Part>] extends [never]
  ? unknown
  : Readonly<Record<Part, Input<Id, Part>>>;

type Optional<Id extends OperationId, Part extends string> = [Input<Id, Part>] extends [never]
  ? unknown
  : Readonly<Partial<Record<Part, Input<Id, Part>>>>;

/** What a route takes; defaults of the contract need not be given. */
export type ArgumentsOf<Id extends OperationId> = Required<Id, 'params'> &
  Optional<Id, 'query'> &
  Required<Id, 'body'>;

export type AnswerOf<Id extends OperationId> = Routes[Id]['response'] extends z.ZodType
  ? z.output<Routes[Id]['response']>
  : undefined;

/** Routes that answer in pages. */
export type PagedOperationId = {
  [Id in OperationId]: AnswerOf<Id> extends { items: unknown[]; nextCursor: string | null }
    ? Id
    : never;
}[OperationId];

export type ItemOf<Id extends PagedOperationId> =
  AnswerOf<Id> extends { items: (infer Item)[] } ? Item : never;

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** For each attempt. */
  readonly timeoutMs?: number | undefined;
  /** For POST and DELETE; made by the client when absent, so that its own retries are safe. */
  readonly idempotencyKey?: string | undefined;
  readonly ifMatch?: string | undefined;
}

export const plainArgumentsSchema = z.object({
  params: z.record(z.string(), z.unknown()).optional(),
  query: z.record(z.string(), z.unknown()).optional(),
  body: z.unknown().optional(),
});

/** Arguments as code sees them that treats all routes alike. */
export interface PlainArguments {
  readonly params?: Readonly<Record<string, unknown>> | undefined;
  readonly query?: Readonly<Record<string, unknown>> | undefined;
  readonly body?: unknown;
}
