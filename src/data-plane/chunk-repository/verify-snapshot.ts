import { OperationError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/waiting.ts';
import type { IndexedPack } from './chunk-index.ts';
import { type ChunkSource, createChunkSource } from './chunk-source.ts';
import { StoredDataError } from './damage.ts';
import { DIGEST_WORDS, digestWords, isZeroAt } from './digest-table.ts';
import { readPackContents } from './index-sync.ts';
import { type ManifestTree, readManifest, treesOfManifest } from './manifest-file.ts';
import type { Manifest } from './manifest.ts';
import { createReadNode, createTreeNodes, type TreeNodes } from './node-reader.ts';
import { encodePackHeader, PACK_HEADER_BYTES, packName } from './pack-format.ts';
import type { Damage, ProgressListener, VerifyReport } from './repository.ts';
import type { RepositoryContext } from './repository-context.ts';
import { shapeOfRef, type TreeShape } from './tree-shape.ts';

interface Verification {
  readonly context: RepositoryContext;
  /** With a cache of its own: what was read before the damage must not hide it. */
  readonly source: ChunkSource;
  readonly damages: { part: string; offset: number; lengthBytes: number; reason: string }[];
  /** Every pack that holds something of the snapshot, and where it was met first. */
  readonly packs: Map<number, { pack: IndexedPack; part: string; offset: number }>;
  readonly advance: (lengthBytes: number) => void;
  readonly signal: AbortSignal | undefined;
  bytesChecked: number;
}

/** Blocks in one load: large enough to keep the threads busy, small enough to hold in memory. */
const LOAD_BYTES = 4 * 1024 * 1024;

/** Reads everything a snapshot refers to and reports what is wrong, without stopping at the first. */
export async function verifySnapshot(
  context: RepositoryContext,
  snapshotId: string,
  onProgress: ProgressListener | undefined,
  signal: AbortSignal | undefined,
): Promise<VerifyReport> {
  let manifest: Manifest;
  try {
    manifest = await readManifest(context.manifests, snapshotId);
  } catch (error) {
    if (!(error instanceof OperationError) || error.code !== 'snapshot_damaged') throw error;
    const damage = { part: 'manifest', offset: 0, lengthBytes: 0, reason: error.message };
    return { bytesChecked: 0, damages: [damage] };
  }
  await context.synchronize();
  const trees = treesOfManifest(manifest);
  const totalBytes = trees.reduce((sum, { tree }) => sum + tree.lengthBytes, 0);
  let doneBytes = 0;
  const verification: Verification = {
    context,
    source: createChunkSource(context),
    damages: [],
    packs: new Map(),
    advance(lengthBytes) {
      doneBytes = Math.min(totalBytes, doneBytes + lengthBytes);
      onProgress?.({ doneBytes, totalBytes });
    },
    signal,
    bytesChecked: 0,
  };
  for (const tree of trees) await verifyTree(verification, tree);
  for (const met of verification.packs.values()) await verifyPackEnds(verification, met);
  return { bytesChecked: verification.bytesChecked, damages: verification.damages };
}

async function verifyTree(verification: Verification, { part, tree }: ManifestTree): Promise<void> {
  const { context, source } = verification;
  let shape: TreeShape;
  try {
    shape = shapeOfRef(tree, context.layout);
  } catch (error) {
    if (!(error instanceof OperationError)) throw error;
    addDamage(verification, {
      part,
      offset: 0,
      lengthBytes: tree.lengthBytes,
      reason: error.message,
    });
    return;
  }
  if (tree.root === null) {
    verification.advance(tree.lengthBytes);
    return;
  }
  const readNode = createReadNode(source);
  const nodes = createTreeNodes(tree, shape, async (digest, signal) => {
    const place = context.index.locate(digest);
    if (place) notePack(verification, place.pack, part, 0);
    return await readNode(digest, signal);
  });
  await verifyLeaves(verification, part, shape, nodes);
}

async function verifyLeaves(
  verification: Verification,
  part: string,
  shape: TreeShape,
  nodes: TreeNodes,
): Promise<void> {
  const blocksPerLoad = Math.max(1, Math.floor(LOAD_BYTES / shape.blockSizeBytes));
  const leafEntries = shape.entriesMax[0] ?? 1;
  const batch = createBatch(blocksPerLoad + leafEntries);
  for (let leaf = 0; leaf < (shape.nodeCounts[0] ?? 0); leaf += 1) {
    throwIfAborted(verification.signal);
    const offset = leaf * leafEntries * shape.blockSizeBytes;
    const lengthBytes = Math.min(leafEntries * shape.blockSizeBytes, shape.lengthBytes - offset);
    try {
      const entries = await nodes.entries(0, leaf, verification.signal);
      if (entries !== null) addToBatch(batch, digestWords(entries), leaf * leafEntries);
    } catch (error) {
      if (!(error instanceof StoredDataError)) throw error;
      addDamage(verification, { part, offset, lengthBytes, reason: error.message });
    }
    if (batch.count >= blocksPerLoad) await verifyBatch(verification, part, shape, batch);
    verification.advance(lengthBytes);
  }
  await verifyBatch(verification, part, shape, batch);
}

/** Blocks to be checked at once. */
interface Batch {
  readonly words: Int32Array;
  /** Numbers of the blocks in the tree. */
  readonly blocks: Float64Array;
  count: number;
}

const createBatch = (blocksMax: number): Batch => ({
  words: new Int32Array(blocksMax * DIGEST_WORDS),
  blocks: new Float64Array(blocksMax),
  count: 0,
});

function addToBatch(batch: Batch, leaf: Int32Array, firstBlock: number): void {
  for (let entry = 0; entry * DIGEST_WORDS < leaf.length; entry += 1) {
    const at = entry * DIGEST_WORDS;
    if (isZeroAt(leaf, at)) continue;
    batch.words.set(leaf.subarray(at, at + DIGEST_WORDS), batch.count * DIGEST_WORDS);
    batch.blocks[batch.count] = firstBlock + entry;
    batch.count += 1;
  }
}

async function verifyBatch(
  verification: Verification,
  part: string,
  shape: TreeShape,
  batch: Batch,
): Promise<void> {
  const offsetOf = (index: number): number => (batch.blocks[index] ?? 0) * shape.blockSizeBytes;
  const lengthOf = (index: number): number =>
    Math.min(shape.blockSizeBytes, shape.lengthBytes - offsetOf(index));
  const missing = new Map<number, string>();
  await verification.source.visit({
    words: batch.words.subarray(0, batch.count * DIGEST_WORDS),
    signal: verification.signal,
    onChunks(index, count) {
      for (let at = index; at < index + count; at += 1) verification.bytesChecked += lengthOf(at);
    },
    onMissing: (index, reason) => void missing.set(index, reason),
    onPack: (index, pack) => notePack(verification, pack, part, offsetOf(index)),
  });
  for (const [index, reason] of [...missing].toSorted(([left], [right]) => left - right)) {
    const lengthBytes = lengthOf(index);
    addDamage(verification, { part, offset: offsetOf(index), lengthBytes, reason });
  }
  batch.count = 0;
}

function notePack({ packs }: Verification, pack: IndexedPack, part: string, offset: number): void {
  if (!packs.has(pack.number)) packs.set(pack.number, { pack, part, offset });
}

/** Header, table of contents and trailer: the index needs them again after it was lost. */
async function verifyPackEnds(
  verification: Verification,
  { pack, part, offset }: { pack: IndexedPack; part: string; offset: number },
): Promise<void> {
  const { storage, packsKey } = verification.context;
  throwIfAborted(verification.signal);
  const add = (reason: string): void =>
    addDamage(verification, {
      part,
      offset,
      lengthBytes: 0,
      reason: `pack ${pack.idHex}: ${reason}`,
    });
  try {
    const header = await storage.get(packName(pack.id), {
      offset: 0,
      lengthBytes: PACK_HEADER_BYTES,
    });
    const expected = encodePackHeader({ packId: pack.id, packsKey });
    if (Buffer.compare(header, expected) !== 0) add('its header was changed');
    await readPackContents(storage, { ...pack, packsKey });
  } catch (error) {
    if (error instanceof StoredDataError) add(error.message);
    else if (error instanceof OperationError && error.code === 'not_found') add('it is gone');
    else throw error;
  }
}

/** Neighbours that are lost for one reason make one damage. */
function addDamage({ damages }: Verification, damage: Damage): void {
  const last = damages.at(-1);
  const continues =
    last?.part === damage.part &&
    last.reason === damage.reason &&
    last.offset + last.lengthBytes === damage.offset;
  if (last && continues) last.lengthBytes += damage.lengthBytes;
  else damages.push({ ...damage });
}
