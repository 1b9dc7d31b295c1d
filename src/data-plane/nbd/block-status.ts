import { OperationError } from '../../shared/errors.ts';
import type { StatusEntry } from './reply-reader.ts';
import { protocolError } from './protocol.ts';

export interface NbdExtent {
  readonly offset: number;
  readonly lengthBytes: number;
  /** Meaning depends on the context; `base:allocation`: bit 0 hole, bit 1 reads as zero. */
  readonly flags: number;
}

export interface ExtentOptions {
  readonly offset?: number;
  readonly lengthBytes?: number;
  /** A server that reports more than this is lying; protects against endless answers. */
  readonly maxExtents?: number;
  readonly signal?: AbortSignal | undefined;
}

/** 64 KiB extents of a 1 TiB disk, all different from their neighbours. */
const DEFAULT_MAX_EXTENTS = 16 * 1024 * 1024;
/** Below 4 GiB, and a multiple of every block size. */
const MAX_STATUS_BYTES = 1024 * 1024 * 1024;

export type AskStatus = (
  offset: number,
  lengthBytes: number,
  signal: AbortSignal | undefined,
) => Promise<readonly StatusEntry[]>;

/** Extents that cover the range without gaps, in order, neighbours with equal flags merged. */
export async function* statusExtents(
  ask: AskStatus,
  range: { offset: number; lengthBytes: number },
  options: Pick<ExtentOptions, 'maxExtents' | 'signal'>,
): AsyncGenerator<NbdExtent, void, void> {
  const maxExtents = options.maxExtents ?? DEFAULT_MAX_EXTENTS;
  const end = range.offset + range.lengthBytes;
  let entries = 0;
  let current: { offset: number; lengthBytes: number; flags: number } | null = null;
  let position = range.offset;
  while (position < end) {
    const answer = await ask(position, Math.min(end - position, MAX_STATUS_BYTES), options.signal);
    entries += answer.length;
    if (entries > maxExtents) {
      throw protocolError(
        `The NBD server reports more than ${maxExtents} extents; it is broken, or the disk is more fragmented than Komadori can take.`,
      );
    }
    for (const { lengthBytes, flags } of answer) {
      if (current !== null && current.flags === flags) {
        current.lengthBytes += lengthBytes;
      } else {
        if (current !== null) yield current;
        current = { offset: position, lengthBytes, flags };
      }
      position += lengthBytes;
    }
    if (answer.length === 0) throw protocolError('The NBD server sent an empty block status.');
  }
  if (current !== null) yield current;
}

export function missingContext(context: string, offered: readonly string[]): OperationError {
  return new OperationError(
    'not_found',
    `The NBD export has no meta context "${context}"; ask for it when connecting. Agreed on: ${offered.join(', ') || 'none'}.`,
  );
}
