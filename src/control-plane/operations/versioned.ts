import { OperationError } from '../../shared/errors.ts';

/** A thing with the tag that says whether it changed since it was read. */
export interface Versioned<Body> {
  readonly body: Body;
  readonly etag: string;
}

export const etagOf = (version: number): string => `"v${version}"`;

/** `If-Match` (RFC 9110 section 13.1.1): a list of tags of which one must hold, or `*`. */
export function requireMatch(version: number, ifMatch: string | undefined): void {
  if (ifMatch === undefined || ifMatch.trim() === '*') return;
  const tags = ifMatch.split(',').map((tag) => tag.trim());
  if (tags.includes(etagOf(version))) return;
  throw new OperationError(
    'precondition_failed',
    'It was changed since you read it. Read it again, and repeat your change if it still makes sense.',
  );
}
