/** A page in the order of a sort key that ends with a unique column. */
export interface PageRequest<Key> {
  readonly limit: number;
  /** Sort key of the last row of the page before. */
  readonly after?: Key | undefined;
}

/** For a `like ... escape '\'` that finds the text anywhere, whatever characters it holds. */
export const containsPattern = (text: string): string =>
  `%${text.toLowerCase().replaceAll(/[\\%_]/g, (found) => `\\${found}`)}%`;
