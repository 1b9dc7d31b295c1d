import type { Job } from '../contract/jobs.ts';
import type { Request } from '../contract/requests.ts';
import { requestIsOver } from '../contract/state-predicates.ts';
import { OperationError, toOperationError } from '../shared/errors.ts';
import { throwIfAborted } from '../shared/waiting.ts';
import type { Client } from './client.ts';
import { delay } from './http-exchange.ts';

export interface RequestSight {
  readonly request: Request;
  /** Null until the request was approved and queued. */
  readonly job: Job | null;
}

export interface WatchOptions {
  readonly signal?: AbortSignal | undefined;
  /** Read again after this time even if no event came. */
  readonly pollMs?: number | undefined;
}

const POLL_MS = 3000;
const READ_GAP_MS = 250;
const FAILURES_MAX = 20;

/** Events say when to read again; polling stays as the fallback where a proxy holds events back. */
export async function* watchRequest(
  client: Pick<Client, 'call' | 'events'>,
  requestId: string,
  options: WatchOptions = {},
): AsyncGenerator<RequestSight> {
  const ending = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, ending.signal]) : ending.signal;
  const bell = createBell();
  const listening = ringOnEvents(client, requestId, bell, signal);
  let failures = 0;
  let seen = '';
  try {
    for (;;) {
      throwIfAborted(options.signal);
      const sight = await readSight(client, requestId, signal).catch((thrown: unknown) => {
        const error = toOperationError(thrown);
        failures += 1;
        if (error.code !== 'unreachable' || failures > FAILURES_MAX) throw error;
        // The server may be starting anew; its jobs go on meanwhile.
        return null;
      });
      if (sight) {
        failures = 0;
        const key = JSON.stringify(sight);
        if (key !== seen) yield sight;
        seen = key;
        if (requestIsOver(sight.request.state)) return;
      }
      await delay(READ_GAP_MS, signal);
      await bell.wait(options.pollMs ?? POLL_MS, signal);
    }
  } finally {
    ending.abort();
    await listening;
  }
}

export async function waitForRequest(
  client: Pick<Client, 'call' | 'events'>,
  requestId: string,
  options: WatchOptions = {},
): Promise<RequestSight> {
  let last: RequestSight | null = null;
  for await (const sight of watchRequest(client, requestId, options)) last = sight;
  if (!last) throw new OperationError('internal', `Nothing was seen of request ${requestId}.`);
  return last;
}

async function readSight(
  client: Pick<Client, 'call'>,
  requestId: string,
  signal: AbortSignal,
): Promise<RequestSight> {
  const request = await client.call('requestGet', { params: { id: requestId } }, { signal });
  const job = request.jobId
    ? await client.call('jobGet', { params: { id: request.jobId } }, { signal })
    : null;
  return { request, job };
}

async function ringOnEvents(
  client: Pick<Client, 'events'>,
  requestId: string,
  bell: Bell,
  signal: AbortSignal,
): Promise<void> {
  try {
    for await (const event of client.events({ resources: ['request', 'job'], signal })) {
      const isAnothers =
        'resource' in event && event.resource === 'request' && event.id !== requestId;
      if (!isAnothers) bell.ring();
    }
  } catch {
    // Events only make the watch quicker: polling goes on without them, and the end of the watch aborts them.
  }
}

interface Bell {
  ring(): void;
  wait(timeoutMs: number, signal: AbortSignal): Promise<void>;
}

function createBell(): Bell {
  let rung = false;
  let waiter: AbortController | null = null;
  return {
    ring: () => {
      rung = true;
      waiter?.abort();
    },
    wait: async (timeoutMs, signal) => {
      if (!rung) {
        const woken = new AbortController();
        waiter = woken;
        try {
          await delay(timeoutMs, AbortSignal.any([signal, woken.signal]));
        } catch (error) {
          throwIfAborted(signal);
          if (!woken.signal.aborted) throw error;
        } finally {
          waiter = null;
        }
      }
      rung = false;
    },
  };
}
