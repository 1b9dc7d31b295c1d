import { MIB } from '../../shared/byte-size.ts';
import { OperationError } from '../../shared/errors.ts';
import { createByteFeed } from './byte-feed.ts';
import { NotUnderstood } from './not-understood.ts';
import { createPageWindows, type PageBuffer, type PageWindow } from './page-windows.ts';
import { createRemainderOutput } from './remainder-output.ts';
import { createStreamEnd } from './stream-end.ts';
import { createOutcome, describeOutcome, parseStream, type StreamBlock } from './stream-grammar.ts';

export type ParsedStream =
  | {
      readonly understood: true;
      readonly machineType: string;
      readonly blocks: readonly StreamBlock[];
      readonly ramSectionId: number;
      /** Where the pages go between the remainder's bytes. */
      readonly pagesAtRemainderOffset: number;
      readonly remainderBytes: number;
      readonly pages: number;
      readonly zeroPages: number;
    }
  | {
      readonly understood: false;
      readonly reason: string;
      /** The remainder is the whole stream, byte for byte: no page had been taken out of it yet. */
      readonly remainderIsWholeStream: boolean;
      readonly remainderBytes: number;
    };

export interface StreamHandlers<B extends PageBuffer> {
  /** A free buffer of 1 MiB, or null: `push` then stops early. */
  takeBuffer(): B | null;
  /** A later window overrides an earlier one where they overlap; what is in none is zero. */
  onPages(window: PageWindow<B>): void;
  /** The bytes are valid during the call only. */
  onRemainder(bytes: Uint8Array): void;
}

export interface StreamParser {
  /**
   * Takes bytes and returns how many it used: fewer than given only when it needs a buffer and
   * there was none. It holds no buffer then; offer the rest again when one is free.
   */
  push(bytes: Uint8Array): number;
  /** Why the stream is not understood, as soon as that is known; null so far so good. */
  readonly problem: string | null;
  /** Throws OperationError `protocol_error` when the stream is not complete. Call once. */
  finish(): ParsedStream;
}

/** Blocks below this size (ROMs, tables) are not worth a tree of their own. */
export const PAGED_BLOCK_MIN_BYTES = 8 * MIB;

/** Separates guest pages from everything else in a QEMU migration stream, in one pass. */
export function createStreamParser<B extends PageBuffer>(
  handlers: StreamHandlers<B>,
  options: { pagedBlockMinBytes?: number } = {},
): StreamParser {
  const feed = createByteFeed();
  const streamEnd = createStreamEnd();
  const windows = createPageWindows(handlers);
  const output = createRemainderOutput(handlers);
  const outcome = createOutcome();
  const grammar = parseStream({
    feed,
    windows,
    output,
    outcome,
    pagedBlockMinBytes: options.pagedBlockMinBytes ?? PAGED_BLOCK_MIN_BYTES,
  });
  let phase: 'memory' | 'devices' | 'given up' = 'memory';
  let problem: string | null = null;
  let remainderIsWholeStream = false;

  function giveUp(reason: string): void {
    phase = 'given up';
    problem = reason;
    const { pages, zeroPages } = outcome.progress;
    remainderIsWholeStream = pages + zeroPages === 0 && !output.hasDropped();
    windows.flushAll();
    if (remainderIsWholeStream) output.emitVerbatim(feed.item());
  }

  /** Returns how many bytes it took; the phase says whether the rest is its to take. */
  function parseMemory(bytes: Uint8Array): number {
    feed.give(bytes);
    try {
      if (grammar.next().done === true) {
        phase = 'devices';
        windows.flushAll();
      }
    } catch (error) {
      if (!(error instanceof NotUnderstood)) throw error;
      giveUp(error.message);
    }
    return feed.usedBytes();
  }

  return {
    get problem() {
      return problem;
    },
    push(bytes) {
      const usedBytes = phase === 'memory' ? parseMemory(bytes) : 0;
      if (phase === 'memory') return usedBytes;
      const rest = bytes.subarray(usedBytes);
      if (phase === 'devices') {
        output.emit(rest);
        streamEnd.append(rest);
      } else if (remainderIsWholeStream) output.emit(rest);
      return bytes.length;
    },
    finish() {
      windows.flushAll();
      const remainderBytes = output.totalBytes();
      if (problem !== null) {
        return { understood: false, reason: problem, remainderIsWholeStream, remainderBytes };
      }
      if (phase === 'memory') throw truncated('it ends before all of the memory came');
      if (!streamEnd.isComplete()) throw truncated('it ends within the state of the devices');
      return { understood: true, remainderBytes, ...describeOutcome(outcome) };
    },
  };
}

function truncated(why: string): OperationError {
  return new OperationError(
    'protocol_error',
    `The memory stream from QEMU is incomplete: ${why}. Take the snapshot again.`,
  );
}
