import { MIB } from '../../shared/byte-size.ts';
import { OperationError, type ErrorCode } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/waiting.ts';
import type { Manifest } from '../chunk-repository/manifest.ts';
import type { Repository, TreeRef } from '../chunk-repository/repository.ts';
import { startNbdServer } from '../nbd/server.ts';
import { openParts, readBlob } from './blobs.ts';
import { synthesizeStream } from '../migration-stream/stream-synthesis.ts';
import type { CapturedConfiguration } from '../hypervisor/driver.ts';

export interface BundleServer {
  readonly socketPath: string;
  /**
   * Does work that reads from this server in another process. That process sees nothing but an I/O
   * error when the bundle is damaged, so what was found here is thrown instead of its failure.
   */
  explaining<T>(work: () => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Serves a bundle's disks over NBD, one read-only export per target: the one read path of every restore. */
export async function serveBundleDisks(options: {
  repository: Repository;
  disks: Manifest['disks'];
  socketPath: string;
  /** Called with the bytes of every read, zeroes left out. */
  onRead: (lengthBytes: number) => void;
}): Promise<BundleServer> {
  const { repository, disks, onRead } = options;
  let found: OperationError | null = null;
  const noting = async <T>(read: () => Promise<T>): Promise<T> => {
    try {
      return await read();
    } catch (error) {
      if (error instanceof OperationError && DAMAGES.has(error.code)) found ??= error;
      throw error;
    }
  };
  const server = await startNbdServer({
    listen: { socketPath: options.socketPath },
    exports: {
      list: async () => await Promise.resolve(disks.map((disk) => disk.target)),
      async open(name) {
        const disk = disks.find((candidate) => candidate.target === name);
        if (!disk) return await Promise.resolve(null);
        const reader = repository.openTree(disk.tree, `disk ${disk.target}`);
        return {
          sizeBytes: disk.sizeBytes,
          readOnly: true,
          extents: async (offset, lengthBytes) =>
            await noting(async () => await reader.extents(offset, lengthBytes)),
          async readInto(offset, target, signal) {
            await noting(async () => await reader.readInto(offset, target, signal));
            onRead(target.length);
          },
        };
      },
    },
  });
  return {
    socketPath: options.socketPath,
    async explaining(work) {
      try {
        return await work();
      } catch (error) {
        if (found) throw found;
        throw error;
      }
    },
    close: async () => await server.close(),
  };
}

const DAMAGES: ReadonlySet<ErrorCode> = new Set(['snapshot_damaged', 'repository_damaged']);

/** Reads a disk's content once and keeps nothing of it: damage shows before anything depends on it. */
export async function readDiskThrough(
  repository: Repository,
  disk: Manifest['disks'][number],
  onBytes: (lengthBytes: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const reader = repository.openTree(disk.tree, `disk ${disk.target}`);
  const window = new Uint8Array(MIB);
  for (const extent of await reader.extents(0, reader.lengthBytes)) {
    if (extent.zero) continue;
    const end = extent.offset + extent.lengthBytes;
    for (let offset = extent.offset; offset < end; offset += window.length) {
      throwIfAborted(signal);
      const part = window.subarray(0, Math.min(window.length, end - offset));
      await reader.readInto(offset, part, signal);
      onBytes(part.length);
    }
  }
}

/** The migration stream of a bundle's memory, synthesised from its pages or as it was stored. */
export async function* readMemoryStream(
  repository: Repository,
  memory: NonNullable<Manifest['memory']>,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, void> {
  const { content } = memory;
  if (content.form === 'pages') {
    yield* synthesizeStream(
      {
        remainder: openParts(repository, content.remainder, 'memory state'),
        pagesAtRemainderOffset: content.pagesAtRemainderOffset,
        ramSectionId: content.ramSectionId,
        blocks: content.blocks.map((block) => ({
          name: block.name,
          pages: repository.openTree(block.tree, `memory ${block.name}`),
        })),
      },
      signal,
    );
    return;
  }
  const stream = openParts(repository, content.stream, 'memory stream');
  const windowBytes = 1024 * 1024;
  for (let offset = 0; offset < stream.lengthBytes; offset += windowBytes) {
    const part = new Uint8Array(Math.min(windowBytes, stream.lengthBytes - offset));
    await stream.readInto(offset, part, signal);
    yield part;
  }
}

/** Reads the small parts of a bundle. They hold secrets: they go to the hypervisor and nowhere else. */
export async function readConfiguration(
  repository: Repository,
  manifest: Manifest,
  signal?: AbortSignal,
): Promise<CapturedConfiguration> {
  const { configuration } = manifest;
  const read = async (part: keyof Manifest['configuration']): Promise<Uint8Array | null> => {
    const tree = configuration[part];
    return tree === null ? null : await readBlob(repository, tree, part, signal);
  };
  const readText = async (
    part: 'liveXml' | 'persistentXml' | 'memoryXml',
  ): Promise<string | null> => {
    const content = await read(part);
    return content === null ? null : new TextDecoder('utf-8', { fatal: true }).decode(content);
  };
  return {
    liveXml: await readText('liveXml'),
    persistentXml: await readText('persistentXml'),
    memoryXml: await readText('memoryXml'),
    nvram: await read('nvram'),
    tpmState: await read('tpmState'),
  };
}

/** Bytes that reading these contents really moves: zeroes are never read. For progress. */
export async function countDataBytes(
  repository: Repository,
  parts: readonly { tree: TreeRef; name: string }[],
): Promise<number> {
  let total = 0;
  for (const { tree, name } of parts) {
    const extents = await repository.openTree(tree, name).extents(0, tree.lengthBytes);
    for (const extent of extents) if (!extent.zero) total += extent.lengthBytes;
  }
  return total;
}

export const diskParts = (disks: Manifest['disks']): { tree: TreeRef; name: string }[] =>
  disks.map((disk) => ({ tree: disk.tree, name: `disk ${disk.target}` }));

export function memoryParts(memory: Manifest['memory']): { tree: TreeRef; name: string }[] {
  if (!memory) return [];
  const { content } = memory;
  if (content.form === 'stream')
    return content.stream.map((tree) => ({ tree, name: 'memory stream' }));
  return [
    ...content.remainder.map((tree) => ({ tree, name: 'memory state' })),
    ...content.blocks.map((block) => ({ tree: block.tree, name: `memory ${block.name}` })),
  ];
}
