import { setImmediate as nextTurn } from 'node:timers/promises';
import { OperationError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/waiting.ts';
import { type IndexedPack, PURGE_SLICES } from './chunk-index.ts';
import { isMissing } from './chunk-source.ts';
import { type CollectionTurn, takeCollectionTurn } from './collection-turn.ts';
import { type Condemned, readCondemned, writeCondemned } from './condemned.ts';
import { StoredDataError } from './damage.ts';
import { DIGEST_BYTES } from './digest.ts';
import { digestWords } from './digest-table.ts';
import { readPackContents } from './index-sync.ts';
import { surveyLeases } from './lease.ts';
import { createLiveChunks, type LiveChunks } from './live-chunks.ts';
import { listManifestIds } from './manifest-file.ts';
import type { NewChunk, PackBuilder } from './pack-builder.ts';
import { type PackContents, packName } from './pack-format.ts';
import type { CollectReport, ProgressListener } from './repository.ts';
import type { RepositoryContext } from './repository-context.ts';

/** A pack of which less than this is live is rewritten: half of it comes back, at half its cost. */
const LIVE_RATIO_MIN = 0.5;
/** Covers clocks that disagree when a pack's age is compared with a writer's start. */
const CLOCK_SLACK_MS = 10 * 60_000;
const CHUNKS_PER_LOAD = 64;

interface Collection {
  readonly context: RepositoryContext;
  readonly turn: CollectionTurn;
  readonly live: LiveChunks;
  readonly signal: AbortSignal | undefined;
  readonly report: { -readonly [Key in keyof CollectReport]: CollectReport[Key] };
  readonly damages: string[];
  /** One for the whole collection: what another one made durable says nothing about its copies. */
  readonly builder: PackBuilder;
}

/**
 * Mark and sweep beside running writers; docs/repository-format.md, section "Collection", proves
 * why no order of events deletes what a manifest refers to.
 */
export async function collectGarbage(
  context: RepositoryContext,
  onProgress: ProgressListener | undefined,
  signal: AbortSignal | undefined,
): Promise<CollectReport> {
  throwIfAborted(signal);
  const turn = await takeCollectionTurn(context);
  try {
    const damages: string[] = [];
    const live = createLiveChunks(context);
    const report = { packsDeleted: 0, packsRewritten: 0, bytesFreed: 0, packsWaiting: 0, damages };
    const builder = context.builder();
    const collection = { context, turn, live, signal, report, damages, builder };
    await runCollection(collection, onProgress);
    return report;
  } finally {
    await turn.end();
  }
}

async function runCollection(
  collection: Collection,
  onProgress: ProgressListener | undefined,
): Promise<void> {
  const { context, live, signal, damages, report } = collection;
  await context.storage.sweep();
  await context.synchronize();
  // Leases first, manifests after: a writer that has ended by now has left its manifest.
  const earlier = await settleLeases(collection);
  const earlierPacks = context.index.packs().filter(({ idHex }) => earlier.packs.includes(idHex));
  const waiting = await isWaiting(collection, earlier);
  live.condemn(earlierPacks);
  await live.mark(await listManifestIds(context.storage), signal);
  for (const pack of context.index.packs()) {
    if (pack.damage !== null) damages.push(`Pack ${pack.idHex}: ${pack.damage}`);
  }
  damages.push(...live.damages);
  // Chunks below what cannot be read are not known: deleting might lose what can still be saved.
  if (live.damages.length > 0) return;
  if (waiting) {
    report.packsWaiting = earlier.packs.length;
    return;
  }
  await deleteCondemned(collection, earlierPacks);
  const { dead, sparse } = await chooseCandidates(collection);
  const totalBytes = sum([...dead, ...sparse]);
  onProgress?.({ doneBytes: 0, totalBytes });
  if (await condemnAndDelete(collection, dead)) {
    const rewritten: IndexedPack[] = [];
    for (const pack of sparse) {
      throwIfAborted(signal);
      if (await copyLiveChunks(collection, pack)) rewritten.push(pack);
      onProgress?.({ doneBytes: sum(dead) + sum(rewritten), totalBytes });
    }
    if (rewritten.length > 0) await collection.builder.flush();
    report.packsRewritten = rewritten.length;
    await condemnAndDelete(collection, rewritten);
  }
  onProgress?.({ doneBytes: totalBytes, totalBytes });
  if (report.packsDeleted > 0) await purgeIndex(context);
}

const sum = (packs: readonly IndexedPack[]): number =>
  packs.reduce((total, pack) => total + pack.sizeBytes, 0);

/** Removes leases of dead writers and completes a list that was cut off between its two writes. */
async function settleLeases({ context, damages }: Collection): Promise<Condemned> {
  const { storage, clock } = context;
  for (const name of (await surveyLeases(storage, clock)).dead) await storage.delete(name);
  let condemned: Condemned;
  try {
    condemned = await readCondemned(storage);
  } catch (error) {
    if (!(error instanceof StoredDataError)) throw error;
    damages.push(error.message);
    await writeCondemned(storage, { packs: [], leases: [] });
    return { packs: [], leases: [] };
  }
  if (condemned.leases !== null) return condemned;
  const leases = (await surveyLeases(storage, clock)).alive.map(({ id }) => id);
  await writeCondemned(storage, { packs: condemned.packs, leases });
  return { packs: condemned.packs, leases };
}

/** Whether writers that were at work when the list was made still are. */
async function isWaiting({ context }: Collection, earlier: Condemned): Promise<boolean> {
  if (earlier.packs.length === 0) return false;
  const { alive } = await surveyLeases(context.storage, context.clock);
  return alive.some(({ id }) => earlier.leases?.includes(id) ?? true);
}

async function chooseCandidates({
  context,
  live,
}: Collection): Promise<{ dead: IndexedPack[]; sparse: IndexedPack[] }> {
  const { alive } = await surveyLeases(context.storage, context.clock);
  const startedAtMs = Math.min(...alive.map(({ startedAt }) => Date.parse(startedAt)));
  const dead: IndexedPack[] = [];
  const sparse: IndexedPack[] = [];
  for (const pack of context.index.packs()) {
    // A writer at work has not committed yet: what is new may be its own.
    if (pack.damage !== null || pack.createdAtMs >= startedAtMs - CLOCK_SLACK_MS) continue;
    const liveChunks = live.liveCount(pack);
    if (liveChunks === 0) dead.push(pack);
    else if (liveChunks < pack.chunkCount * LIVE_RATIO_MIN) sparse.push(pack);
  }
  return { dead, sparse };
}

/** True when the packs are gone; false when they wait for writers that may refer to them. */
async function condemnAndDelete(
  collection: Collection,
  packs: readonly IndexedPack[],
): Promise<boolean> {
  const { context, turn, live, report, signal } = collection;
  const { storage, clock } = context;
  if (packs.length === 0) return true;
  throwIfAborted(signal);
  await turn.assertOwned();
  const ids = packs.map(({ idHex }) => idHex);
  // The list must be durable before the leases are read: a writer that we do not see then reads it.
  await writeCondemned(storage, { packs: ids, leases: null });
  const leases = (await surveyLeases(storage, clock)).alive.map(({ id }) => id);
  await writeCondemned(storage, { packs: ids, leases });
  if (leases.length > 0) {
    report.packsWaiting = packs.length;
    return false;
  }
  live.condemn(packs);
  await live.mark(await listManifestIds(storage), signal);
  if (live.damages.length > 0) return false;
  await deleteCondemned(collection, packs);
  return true;
}

/** Deletes condemned packs, but for those that a manifest needs after all, and empties the list. */
async function deleteCondemned(
  { context, turn, live, report }: Collection,
  packs: readonly IndexedPack[],
): Promise<void> {
  await turn.assertOwned();
  const deletable = packs.filter(({ number }) => !live.neededAnyway.has(number));
  for (const pack of deletable) {
    await context.storage.delete(packName(pack.id));
    report.packsDeleted += 1;
    report.bytesFreed += pack.sizeBytes;
  }
  context.index.forgetPacks(deletable);
  await writeCondemned(context.storage, { packs: [], leases: [] });
}

/** Adds what is live in a pack to new packs; false when something cannot be read: then the pack stays. */
async function copyLiveChunks(collection: Collection, pack: IndexedPack): Promise<boolean> {
  const { context, live, damages } = collection;
  let contents: PackContents;
  try {
    contents = await readPackContents(context.storage, { ...pack, packsKey: context.packsKey });
  } catch (error) {
    const gone = error instanceof OperationError && error.code === 'not_found';
    if (!gone && !(error instanceof StoredDataError)) throw error;
    damages.push(`Pack ${pack.idHex}: ${error instanceof Error ? error.message : 'gone'}`);
    return false;
  }
  let firstSlot = 0;
  for (const frame of contents.frames) {
    const digests: Uint8Array[] = [];
    for (let slot = firstSlot; slot < firstSlot + frame.chunkCount; slot += 1) {
      if (!live.isLive({ pack, slot })) continue;
      digests.push(contents.digests.subarray(slot * DIGEST_BYTES, (slot + 1) * DIGEST_BYTES));
    }
    firstSlot += frame.chunkCount;
    for (let at = 0; at < digests.length; at += CHUNKS_PER_LOAD) {
      const batch = digests.slice(at, at + CHUNKS_PER_LOAD);
      const lost = await copyChunks(collection, frame.blockSizeBytes, batch);
      if (lost === null) continue;
      damages.push(`Pack ${pack.idHex}: ${lost}`);
      return false;
    }
  }
  return true;
}

async function copyChunks(
  { context, builder, signal }: Collection,
  blockSizeBytes: number,
  digests: readonly Uint8Array[],
): Promise<string | null> {
  const chunks = await context.source.load(digests, signal);
  for (const [at, digest] of digests.entries()) {
    const bytes = chunks[at];
    if (bytes === undefined || isMissing(bytes)) return bytes?.reason ?? 'nothing was read';
    const words = digestWords(digest);
    const chunk: NewChunk = {
      blockSizeBytes,
      words,
      at: 0,
      bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
      from: 0,
      to: bytes.length,
      account: { storedBytes: 0 },
    };
    while (!builder.isPending(words, 0) && !builder.tryAdd(chunk)) {
      await builder.makeRoom(blockSizeBytes);
    }
  }
  return null;
}

async function purgeIndex({ index }: RepositoryContext): Promise<void> {
  for (let slice = 0; slice < PURGE_SLICES; slice += 1) {
    index.purgeSlice(slice);
    // Each slice holds the thread for a moment only; captures go on in between.
    await nextTurn();
  }
}
