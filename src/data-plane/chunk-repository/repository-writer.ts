import { setImmediate as nextTurn } from 'node:timers/promises';
import { OperationError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/waiting.ts';
import type { IndexedPack } from './chunk-index.ts';
import { createChunkTaker } from './chunk-taker.ts';
import { readCondemned } from './condemned.ts';
import { StoredDataError } from './damage.ts';
import { digestKey } from './digest.ts';
import { WRITE_SIZE_MAX_BYTES } from './layout.ts';
import { type Lease, openLease } from './lease.ts';
import {
  encodeManifest,
  listManifestIds,
  manifestName,
  readManifest,
  treesOfManifest,
} from './manifest-file.ts';
import { type Manifest, manifestSchema } from './manifest.ts';
import type { ReadNode } from './node-reader.ts';
import type { RepositoryWriter, SharedBuffer, TreeRef } from './repository.ts';
import type { RepositoryContext } from './repository-context.ts';
import { shapeTree } from './tree-shape.ts';
import { createTreeWriter } from './tree-writer.ts';

/**
 * The order matters: once the lease is durable, no collection deletes what is not condemned yet;
 * what is condemned by then is read; only then is it decided which packs exist.
 */
export async function openRepositoryWriter(
  context: RepositoryContext,
  options: { purpose: string; signal?: AbortSignal | undefined },
): Promise<RepositoryWriter> {
  throwIfAborted(options.signal);
  const lease = await openLease({ ...context, purpose: options.purpose });
  try {
    const accept = await decideAcceptedPacks(context);
    await context.synchronize();
    while (context.index.warm()) await nextTurn();
    throwIfAborted(options.signal);
    return createWriter(context, lease, accept);
  } catch (error) {
    await lease.close();
    throw error;
  }
}

async function decideAcceptedPacks({
  storage,
  logger,
}: RepositoryContext): Promise<(pack: IndexedPack) => boolean> {
  try {
    const condemned = new Set((await readCondemned(storage)).packs);
    return condemned.size === 0 ? () => true : (pack) => !condemned.has(pack.idHex);
  } catch (error) {
    if (!(error instanceof StoredDataError)) throw error;
    // Storing everything again is safe; the next collection replaces the list.
    logger.warn({ reason: error.message }, 'Nothing is deduplicated against stored packs.');
    return () => false;
  }
}

function createWriter(
  context: RepositoryContext,
  lease: Lease,
  accept: (pack: IndexedPack) => boolean,
): RepositoryWriter {
  const { pool, layout, digester } = context;
  const builder = context.builder();
  const taker = createChunkTaker({ index: context.index, builder, digester, accept });
  const readNode: ReadNode = async (digest, signal) =>
    builder.pendingNode(digestKey(digest)) ?? (await context.readNode(digest, signal));
  let state: 'open' | 'committed' | 'closed' = 'open';

  const assertOpen = (): void => {
    if (state !== 'open') throw new OperationError('internal', `The writer is ${state} already.`);
  };

  return {
    async acquireBuffer(signal) {
      assertOpen();
      return await acquireSharedBuffer(context, signal);
    },
    createTree({ kind, lengthBytes, parent }) {
      assertOpen();
      const shape = shapeTree(kind, lengthBytes, layout);
      const checkParent = async (tree: TreeRef): Promise<void> =>
        await assertParentIsKept(context, tree);
      return createTreeWriter({ shape, parent, checkParent, pool, taker, digester, readNode });
    },
    statistics: () => taker.statistics(),
    async commit(manifest) {
      assertOpen();
      const result = await commitManifest(context, {
        lease,
        manifest,
        flush: async () => await builder.flush(),
      });
      state = 'committed';
      return result;
    },
    async close() {
      state = 'closed';
      await lease.close();
    },
  };
}

async function acquireSharedBuffer(
  { pool }: RepositoryContext,
  signal: AbortSignal | undefined,
): Promise<SharedBuffer> {
  const slot = await pool.callerSlots.acquire(signal);
  let released = false;
  return {
    bytes: new Uint8Array(pool.arena, pool.inputPlace(slot).data, WRITE_SIZE_MAX_BYTES),
    release() {
      if (released) return;
      released = true;
      pool.callerSlots.release(slot);
    },
  };
}

async function commitManifest(
  context: RepositoryContext,
  options: { lease: Lease; manifest: Manifest; flush: () => Promise<void> },
): Promise<{ manifestDigest: string }> {
  const { lease, flush } = options;
  const parsed = manifestSchema.safeParse(options.manifest);
  if (!parsed.success) {
    throw new OperationError('internal', 'The manifest does not have the form it must have.', {
      cause: parsed.error,
    });
  }
  await flush();
  await lease.refresh();
  lease.assertHeld();
  const { bytes, digest } = encodeManifest(context.manifests, parsed.data);
  const name = manifestName(parsed.data.snapshotId);
  await context.storage.put(name, [bytes]);
  try {
    // The put may have taken very long: a manifest that came too late may refer to collected chunks.
    lease.assertHeld();
  } catch (error) {
    await context.storage.delete(name);
    throw error;
  }
  return { manifestDigest: digest };
}

/**
 * A tree may be built upon only while a manifest refers to it: then a collection that condemns its
 * packs from now on knows of our lease. The parent is nearly always the newest snapshot.
 */
async function assertParentIsKept(context: RepositoryContext, parent: TreeRef): Promise<void> {
  if (parent.root === null) return;
  const newestFirst = (await listManifestIds(context.storage)).reverse();
  for (const snapshotId of newestFirst) {
    const manifest = await readManifest(context.manifests, snapshotId).catch((error: unknown) => {
      // Deleted meanwhile or damaged: it vouches for nothing.
      if (error instanceof OperationError) return null;
      throw error;
    });
    const trees = manifest === null ? [] : treesOfManifest(manifest);
    if (trees.some(({ tree }) => tree.root === parent.root)) return;
  }
  throw new OperationError(
    'not_found',
    'The snapshot to build upon is not in the repository any more; take one that does not build on it.',
  );
}
