import { OperationError } from '../../shared/errors.ts';

const NAME_LENGTH_MAX = 255;
const SEGMENT_PATTERN = /^[a-z0-9][a-z0-9._-]*$/;

/** Segments of a blob's name; throws `invalid_input` for what could leave the storage or clash with its own files. */
export function parseBlobName(name: string): string[] {
  const segments = name.split('/');
  const valid =
    name.length <= NAME_LENGTH_MAX && segments.every((segment) => SEGMENT_PATTERN.test(segment));
  if (!valid) {
    throw new OperationError(
      'invalid_input',
      `Not a name for a stored blob: ${JSON.stringify(name)}.`,
    );
  }
  return segments;
}

/** Segments of a prefix folder: empty for everything; a closing slash is allowed. */
export function parseBlobPrefix(prefix: string): string[] {
  const trimmed = prefix.endsWith('/') ? prefix.slice(0, -1) : prefix;
  return trimmed === '' ? [] : parseBlobName(trimmed);
}
