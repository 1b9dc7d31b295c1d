import type { z } from 'zod';
import { OperationError } from '../../shared/errors.ts';

const ISSUES_SHOWN_MAX = 10;

/** Parses one part of a call; what is wrong with it is told field by field. */
export function parseInput<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  part: string,
): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.slice(0, ISSUES_SHOWN_MAX).map((issue) => {
    const field = issue.path.map(String).join('.');
    return `${field || part}: ${issue.message}`;
  });
  throw new OperationError('invalid_input', `The ${part} is not valid. ${issues.join('. ')}.`, {
    details: { issues },
  });
}
