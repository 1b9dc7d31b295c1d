import { z } from 'zod';
import { timeSchema } from './scalars.ts';

export const eventResourceSchema = z.enum([
  'vm',
  'snapshot',
  'request',
  'job',
  'host',
  'repository',
  'schedule',
  'audit-event',
]);
export type EventResource = z.infer<typeof eventResourceSchema>;

/**
 * A hint to read again, never the data itself, so that rights are checked in one place. On the wire:
 * SSE with `id` = sequence, `event` = type, `data` = this as JSON.
 */
export const serverEventSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.enum(['created', 'changed', 'removed', 'progress']),
    sequence: z.int().nonnegative(),
    resource: eventResourceSchema,
    id: z.string(),
    at: timeSchema,
  }),
  /** Events were missed (Last-Event-ID is too old, or the server started anew): read everything again. */
  z.object({ type: z.literal('resync'), sequence: z.int().nonnegative(), at: timeSchema }),
]);
export type ServerEvent = z.infer<typeof serverEventSchema>;

export const eventQuerySchema = z.object({
  resource: z
    .union([z.array(eventResourceSchema), eventResourceSchema.transform((one) => [one])])
    .optional(),
  /** For clients that cannot send the Last-Event-ID header. */
  lastEventId: z.coerce.number().int().nonnegative().optional(),
});
