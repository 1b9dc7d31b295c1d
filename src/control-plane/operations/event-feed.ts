import type { EventResource, ServerEvent } from '../../contract/events.ts';
import { OperationError, describeThrown } from '../../shared/errors.ts';
import { reloadPrincipal } from '../access/load-principal.ts';
import {
  authorizeSomewhere,
  FLEET,
  mayDo,
  type Principal,
  type Target,
} from '../access/principal.ts';
import {
  listNotificationsAfter,
  notificationRange,
  type NotificationRow,
} from '../database/notifications.ts';
import { targetOfVmId } from './targets.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';

const POLL_MS = 250;
const BATCH_SIZE = 500;
const FOLLOWERS_MAX = 200;
const FOLLOWERS_PER_PRINCIPAL_MAX = 20;

export interface EventWish {
  readonly resources?: readonly EventResource[] | undefined;
  /** The last event that the client saw; undefined: from now on. */
  readonly lastEventId?: number | undefined;
}

export interface EventFeed {
  /** Calls `onEvent` in order until `close`. Throws `limit_reached`. */
  follow(
    caller: Caller,
    wish: EventWish,
    onEvent: (event: ServerEvent) => void,
  ): Promise<{ close(): void }>;
  close(): void;
}

interface Follower {
  readonly caller: Caller;
  readonly resources: readonly EventResource[] | undefined;
  readonly onEvent: (event: ServerEvent) => void;
  sequence: number;
}

/** One poll of the catalog for all who follow, and none while nobody does. */
export function createEventFeed(environment: Environment): EventFeed {
  const { catalog, logger } = environment;
  const followers = new Set<Follower>();
  let timer: NodeJS.Timeout | undefined;
  let polling: Promise<void> | undefined;

  const poll = async (): Promise<void> => {
    try {
      const sequence = Math.min(...[...followers].map((follower) => follower.sequence));
      const rows = await listNotificationsAfter(catalog.read, { sequence, limit: BATCH_SIZE });
      if (rows.length > 0) await deliver(environment, [...followers], rows);
    } catch (error) {
      logger.warn({ reason: describeThrown(error) }, 'events could not be read; trying again');
    }
  };

  const startOrStop = (): void => {
    if (followers.size > 0)
      timer ??= setInterval(() => {
        polling ??= poll().finally(() => {
          polling = undefined;
        });
      }, POLL_MS);
    else {
      clearInterval(timer);
      timer = undefined;
    }
  };

  return {
    follow: async (caller, wish, onEvent) => {
      authorizeSomewhere(caller.principal, 'view');
      refuseTooMany(followers, caller);
      const range = await notificationRange(catalog.read);
      const { lastEventId = range.last } = wish;
      const follower = { caller, resources: wish.resources, onEvent, sequence: lastEventId };
      // Sequences never repeat, so one beyond the end is of another catalog.
      if (lastEventId > range.last || lastEventId < range.first - 1) {
        follower.sequence = range.last;
        onEvent({ type: 'resync', sequence: range.last, at: timestamp(environment) });
      }
      followers.add(follower);
      startOrStop();
      return {
        close: () => {
          followers.delete(follower);
          startOrStop();
        },
      };
    },
    close: () => {
      followers.clear();
      startOrStop();
    },
  };
}

function refuseTooMany(followers: ReadonlySet<Follower>, caller: Caller): void {
  const own = [...followers].filter(
    (follower) => follower.caller.principal.ref.id === caller.principal.ref.id,
  );
  if (followers.size < FOLLOWERS_MAX && own.length < FOLLOWERS_PER_PRINCIPAL_MAX) return;
  throw new OperationError(
    'limit_reached',
    'Too many event streams are open. Close some, or poll instead.',
  );
}

/** By the rights of now: a stream may have been open since before they were changed. */
async function deliver(
  environment: Environment,
  followers: readonly Follower[],
  rows: readonly NotificationRow[],
): Promise<void> {
  const db = environment.catalog.read;
  const targets = new Map<string | null, Target>();
  for (const { vmId } of rows)
    if (!targets.has(vmId)) targets.set(vmId, await targetOfVmId(db, vmId));
  const current = new Map<string, Principal | undefined>();
  for (const follower of followers) {
    const { principal } = follower.caller;
    const key = `${principal.ref.id} ${principal.tokenId}`;
    if (!current.has(key))
      current.set(key, await reloadPrincipal(db, principal, environment.clock));
    const now = current.get(key);
    const sees = now && createSight(now);
    for (const row of rows) {
      if (row.sequence <= follower.sequence) continue;
      follower.sequence = row.sequence;
      if (follower.resources && !follower.resources.includes(row.resource)) continue;
      if (!sees?.(row, targets.get(row.vmId) ?? FLEET)) continue;
      const { type, sequence, resource, resourceId: id, at } = row;
      follower.onEvent({ type, sequence, resource, id, at });
    }
  }
}

type Sight = (row: NotificationRow, target: Target) => boolean;

const createSight =
  (principal: Principal): Sight =>
  (row, target) =>
    mayDo(principal, row.resource === 'audit-event' ? 'read-audit' : 'view', target);
