import { plainArgumentsSchema } from './call-types.ts';
import type { ArgumentsOf, ItemOf, PagedOperationId } from './call-types.ts';
import type { Client } from './client.ts';

export interface PageOptions {
  readonly signal?: AbortSignal | undefined;
  /** At most this many items. */
  readonly maxItems?: number | undefined;
  /** Told after each page where the next one begins; null after the last. */
  readonly onCursor?: ((nextCursor: string | null) => void) | undefined;
}

const ITEMS_MAX = 100_000;

export function pagesOf<Id extends PagedOperationId>(
  client: Client,
  operationId: Id,
  args: ArgumentsOf<Id>,
  options?: PageOptions,
): AsyncGenerator<ItemOf<Id>>;
export async function* pagesOf(
  client: Pick<Client, 'call'>,
  operationId: PagedOperationId,
  args: unknown,
  options: PageOptions = {},
): AsyncGenerator {
  const plain = plainArgumentsSchema.parse(args);
  let left = options.maxItems ?? ITEMS_MAX;
  let cursor: string | undefined;
  while (left > 0) {
    const query = { limit: Math.min(left, 200), ...plain.query, ...(cursor ? { cursor } : {}) };
    const page = await client.call(operationId, { ...plain, query }, { signal: options.signal });
    for (const item of page.items.slice(0, left)) yield item;
    options.onCursor?.(page.nextCursor);
    left -= page.items.length;
    // A server that hands out the same cursor again would keep us here for ever.
    if (page.nextCursor === null || page.nextCursor === cursor) return;
    cursor = page.nextCursor;
  }
}
