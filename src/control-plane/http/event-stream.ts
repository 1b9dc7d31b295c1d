import type { FastifyReply, FastifyRequest } from 'fastify';
import { routes } from '../../contract/routes.ts';
import type { ServerEvent } from '../../contract/events.ts';
import { describeThrown, OperationError } from '../../shared/errors.ts';
import {
  identifyCaller,
  type Caller,
  type Credentials,
  type Environment,
} from '../operations/environment.ts';
import type { EventFeed } from '../operations/event-feed.ts';
import { parseInput } from './parse-input.ts';

const HEARTBEAT_MS = 15_000;
/** A client that does not read as fast as things happen is cut off; it comes back and resumes. */
const BUFFER_MAX_BYTES = 1024 * 1024;
const RETRY_MS = 2000;

/** Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html */
export function createEventStream(options: { environment: Environment; feed: EventFeed }): {
  serve(
    call: { request: FastifyRequest; reply: FastifyReply },
    caller: Caller,
    credentials: Credentials,
  ): Promise<void>;
  close(): void;
} {
  const { environment, feed } = options;
  const open = new Set<() => void>();

  return {
    serve: async ({ request, reply }, caller, credentials) => {
      const query = parseInput(routes.eventStream.query, request.query, 'query');
      const waiting: string[] = [];
      let send = (text: string): void => void waiting.push(text);
      const following = await feed.follow(
        caller,
        {
          resources: query.resource,
          lastEventId: readLastEventId(request.headers['last-event-id']) ?? query.lastEventId,
        },
        (event) => send(formatEvent(event)),
      );
      reply.hijack();
      const { raw } = reply;
      raw.writeHead(200, {
        ...plainHeaders(reply.getHeaders()),
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      });
      const heartbeat = setInterval(() => {
        send(': still here\n\n');
        // A token or a session may end while its stream is open.
        identifyCaller(environment, { ...credentials, isUse: false }).catch((error: unknown) => {
          environment.logger.info({ reason: describeThrown(error) }, 'event stream ended');
          end();
        });
      }, HEARTBEAT_MS);
      const end = (): void => {
        clearInterval(heartbeat);
        following.close();
        open.delete(end);
        raw.end();
      };
      send = (text) => {
        if (raw.writableLength > BUFFER_MAX_BYTES) raw.destroy();
        else raw.write(text);
      };
      open.add(end);
      raw.on('close', end);
      send(`retry: ${RETRY_MS}\n\n`);
      for (const text of waiting) send(text);
    },
    close: () => {
      for (const end of open) end();
    },
  };
}

const formatEvent = (event: ServerEvent): string =>
  `id: ${event.sequence}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;

function readLastEventId(header: string | string[] | undefined): number | undefined {
  if (header === undefined || header === '') return undefined;
  if (typeof header === 'string' && /^\d{1,15}$/.test(header)) return Number(header);
  throw new OperationError('invalid_input', 'The Last-Event-ID is not one of this stream.');
}

const plainHeaders = (headers: ReturnType<FastifyReply['getHeaders']>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, String(value)]],
    ),
  );
