import type { z } from 'zod';
import { OperationError } from '../../shared/errors.ts';

/** Parses a JSON column; what does not fit means a damaged catalog or one changed by hand. */
export function readJson<Shape extends z.ZodType>(
  schema: Shape,
  text: string,
  where: string,
): z.output<Shape> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw unreadable(where, error);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw unreadable(where, parsed.error);
  return parsed.data;
}

export function readOptionalJson<Shape extends z.ZodType>(
  schema: Shape,
  text: string | null,
  where: string,
): z.output<Shape> | null {
  return text === null ? null : readJson(schema, text, where);
}

/** Reads a column whose values a check constraint limits. */
export function readWord<Shape extends z.ZodType>(
  schema: Shape,
  value: string,
  where: string,
): z.output<Shape> {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw unreadable(where, parsed.error);
  return parsed.data;
}

export const optionalJson = (value: object | null): string | null =>
  value === null ? null : JSON.stringify(value);

const unreadable = (where: string, cause: unknown): OperationError =>
  new OperationError(
    'internal',
    `The catalog holds something unreadable in ${where}. Restore a backup of the catalog, or rebuild it from the repository.`,
    { cause },
  );
