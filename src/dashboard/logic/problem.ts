import { toOperationError } from '../../shared/errors.ts';
import type { ErrorCode } from '../../shared/errors.ts';

export interface ShownProblem {
  readonly code: ErrorCode;
  readonly message: string;
  readonly whatToDo: string | null;
  /** Finds the call in the server's log. */
  readonly httpRequestId: string | null;
}

export function describeProblem(thrown: unknown): ShownProblem {
  const { code, message, details } = toOperationError(thrown);
  const text = (name: string): string | null => {
    const value = details[name];
    return typeof value === 'string' && value !== '' ? value : null;
  };
  return { code, message, whatToDo: text('whatToDo'), httpRequestId: text('httpRequestId') };
}
