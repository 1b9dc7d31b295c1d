import { z } from 'zod';

export const PAGE_LIMIT_MAX = 500;
export const PAGE_LIMIT_DEFAULT = 100;

export const pageQueryShape = {
  limit: z.coerce.number().int().min(1).max(PAGE_LIMIT_MAX).optional(),
  /** `nextCursor` of the page before; opaque. */
  cursor: z.string().max(512).optional(),
};

export const pageOf = <Item extends z.ZodType>(item: Item) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() });

/** A query parameter that may be given several times. */
export const oneOrMore = <Item extends z.ZodType>(item: Item) =>
  z.union([z.array(item).max(50), item.transform((value) => [value])]);

export const queryFlagSchema = z.union([
  z.boolean(),
  z.enum(['true', 'false']).transform((value) => value === 'true'),
]);
