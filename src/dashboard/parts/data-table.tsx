import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';

export interface Column<Item> {
  readonly title: string;
  readonly cell: (item: Item) => React.ReactNode;
  /** Buttons: no heading for the eye, but one for the ear. */
  readonly isActions?: boolean;
  readonly isNumber?: boolean;
  /** Kept on one line: numbers, times, names that are looked for. */
  readonly isOneLine?: boolean;
}

/** On a phone each row becomes a card with its column titles. */
export function DataTable<Item>(props: {
  readonly label: string;
  readonly columns: readonly Column<Item>[];
  readonly items: readonly Item[];
  readonly keyOf: (item: Item) => string;
}): React.ReactElement {
  return (
    <Table aria-label={props.label} variant="compact" gridBreakPoint="grid-lg">
      <Thead>
        <Tr>
          {props.columns.map((column) => (
            <Th
              key={column.title}
              modifier="nowrap"
              screenReaderText={column.isActions ? column.title : undefined}
            >
              {column.isActions ? null : column.title}
            </Th>
          ))}
        </Tr>
      </Thead>
      <Tbody>
        {props.items.map((item) => (
          <Tr key={props.keyOf(item)}>
            {props.columns.map((column) => (
              <Td
                key={column.title}
                dataLabel={column.isActions ? undefined : column.title}
                modifier={column.isNumber || column.isOneLine ? 'nowrap' : undefined}
                className={column.isNumber ? 'kd-number' : undefined}
              >
                {column.cell(item)}
              </Td>
            ))}
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}
