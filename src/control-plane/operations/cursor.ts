import { z } from 'zod';
import { PAGE_LIMIT_DEFAULT } from '../../contract/page.ts';
import { OperationError } from '../../shared/errors.ts';

/** Reads a cursor that `pageFrom` made; whoever sends something else is told so. */
export function decodeCursor<Key extends z.ZodType>(
  schema: Key,
  cursor: string | undefined,
): z.output<Key> | undefined {
  if (cursor === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    return schema.parse(value);
  } catch (error) {
    throw new OperationError(
      'invalid_input',
      'The cursor is not one of this list. Start again without it.',
      { cause: error },
    );
  }
}

export const namedCursorSchema = z.object({ name: z.string(), id: z.string() });
export const nameCursorSchema = z.object({ name: z.string() });
export const idCursorSchema = z.object({ id: z.string() });

/**
 * Turns the rows of one query, asked for one more than the page holds, into a page. `keyOf` names
 * what the next page begins after.
 */
export function pageFrom<Row, Item>(
  rows: readonly Row[],
  options: { limit: number; toItem: (row: Row) => Item; keyOf: (row: Row) => object },
): { items: Item[]; nextCursor: string | null } {
  const shown = rows.slice(0, options.limit);
  const last = shown.at(-1);
  const hasMore = rows.length > options.limit && last !== undefined;
  return {
    items: shown.map(options.toItem),
    nextCursor: hasMore
      ? Buffer.from(JSON.stringify(options.keyOf(last)), 'utf8').toString('base64url')
      : null,
  };
}

export const pageLimit = (query: { limit?: number | undefined }): number =>
  query.limit ?? PAGE_LIMIT_DEFAULT;

/** `key=value`; a value may hold further equals signs. */
export function parseLabelFilter(
  labels: readonly string[] | undefined,
): { key: string; value: string }[] | undefined {
  return labels?.map((label) => {
    const at = label.indexOf('=');
    if (at < 1)
      throw new OperationError(
        'invalid_input',
        `The label filter "${label}" is not of the form key=value.`,
      );
    return { key: label.slice(0, at), value: label.slice(at + 1) };
  });
}
