import { describeThrown, type OperationError } from '../../../../shared/errors.ts';
import type { Logger } from '../../../../shared/logger.ts';
import type { LibvirtConnection } from './connection.ts';
import type { EventSubscription } from './event-hub.ts';
import type { EventSelection, LibvirtEvent } from './events.ts';
import { LibvirtError } from './libvirt-error.ts';

export type WatchEvent =
  | LibvirtEvent
  /** Connected (again) and listening, but events were missed: look at everything anew. */
  | { readonly kind: 'resync' }
  /** libvirt refuses to report these; the rest of the watch goes on. */
  | {
      readonly kind: 'not_watching';
      readonly selection: EventSelection;
      readonly error: OperationError;
    };

interface Watch {
  readonly selections: readonly EventSelection[];
  readonly listener: (event: WatchEvent) => void;
  subscriptions: EventSubscription[];
  isClosed: boolean;
}

export interface Watches {
  /** Starts at once on `current`; without one, the next startAll does. */
  add(
    selections: readonly EventSelection[],
    listener: (event: WatchEvent) => void,
    current: LibvirtConnection | null,
  ): EventSubscription;
  startAll(connection: LibvirtConnection): Promise<void>;
  clear(): void;
}

function createTell(watch: Watch, logger: Logger): (event: WatchEvent) => void {
  return (event) => {
    if (watch.isClosed) return;
    try {
      watch.listener(event);
    } catch (error) {
      logger.error({ err: error, kind: event.kind }, 'a libvirt watch listener failed');
    }
  };
}

async function startWatch(
  watch: Watch,
  connection: LibvirtConnection,
  logger: Logger,
): Promise<void> {
  const tell = createTell(watch, logger);
  let isResynced = false;
  watch.subscriptions = [];
  for (const selection of watch.selections) {
    try {
      const subscription = await connection.subscribe(selection, (event) => {
        // What comes before the resync is part of what the resync makes the listener look at.
        if (isResynced) tell(event);
      });
      if (watch.isClosed) {
        await subscription.close();
        return;
      }
      watch.subscriptions.push(subscription);
    } catch (error) {
      if (!(error instanceof LibvirtError)) throw error;
      tell({ kind: 'not_watching', selection, error });
    }
  }
  isResynced = true;
  tell({ kind: 'resync' });
}

export function createWatches(logger: Logger): Watches {
  const watches = new Set<Watch>();
  return {
    add(selections, listener, current) {
      const watch: Watch = { selections, listener, subscriptions: [], isClosed: false };
      watches.add(watch);
      if (current) {
        startWatch(watch, current, logger).catch((error: unknown) => {
          // A deaf watch is worse than a reconnection, which starts every watch anew.
          logger.warn({ reason: describeThrown(error) }, 'listening to libvirt events failed');
          current.drop();
        });
      }
      return {
        async close() {
          watch.isClosed = true;
          watches.delete(watch);
          await Promise.all(watch.subscriptions.map((subscription) => subscription.close()));
        },
      };
    },
    async startAll(connection) {
      // A watch added during the loop is visited by it too.
      for (const watch of watches) await startWatch(watch, connection, logger);
    },
    clear: () => watches.clear(),
  };
}
