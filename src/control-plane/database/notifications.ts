import { z } from 'zod';
import type { Reader, Writer } from './catalog.ts';
import { readWord } from './json-column.ts';

const notificationTypeSchema = z.enum(['created', 'changed', 'removed', 'progress']);
const notificationResourceSchema = z.enum([
  'vm',
  'snapshot',
  'request',
  'job',
  'host',
  'repository',
  'schedule',
  'audit-event',
]);

export interface Notification {
  readonly at: string;
  readonly type: z.infer<typeof notificationTypeSchema>;
  readonly resource: z.infer<typeof notificationResourceSchema>;
  readonly resourceId: string;
  readonly vmId: string | null;
}

export interface NotificationRow extends Notification {
  readonly sequence: number;
}

/** Told to whoever follows events, once the transaction is committed. */
export async function appendNotification(tx: Writer, notification: Notification): Promise<void> {
  await tx
    .insertInto('notifications')
    .values({
      at: notification.at,
      type: notification.type,
      resource: notification.resource,
      resource_id: notification.resourceId,
      vm_id: notification.vmId,
    })
    .execute();
}

export async function listNotificationsAfter(
  db: Reader,
  after: { sequence: number; limit: number },
): Promise<NotificationRow[]> {
  const rows = await db
    .selectFrom('notifications')
    .selectAll()
    .where('sequence', '>', after.sequence)
    .orderBy('sequence')
    .limit(after.limit)
    .execute();
  return rows.map((row) => ({
    sequence: row.sequence,
    at: row.at,
    type: readWord(notificationTypeSchema, row.type, `notification ${row.sequence}`),
    resource: readWord(notificationResourceSchema, row.resource, `notification ${row.sequence}`),
    resourceId: row.resource_id,
    vmId: row.vm_id,
  }));
}

/** First and last sequence that are kept; zero and zero while there are none. */
export async function notificationRange(db: Reader): Promise<{ first: number; last: number }> {
  const row = await db
    .selectFrom('notifications')
    .select((eb) => [eb.fn.min('sequence').as('first'), eb.fn.max('sequence').as('last')])
    .executeTakeFirst();
  return { first: row?.first ?? 0, last: row?.last ?? 0 };
}

/** Keeps the newest, for clients that come back; older ones are told to read everything again. */
export async function trimNotifications(tx: Writer, keep: number): Promise<void> {
  const { last } = await notificationRange(tx);
  await tx
    .deleteFrom('notifications')
    .where('sequence', '<=', last - keep)
    .execute();
}
