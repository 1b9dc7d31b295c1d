import { z } from 'zod';
import { pageOf, pageQueryShape } from './page.ts';
import { byteCountSchema, timeSchema } from './scalars.ts';

/** A repository's id is made by the repository format, not by the catalog. */
export const repositoryIdSchema = z.string().regex(/^[A-Za-z0-9-]{1,64}$/);
export const repositoryParamsSchema = z.object({ id: repositoryIdSchema });

export const repositorySchema = z.object({
  id: repositoryIdSchema,
  name: z.string(),
  /** Where it is, for people. */
  location: z.string(),
  state: z.enum(['ready', 'locked', 'unavailable']),
  stateReason: z.string().nullable(),
  formatVersion: z.int().nonnegative(),
  encrypted: z.boolean(),
  snapshots: z.int().nonnegative(),
  packs: z.int().nonnegative(),
  chunks: z.int().nonnegative(),
  storedBytes: byteCountSchema,
  /** Plain bytes of all unique chunks. */
  uniqueBytes: byteCountSchema,
  freeBytes: byteCountSchema.nullable(),
  /** When these numbers were taken. */
  measuredAt: timeSchema.nullable(),
  lastCollectedAt: timeSchema.nullable(),
});
export type Repository = z.infer<typeof repositorySchema>;

export const repositoryPageSchema = pageOf(repositorySchema);
export const repositoryListQuerySchema = z.object({ ...pageQueryShape });
