import { z } from 'zod';
import { problemDetailsSchema } from '../contract/problem.ts';
import { isErrorCode, OperationError } from '../shared/errors.ts';
import type { ErrorCode } from '../shared/errors.ts';

/** Looser than the contract's: an error of a newer server, or of a proxy, must still be shown. */
const looseProblemSchema = z.object({
  code: z.string().catch(''),
  title: z.string().catch(''),
  detail: z.string().catch(''),
  whatToDo: z.string().catch(''),
  requestId: z.string().catch(''),
  details: problemDetailsSchema.catch({}),
});

const CODE_BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'invalid_input',
  401: 'unauthenticated',
  403: 'forbidden',
  404: 'not_found',
  409: 'wrong_state',
  412: 'precondition_failed',
  413: 'payload_too_large',
  429: 'rate_limited',
  502: 'protocol_error',
  503: 'unreachable',
  504: 'timed_out',
  507: 'insufficient_space',
};

const codeForStatus = (status: number): ErrorCode => CODE_BY_STATUS[status] ?? 'internal';

/** `message` is the server's detail; `details` gets `whatToDo`, `httpStatus` and `httpRequestId` added. */
export function parseProblem(answer: { status: number; text: string }): OperationError {
  const problem = looseProblemSchema.safeParse(parseJsonOr(answer.text, {}));
  const { code, title, detail, whatToDo, requestId, details } = problem.success
    ? problem.data
    : looseProblemSchema.parse({});
  const knownCode = isErrorCode(code) ? code : codeForStatus(answer.status);
  return new OperationError(
    knownCode,
    detail || title || `The server answered with HTTP status ${answer.status} and no explanation.`,
    {
      details: {
        ...details,
        httpStatus: answer.status,
        ...(whatToDo ? { whatToDo } : {}),
        ...(requestId ? { httpRequestId: requestId } : {}),
      },
    },
  );
}

export function parseJsonOr(text: string, fallback: unknown): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch {
    // Not JSON is an answer too: the caller's schema refuses the fallback or fills it in.
    return fallback;
  }
}
