import type { ArgumentsOf, ItemOf, PagedOperationId } from '../client/call-types.ts';
import type { Client } from '../client/client.ts';
import type { CommandContext } from './command.ts';
import { renderTable } from './table.ts';
import type { Column } from './table.ts';
import { tableWidth } from './terminal.ts';

export const LIST_LIMIT_DEFAULT = 1000;

/** Reads up to `limit` items, and prints them as a table or as one page of JSON. */
export async function printList<Id extends PagedOperationId>(
  context: CommandContext,
  client: Client,
  list: {
    readonly operationId: Id;
    readonly args: ArgumentsOf<Id>;
    readonly limit: number;
    readonly columns: readonly Column[];
    readonly arrange?: (items: ItemOf<Id>[]) => ItemOf<Id>[];
    row(item: ItemOf<Id>): readonly string[];
  },
): Promise<void> {
  const items: ItemOf<Id>[] = [];
  let nextCursor: string | null = null;
  const pages = client.pages(list.operationId, list.args, {
    signal: context.terminal.signal,
    maxItems: list.limit,
    onCursor: (cursor) => {
      nextCursor = cursor;
    },
  });
  for await (const item of pages) items.push(item);
  if (context.json) return context.printJson({ items, nextCursor });
  if (items.length === 0) context.remark(context.text('list.empty'));
  else {
    const rows = (list.arrange?.(items) ?? items).map((item) => list.row(item));
    context.print(renderTable(list.columns, rows, tableWidth(context.terminal)));
  }
  if (nextCursor !== null) context.remark(context.text('list.more', { count: items.length }));
}
