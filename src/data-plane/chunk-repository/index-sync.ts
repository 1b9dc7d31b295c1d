import type { Logger } from '../../shared/logger.ts';
import { OperationError } from '../../shared/errors.ts';
import { KIB } from '../../shared/byte-size.ts';
import type { BlobStorage } from '../blob-storage/blob-storage.ts';
import type { ChunkIndex, IndexedPack } from './chunk-index.ts';
import { StoredDataError } from './damage.ts';
import { digestHex } from './digest.ts';
import {
  decodePackEnd,
  decodePackTrailer,
  PACK_TRAILER_BYTES,
  type PackContents,
  packIdFromName,
  packName,
} from './pack-format.ts';

/** Holds a whole table of contents nearly always, so that one read is enough. */
const END_GUESS_BYTES = 64 * KIB;
const READS_IN_FLIGHT = 4;

export interface SyncContext {
  readonly storage: BlobStorage;
  readonly index: ChunkIndex;
  readonly packsKey: Uint8Array | null;
  readonly logger: Logger;
}

/** Makes the index agree with the packs in the storage: reads new ones, forgets those that are gone. */
export async function syncIndex(context: SyncContext): Promise<void> {
  const { storage, index } = context;
  index.forgetCached();
  const known = new Map<string, IndexedPack>();
  for (const pack of index.packs()) known.set(pack.idHex, pack);
  const unknown: { id: Uint8Array; sizeBytes: number }[] = [];
  const changed: IndexedPack[] = [];
  for (const { name, sizeBytes } of await storage.list('packs')) {
    const id = packIdFromName(name);
    if (id === null) continue;
    const pack = known.get(digestHex(id));
    known.delete(digestHex(id));
    if (pack?.sizeBytes === sizeBytes && pack.damage === null) continue;
    // Packs never change, so another size is damage; one that was damaged may have been put back.
    if (pack !== undefined) changed.push(pack);
    unknown.push({ id, sizeBytes });
  }
  const gone = await confirmGone(storage, [...known.values()]);
  index.forgetPacks([...gone, ...changed]);
  const queue = unknown.values();
  const lanes = Array.from({ length: READS_IN_FLIGHT }, async () => {
    for (const pack of queue) await learnPack(context, pack);
  });
  await Promise.all(lanes);
}

/** A pack that was stored after the listing was read is not gone. */
async function confirmGone(
  storage: BlobStorage,
  missing: readonly IndexedPack[],
): Promise<IndexedPack[]> {
  const gone: IndexedPack[] = [];
  for (const pack of missing) {
    if ((await storage.stat(packName(pack.id))) === null) gone.push(pack);
  }
  return gone;
}

async function learnPack(
  { storage, index, packsKey, logger }: SyncContext,
  pack: { id: Uint8Array; sizeBytes: number },
): Promise<void> {
  try {
    const contents = await readPackContents(storage, { ...pack, packsKey });
    index.addPack({ ...pack, contents });
  } catch (error) {
    if (error instanceof OperationError && error.code === 'not_found') return;
    if (!(error instanceof StoredDataError)) throw error;
    logger.warn({ pack: digestHex(pack.id), reason: error.message }, 'A pack is damaged.');
    index.addDamagedPack({ ...pack, reason: error.message });
  }
}

/** Throws StoredDataError when the pack's end is not what it must be. */
export async function readPackContents(
  storage: BlobStorage,
  { id, sizeBytes, packsKey }: { id: Uint8Array; sizeBytes: number; packsKey: Uint8Array | null },
): Promise<PackContents> {
  const name = packName(id);
  const guess = Math.min(sizeBytes, END_GUESS_BYTES);
  let end = await storage.get(name, { offset: sizeBytes - guess, lengthBytes: guess });
  const trailer = end.subarray(Math.max(0, end.length - PACK_TRAILER_BYTES));
  const { contentsOffset } = decodePackTrailer(trailer, sizeBytes);
  const lengthBytes = sizeBytes - contentsOffset;
  end =
    lengthBytes <= end.length
      ? end.subarray(end.length - lengthBytes)
      : await storage.get(name, { offset: contentsOffset, lengthBytes });
  return decodePackEnd(end, { packId: id, packsKey }, sizeBytes);
}
