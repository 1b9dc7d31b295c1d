import { connect, type Socket } from 'node:net';
import type { FreezeGuard, GuardedCapture } from '../data-plane/hypervisor/freeze-guard.ts';
import { OperationError, describeThrown } from '../shared/errors.ts';
import type { Logger } from '../shared/logger.ts';
import { waitFor } from '../shared/waiting.ts';
import {
  answerSchema,
  createLineReader,
  formatLine,
  type GuardAnswer,
  type GuardRequest,
} from './guard-protocol.ts';

const ANSWER_TIMEOUT_MS = 2_000;
const RETURN_DELAY_MS = 50;

/** Without the number that `ask` gives it. */
type Question =
  | Omit<Extract<GuardRequest, { type: 'arm' }>, 'id'>
  | Omit<Extract<GuardRequest, { type: 'disarm' }>, 'id'>;

interface Link {
  ask(question: Question): Promise<GuardAnswer>;
  close(): void;
  readonly closed: Promise<void>;
}

interface Armed {
  readonly capture: GuardedCapture;
  readonly deadlineMs: number | null;
}

const armQuestion = ({ capture, deadlineMs }: Armed): Question => {
  const { captureId, vmId, wasRunning, holds } = capture;
  return { type: 'arm', capture: { captureId, vmId, wasRunning, holds }, deadlineMs };
};

/**
 * The worker's end of the guard. It connects when first needed, and comes back to a guard that was
 * started again with whatever is still armed.
 */
export function createGuardClient(options: {
  socketPath: string;
  logger: Logger;
}): FreezeGuard & { close(): void } {
  const { socketPath } = options;
  const armed = new Map<string, Armed>();
  const connection = createConnection(options, armed);
  return {
    id: socketPath,
    async arm(capture, deadlineMs) {
      const { captureId } = capture;
      // A guard that comes back while this is asked hears the newest word, too.
      if (armed.has(captureId)) armed.set(captureId, { capture, deadlineMs });
      const { outcome } = await connection.ask(armQuestion({ capture, deadlineMs }));
      if (outcome === 'released') {
        throw new OperationError(
          'timed_out',
          'The guest was let go by the guard because the capture held it too long; take the snapshot again.',
        );
      }
      if (outcome === 'refused') {
        throw new OperationError('limit_reached', 'The guard takes on no more captures now.');
      }
      armed.set(captureId, { capture, deadlineMs });
    },
    async disarm(captureId) {
      if (!armed.delete(captureId)) return;
      try {
        await connection.ask({ type: 'disarm', captureId });
      } catch (error) {
        // Without the capture's mark a guard does nothing to its guest.
        options.logger.info({ captureId, reason: describeThrown(error) }, 'the guard was not told');
      }
    },
    close: () => connection.close(),
  };
}

function createConnection(
  { socketPath, logger }: { socketPath: string; logger: Logger },
  armed: ReadonlyMap<string, Armed>,
): { ask(question: Question): Promise<GuardAnswer>; close(): void } {
  let link: Promise<Link> | null = null;
  let isClosed = false;
  let returning: NodeJS.Timeout | null = null;

  const open = (): Promise<Link> => {
    const opening = (async () => {
      const opened = await openLink(socketPath);
      void opened.closed.then(() => forget(opening));
      for (const each of armed.values()) {
        const { outcome } = await opened.ask(armQuestion(each));
        const { captureId } = each.capture;
        if (outcome !== 'done') logger.warn({ captureId, outcome }, 'the guard went ahead');
      }
      return opened;
    })();
    opening.catch(() => forget(opening));
    return opening;
  };
  const forget = (ended: Promise<Link>): void => {
    if (link !== ended) return;
    link = null;
    if (isClosed || armed.size === 0 || returning) return;
    returning = setTimeout(() => {
      returning = null;
      if (!isClosed && armed.size > 0) link ??= open();
    }, RETURN_DELAY_MS);
  };
  return {
    async ask(question) {
      try {
        link ??= open();
        return await (await link).ask(question);
      } catch (error) {
        throw new OperationError(
          'unreachable',
          `The guard, which lets a guest go should this process die, cannot be reached at ${socketPath}. No guest is captured without it; check that «komadori serve» runs it. (${describeThrown(error)})`,
          { cause: error },
        );
      }
    },
    close() {
      isClosed = true;
      if (returning) clearTimeout(returning);
      // One that never came about needs no end.
      link?.then((opened) => opened.close()).catch(() => undefined);
    },
  };
}

async function openLink(socketPath: string): Promise<Link> {
  const socket = connect(socketPath);
  // The worker may end while it is connected: nothing waits for this socket.
  socket.unref();
  const closed = Promise.withResolvers<void>();
  const questions = new Map<number, PromiseWithResolvers<GuardAnswer>>();
  let lastId = 0;
  const fail = (error: Error): void => {
    socket.destroy();
    for (const question of questions.values()) question.reject(error);
    questions.clear();
    closed.resolve();
  };
  readAnswers(socket, (answer) => questions.get(answer.id)?.resolve(answer), fail);
  const connected = new Promise<void>((resolve, reject) => {
    socket.once('connect', () => resolve());
    void closed.promise.then(() => reject(new Error('The connection ended.')));
    socket.once('error', reject);
  });
  await waitFor(connected, { timeoutMs: ANSWER_TIMEOUT_MS, what: 'Connecting to the guard' });
  return {
    closed: closed.promise,
    close: () => fail(new Error('The connection was closed.')),
    async ask(question) {
      if (socket.destroyed) throw new Error('The connection ended.');
      const id = (lastId += 1);
      const answer = Promise.withResolvers<GuardAnswer>();
      questions.set(id, answer);
      socket.write(formatLine({ ...question, id }));
      try {
        const limit = { timeoutMs: ANSWER_TIMEOUT_MS, what: 'The answer of the guard' };
        return await waitFor(answer.promise, limit);
      } catch (error) {
        // A guard that hangs is as good as none, and its late answers are nobody's.
        fail(error instanceof Error ? error : new Error(String(error)));
        throw error;
      } finally {
        questions.delete(id);
      }
    },
  };
}

function readAnswers(
  socket: Socket,
  onAnswer: (answer: GuardAnswer) => void,
  fail: (error: Error) => void,
): void {
  const reader = createLineReader(answerSchema);
  socket.on('data', (bytes: Buffer) => {
    try {
      for (const answer of reader.push(bytes)) onAnswer(answer);
    } catch (error) {
      fail(error instanceof Error ? error : new Error(String(error)));
    }
  });
  socket.on('error', fail);
  socket.on('close', () => fail(new Error('The connection ended.')));
}
