import { describeThrown, OperationError } from '../../../shared/errors.ts';

export const hasErrnoCode = (thrown: unknown, code: string): boolean =>
  thrown instanceof Error && 'code' in thrown && thrown.code === code;

/** Gives a failed file operation its code; `subject` is the blob or folder it was about. */
export function toStorageError(thrown: unknown, subject: string): unknown {
  if (thrown instanceof OperationError || !(thrown instanceof Error) || !('code' in thrown)) {
    return thrown;
  }
  const cause = thrown;
  switch (thrown.code) {
    case 'ENOENT':
    case 'EISDIR':
    case 'ENOTDIR':
      return new OperationError('not_found', `There is no stored file ${subject}.`, { cause });
    case 'ENOSPC':
    case 'EDQUOT':
      return new OperationError(
        'insufficient_space',
        `The repository's file system is full; ${subject} was not stored. Free some space and try again.`,
        { cause },
      );
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new OperationError(
        'permission_denied',
        `The repository's folder does not let Komadori at ${subject}: ${describeThrown(thrown)}`,
        { cause },
      );
    default:
      return new OperationError(
        'unreachable',
        `The repository's folder failed at ${subject}: ${describeThrown(thrown)}`,
        { cause },
      );
  }
}
