import { z } from 'zod';
import { errorCodeSchema } from './scalars.ts';

export const PROBLEM_MEDIA_TYPE = 'application/problem+json';

export const problemDetailsSchema = z.record(
  z.string(),
  z.union([z.string(), z.number(), z.boolean(), z.null(), z.array(z.string())]),
);

/** An error answer (RFC 9457). `code` is stable; `detail` and `whatToDo` are for people. */
export const problemSchema = z.object({
  /** A link into docs/errors.md: `/docs/errors#<code>`. */
  type: z.string(),
  title: z.string(),
  status: z.int().min(400).max(599),
  code: errorCodeSchema,
  detail: z.string(),
  /** Path of the HTTP request. */
  instance: z.string(),
  /** Finds the HTTP request in the server's log. */
  requestId: z.string(),
  whatToDo: z.string(),
  details: problemDetailsSchema,
});
export type Problem = z.infer<typeof problemSchema>;
