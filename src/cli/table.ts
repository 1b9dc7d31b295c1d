import { fitText, plainText, textWidth } from './text-width.ts';

export interface Column {
  readonly title: string;
  readonly align?: 'right' | undefined;
  /** May be cut when the terminal is narrow. */
  readonly shrinks?: boolean | undefined;
}

const GAP = '  ';
const SHRUNK_WIDTH_MIN = 8;

/** `width` null: nothing is cut, for files and pipes. */
export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number | null,
): string {
  const cells = [columns.map((column) => column.title), ...rows].map((row) => row.map(plainText));
  const widths = columns.map((_, index) =>
    Math.max(...cells.map((row) => textWidth(row[index] ?? ''))),
  );
  if (width !== null) shrink(columns, widths, width);
  return cells
    .map((row) =>
      columns
        .map((column, index) => padCell(row[index] ?? '', widths[index] ?? 0, column.align))
        .join(GAP)
        .trimEnd(),
    )
    .join('\n');
}

function padCell(text: string, width: number, align: 'right' | undefined): string {
  const fitted = fitText(text, width);
  const padding = ' '.repeat(Math.max(0, width - textWidth(fitted)));
  return align === 'right' ? padding + fitted : fitted + padding;
}

function shrink(columns: readonly Column[], widths: number[], width: number): void {
  const total = (): number =>
    widths.reduce((sum, one) => sum + one, 0) + GAP.length * (widths.length - 1);
  for (;;) {
    const excess = total() - width;
    if (excess <= 0) return;
    let widest = -1;
    for (const [index, column] of columns.entries())
      if (
        column.shrinks &&
        (widths[index] ?? 0) > SHRUNK_WIDTH_MIN &&
        (widest === -1 || (widths[index] ?? 0) > (widths[widest] ?? 0))
      )
        widest = index;
    if (widest === -1) return;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
}

/** Names and values below each other; empty values are left out. */
export function renderDetails(pairs: readonly (readonly [string, string | null])[]): string {
  const shown = pairs.filter((pair): pair is readonly [string, string] => Boolean(pair[1]));
  const width = Math.max(0, ...shown.map(([name]) => textWidth(name)));
  return shown
    .map(([name, value]) => {
      const lines = value.split('\n').map(plainText);
      return `${name}${' '.repeat(width - textWidth(name))}  ${lines.join(`\n${' '.repeat(width + 2)}`)}`;
    })
    .join('\n');
}
