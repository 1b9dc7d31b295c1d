import { describeThrown } from '../../shared/errors.ts';
import { deleteExpiredIdempotencyKeys } from '../database/idempotency-keys.ts';
import { trimNotifications } from '../database/notifications.ts';
import { deleteEndedSessions } from '../database/sessions.ts';
import { timestamp, type Environment } from './environment.ts';
import { expireRequests } from './expire-requests.ts';
import { idleSince } from './sessions.ts';

const INTERVAL_MS = 30_000;
/** For clients that were away for a while; others read everything again. */
const NOTIFICATIONS_KEPT = 10_000;

/** What ends by time rather than by somebody's act. Any number of servers may do it at once. */
export async function maintain(environment: Environment): Promise<void> {
  await expireRequests(environment);
  await environment.catalog.write(async (tx) => {
    await trimNotifications(tx, NOTIFICATIONS_KEPT);
    const now = timestamp(environment);
    await deleteExpiredIdempotencyKeys(tx, now);
    await deleteEndedSessions(tx, { usedAfter: idleSince(environment), now });
  });
}

export function startMaintenance(environment: Environment): { close(): Promise<void> } {
  let running: Promise<void> | undefined;
  const timer = setInterval(() => {
    running ??= maintain(environment)
      .catch((error: unknown) => {
        environment.logger.warn({ reason: describeThrown(error) }, 'maintenance failed');
      })
      .finally(() => {
        running = undefined;
      });
  }, INTERVAL_MS);
  return {
    close: async () => {
      clearInterval(timer);
      await running;
    },
  };
}
