import { OperationError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/waiting.ts';
import type { Manifest } from '../chunk-repository/manifest.ts';
import type { RepositoryWriter, SharedBuffer, TreeWriter } from '../chunk-repository/repository.ts';
import type { PageWindow } from '../migration-stream/page-windows.ts';
import { createStreamParser } from '../migration-stream/stream-parser.ts';
import { createPartsWriter } from './blobs.ts';

type MemoryContent = NonNullable<Manifest['memory']>['content'];

/** Writes in flight: enough for all hashing threads, few enough that buffers remain for the parser. */
const WRITES_IN_FLIGHT_MAX = 8;

export interface CopyMemoryRequest {
  readonly stream: AsyncIterable<Uint8Array>;
  readonly writer: RepositoryWriter;
  readonly onBytes: (lengthBytes: number) => void;
  readonly signal: AbortSignal;
}

/**
 * Takes a memory stream apart into page trees and a remainder. A stream that this version does not
 * understand is kept whole instead, with the reason; that works while no page was taken out of it,
 * which is where foreign contents show.
 */
export async function copyMemory(request: CopyMemoryRequest): Promise<MemoryContent> {
  const { writer, signal } = request;
  const remainder = createPartsWriter(writer, signal);
  const pages = createPageWriter(writer);
  const free: SharedBuffer[] = [];
  const parser = createStreamParser<SharedBuffer>({
    takeBuffer: () => free.pop() ?? null,
    onPages: (window) => pages.write(window),
    onRemainder: (bytes) => remainder.append(bytes),
  });
  try {
    for await (const bytes of request.stream) {
      let rest = bytes;
      for (;;) {
        rest = rest.subarray(parser.push(rest));
        throwIfAborted(signal);
        await pages.settleSome();
        await remainder.flush();
        if (rest.length === 0) break;
        free.push(await writer.acquireBuffer(signal));
      }
      request.onBytes(bytes.length);
    }
    const parsed = parser.finish();
    await pages.settleAll();
    if (!parsed.understood) {
      if (!parsed.remainderIsWholeStream) throw streamChanged(parsed.reason);
      return { form: 'stream', reason: parsed.reason, stream: await remainder.finish() };
    }
    return {
      form: 'pages',
      blocks: await pages.finish(parsed.blocks.filter((block) => block.paged)),
      remainder: await remainder.finish(),
      pagesAtRemainderOffset: parsed.pagesAtRemainderOffset,
      ramSectionId: parsed.ramSectionId,
    };
  } finally {
    await pages.abandon();
    for (const buffer of free) buffer.release();
  }
}

const streamChanged = (reason: string): OperationError =>
  new OperationError(
    'protocol_error',
    `The memory stream could not be stored: ${reason}. Take the snapshot again, or only of the disks.`,
  );

interface PageWriter {
  write(window: PageWindow<SharedBuffer>): void;
  /** Waits until few enough writes are in flight; rethrows what failed. */
  settleSome(): Promise<void>;
  settleAll(): Promise<void>;
  finish(
    blocks: readonly { name: string; lengthBytes: number }[],
  ): Promise<Extract<MemoryContent, { form: 'pages' }>['blocks']>;
  /** Waits for what is in flight without caring how it ends. */
  abandon(): Promise<void>;
}

function createPageWriter(writer: RepositoryWriter): PageWriter {
  const trees = new Map<string, TreeWriter>();
  const inFlight = new Map<string, Promise<void>>();
  let failure: unknown;

  const treeFor = (name: string, lengthBytes: number): TreeWriter => {
    let tree = trees.get(name);
    if (!tree) {
      tree = writer.createTree({ kind: 'memory', lengthBytes });
      trees.set(name, tree);
    }
    return tree;
  };

  const writeRuns = async (
    window: PageWindow<SharedBuffer>,
    before: Promise<void> | undefined,
  ): Promise<void> => {
    try {
      // The same window again (pre-copy resends pages): the later content must win.
      await before;
      const tree = treeFor(window.block, window.blockBytes);
      await Promise.all(
        window.runs.map(async ({ startBytes, lengthBytes }) => {
          const data = window.buffer.bytes.subarray(startBytes, startBytes + lengthBytes);
          await tree.write(window.windowOffset + startBytes, data);
        }),
      );
    } finally {
      window.buffer.release();
    }
  };

  const settleTo = async (count: number): Promise<void> => {
    while (inFlight.size > count) await Promise.race(inFlight.values());
    if (failure !== undefined) throw failure;
  };

  return {
    write(window) {
      const key = `${window.block}@${window.windowOffset}`;
      const written = writeRuns(window, inFlight.get(key))
        .catch((error: unknown) => {
          failure ??= error;
        })
        .finally(() => {
          if (inFlight.get(key) === written) inFlight.delete(key);
        });
      inFlight.set(key, written);
    },
    settleSome: async () => await settleTo(WRITES_IN_FLIGHT_MAX),
    settleAll: async () => await settleTo(0),
    async finish(blocks) {
      return await Promise.all(
        blocks.map(async ({ name, lengthBytes }) => ({
          name,
          lengthBytes,
          tree: await treeFor(name, lengthBytes).finish(),
        })),
      );
    },
    async abandon() {
      while (inFlight.size > 0) await Promise.race(inFlight.values());
    },
  };
}
