import { routeOf, type OperationId } from '../contract/routes.ts';
import { describeThrown, OperationError } from '../shared/errors.ts';
import { throwIfAborted } from '../shared/waiting.ts';
import type { Transport } from './client.ts';
import type { PlainArguments } from './call-types.ts';
import { readText } from './http-exchange.ts';
import { parseProblem } from './problem-answer.ts';

/** Given up when nothing came for this long. */
const IDLE_TIMEOUT_MS = 60_000;
const PROBLEM_BYTES_MAX = 65_536;

/** The pieces of an answer that is no JSON, as they come; the server waits while nobody takes them. */
export async function* download(
  transport: Transport,
  operationId: OperationId,
  options: { args: PlainArguments; signal?: AbortSignal | undefined },
): AsyncGenerator<string> {
  const route = routeOf(operationId);
  const { signal } = options;
  const stop = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const wait = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => stop.abort(), IDLE_TIMEOUT_MS);
  };
  try {
    wait();
    const response = await transport.fetch(transport.urlOf(route, options.args), {
      headers: transport.headers(),
      signal: signal ? AbortSignal.any([signal, stop.signal]) : stop.signal,
      redirect: 'error',
      cache: 'no-store',
    });
    if (!response.ok || !response.body)
      throw parseProblem({
        status: response.status,
        text: await readText(response, PROBLEM_BYTES_MAX),
      });
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    const reader = response.body.getReader();
    for (;;) {
      wait();
      const { done, value } = await reader.read();
      clearTimeout(timer);
      if (done) return;
      yield decoder.decode(value, { stream: true });
    }
  } catch (error) {
    throwIfAborted(signal);
    if (error instanceof OperationError) throw error;
    throw new OperationError(
      'unreachable',
      `The download did not come to its end (${describeThrown(error)}). Try it again.`,
      { cause: error },
    );
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}
