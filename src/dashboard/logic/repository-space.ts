import type { Repository } from '../../contract/repositories.ts';

export interface SpaceVerdict {
  /** Of what the repository has and could still take; null where the room is not known. */
  readonly usedShare: number | null;
  /** Unique plain bytes for each stored byte; null while nothing is stored. */
  readonly ratio: number | null;
}

export function judgeSpace(
  repository: Pick<Repository, 'storedBytes' | 'uniqueBytes' | 'freeBytes'>,
): SpaceVerdict {
  const { storedBytes, uniqueBytes, freeBytes } = repository;
  const room = freeBytes === null ? 0 : storedBytes + freeBytes;
  return {
    usedShare: room === 0 ? null : storedBytes / room,
    ratio: storedBytes === 0 ? null : uniqueBytes / storedBytes,
  };
}
