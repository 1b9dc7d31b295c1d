import { describeThrown, OperationError, toOperationError } from '../../../../shared/errors.ts';
import { type Clock, systemClock } from '../../../../shared/clock.ts';
import { silentLogger } from '../../../../shared/logger.ts';
import { waitFor } from '../../../../shared/waiting.ts';
import { connectLibvirt, type ConnectOptions } from './connect.ts';
import type { LibvirtCaller, LibvirtConnection } from './connection.ts';
import type { EventSubscription } from './event-hub.ts';
import type { EventSelection } from './events.ts';
import { createWatches, type WatchEvent } from './watches.ts';

/** Longer than an attempt can take by itself: it has its own limit. */
const ATTEMPT_TIMEOUT_MS = 120_000;
const DEFAULT_BACKOFF: BackoffSettings = { firstMs: 250, longestMs: 30_000 };

export interface BackoffSettings {
  readonly firstMs: number;
  readonly longestMs: number;
}

export interface ReconnectingOptions extends Omit<ConnectOptions, 'signal'> {
  readonly backoff?: BackoffSettings;
  readonly clock?: Clock;
  /** Stands in for connectLibvirt. */
  readonly connect?: (options: ConnectOptions) => Promise<LibvirtConnection>;
}

/** Connects in the background at once, and again whenever the connection is lost, until closed. */
export interface ReconnectingLibvirt extends LibvirtCaller {
  /** Waits for an attempt under way; rejects at once with `hypervisor_unreachable` between attempts. */
  connection(signal?: AbortSignal): Promise<LibvirtConnection>;
  isConnected(): boolean;
  /**
   * Listens through every reconnection. The first `resync` comes with the first connection, and
   * no event of a connection is told before its `resync`. Without selections, only `resync` comes.
   */
  watch(
    selections: readonly EventSelection[],
    listener: (event: WatchEvent) => void,
  ): EventSubscription;
  /** Resolves when nothing of it runs any more. */
  close(): Promise<void>;
}

/** Resolves after the delay, or at once when the signal aborts. */
function delay(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    signal.addEventListener('abort', done, { once: true });
  });
}

/** Doubling, with the upper half random so that several clients do not return together. */
export function planDelayMs(backoff: BackoffSettings, failures: number, random: number): number {
  const ceilingMs = Math.min(backoff.longestMs, backoff.firstMs * 2 ** Math.min(failures - 1, 30));
  return ceilingMs / 2 + (random * ceilingMs) / 2;
}

interface Renewal {
  /** Connects and starts the watches; the connection counts as live when it resolves. */
  readonly connectOnce: () => Promise<LibvirtConnection>;
  readonly onLost: (reason: OperationError | null) => void;
  readonly backoff: BackoffSettings;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

async function keepConnected(renewal: Renewal): Promise<void> {
  const { backoff, clock, signal } = renewal;
  let failures = 0;
  while (!signal.aborted) {
    try {
      const connection = await renewal.connectOnce();
      const startedMs = clock.monotonicMs();
      renewal.onLost(await connection.closed);
      // A daemon that accepts and drops us again and again counts as failing.
      const livedMs = clock.monotonicMs() - startedMs;
      failures = livedMs >= backoff.longestMs ? 1 : failures + 1;
    } catch (error) {
      failures += 1;
      renewal.onLost(toOperationError(error));
    }
    await delay(planDelayMs(backoff, failures, Math.random()), signal);
  }
}

export function createReconnectingLibvirt(options: ReconnectingOptions = {}): ReconnectingLibvirt {
  const { backoff = DEFAULT_BACKOFF, connect = connectLibvirt, clock, ...connectOptions } = options;
  const logger = options.logger ?? silentLogger;
  const stop = new AbortController();
  const watches = createWatches(logger);
  let live: LibvirtConnection | null = null;
  let attempt: Promise<LibvirtConnection> | null = null;
  let lastFailure: OperationError | null = null;

  const connectAndWatch = async (): Promise<LibvirtConnection> => {
    const connection = await connect({ ...connectOptions, signal: stop.signal });
    try {
      await watches.startAll(connection);
      if (stop.signal.aborted || !connection.isOpen()) {
        throw new OperationError('hypervisor_unreachable', 'The connection to libvirt ended.');
      }
      live = connection;
      return connection;
    } catch (error) {
      connection.drop();
      throw error;
    }
  };
  const running = keepConnected({
    connectOnce: () => (attempt = connectAndWatch()),
    onLost(reason) {
      attempt = null;
      live = null;
      lastFailure = reason;
      if (stop.signal.aborted) return;
      logger.warn({ reason: describeThrown(reason) }, 'not connected to libvirt; trying again');
    },
    backoff,
    clock: clock ?? systemClock,
    signal: stop.signal,
  });
  const connection = async (signal?: AbortSignal): Promise<LibvirtConnection> => {
    if (live?.isOpen()) return live;
    if (attempt && !live) {
      const what = 'Connecting to libvirt';
      return await waitFor(attempt, { timeoutMs: ATTEMPT_TIMEOUT_MS, what, signal });
    }
    throw new OperationError(
      'hypervisor_unreachable',
      `libvirt cannot be reached now; Komadori keeps trying. ${lastFailure?.message ?? ''}`.trim(),
      { cause: lastFailure ?? undefined },
    );
  };

  return {
    connection,
    isConnected: () => live?.isOpen() ?? false,
    call: async (shape, callOptions) =>
      await (await connection(callOptions?.signal)).call(shape, callOptions),
    watch: (selections, listener) => watches.add(selections, listener, live),
    async close() {
      stop.abort(new OperationError('cancelled', 'Komadori closed its connection to libvirt.'));
      await live?.close();
      await running;
      watches.clear();
    },
  };
}
