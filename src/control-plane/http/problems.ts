import { PROBLEM_MEDIA_TYPE, type Problem } from '../../contract/problem.ts';
import { ERROR_TABLE, OperationError, toOperationError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/logger.ts';
import { WHAT_TO_DO } from './what-to-do.ts';

export { PROBLEM_MEDIA_TYPE };

/** Errors that fastify itself makes, by its codes and statuses. */
function fromFramework(thrown: unknown): OperationError | undefined {
  if (!(thrown instanceof Error) || !('statusCode' in thrown)) return undefined;
  if (thrown.statusCode === 413)
    return new OperationError('payload_too_large', 'The body is larger than 1 MiB.');
  if (thrown.statusCode === 429)
    return new OperationError('rate_limited', 'Too many calls in a short time.');
  if (typeof thrown.statusCode === 'number' && thrown.statusCode >= 400 && thrown.statusCode < 500)
    return new OperationError('invalid_input', `The call is not valid: ${thrown.message}.`);
  return undefined;
}

export function toProblem(
  thrown: unknown,
  call: { path: string; requestId: string; logger: Logger },
): Problem {
  const error = fromFramework(thrown) ?? toOperationError(thrown);
  const { status } = ERROR_TABLE[error.code];
  if (status >= 500)
    call.logger.error({ error, cause: error.cause, requestId: call.requestId }, 'a call failed');
  const { whatToDo, ...details } = error.details;
  return {
    type: `/docs/errors#${error.code}`,
    title: error.code.replaceAll('_', ' '),
    status,
    code: error.code,
    detail: error.message,
    instance: call.path,
    requestId: call.requestId,
    whatToDo: typeof whatToDo === 'string' ? whatToDo : WHAT_TO_DO[error.code],
    details: Object.fromEntries(
      Object.entries(details).map(([key, value]) => [
        key,
        typeof value === 'object' && value !== null ? [...value] : value,
      ]),
    ),
  };
}
