import type { Manifest } from './manifest.ts';

export type TreeKind = 'disk' | 'memory' | 'blob';

/** A digest tree as a manifest names it; the root digest vouches for every byte. */
export interface TreeRef {
  readonly kind: TreeKind;
  /** Hex digest of the root node; null when the whole content is zero. */
  readonly root: string | null;
  readonly depth: number;
  readonly blockSizeBytes: number;
  readonly lengthBytes: number;
}

export interface WriteStatistics {
  /** Non-zero bytes given to the writer. */
  readonly bytesTaken: number;
  /** Of these, bytes of chunks that the repository did not have. */
  readonly bytesNew: number;
  /** What the new chunks and nodes take in packs, after compression and sealing. */
  readonly bytesStored: number;
  readonly chunksNew: number;
  readonly chunksReused: number;
}

export interface TreeWriter {
  /**
   * Takes whole blocks (the last block of the content may be short) at a block-aligned offset, in
   * any order; a block given twice keeps its last content. Resolves when the caller may reuse
   * `data`, which can be later than it is called: keep several writes in flight.
   */
  write(offset: number, data: Uint8Array): Promise<void>;
  /** Content as in the parent tree; only for trees that were created with one. */
  keepFromParent(offset: number, lengthBytes: number): Promise<void>;
  /** Everything that was never written is zero. Call once, when all writes have resolved. */
  finish(): Promise<TreeRef>;
}

export interface RepositoryWriter {
  /**
   * A buffer in shared memory from a bounded pool (the back-pressure of the pipeline): filling it
   * and giving it to `TreeWriter.write` avoids every copy on the way to the hashing threads.
   */
  acquireBuffer(signal?: AbortSignal): Promise<SharedBuffer>;
  createTree(options: {
    kind: TreeKind;
    lengthBytes: number;
    parent?: TreeRef | undefined;
  }): TreeWriter;
  statistics(): WriteStatistics;
  /** Makes chunks, packs, trees and then the manifest durable, in this order, and signs the manifest. */
  commit(manifest: Manifest): Promise<{ manifestDigest: string }>;
  /** Gives up: what was written stays as garbage for the next collection. Safe after commit. */
  close(): Promise<void>;
}

export interface SharedBuffer {
  /** 1 MiB. */
  readonly bytes: Uint8Array;
  /** Gives the buffer back; call it once no write with it is under way. */
  release(): void;
}

export interface TreeReader {
  readonly lengthBytes: number;
  /** Reads and verifies; throws `snapshot_damaged` naming tree and range when anything is missing or wrong. */
  readInto(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void>;
  /** Data and zero ranges that cover [offset, offset + lengthBytes), merged, in order. */
  extents(offset: number, lengthBytes: number): Promise<Extent[]>;
}

export interface Extent {
  readonly offset: number;
  readonly lengthBytes: number;
  readonly zero: boolean;
}

export interface Damage {
  /** Which part of the snapshot, e.g. `disk vda`, `memory pc.ram`, `manifest`. */
  readonly part: string;
  readonly offset: number;
  readonly lengthBytes: number;
  readonly reason: string;
}

export interface VerifyReport {
  readonly bytesChecked: number;
  readonly damages: readonly Damage[];
}

export interface CollectReport {
  readonly packsDeleted: number;
  readonly packsRewritten: number;
  readonly bytesFreed: number;
  /** Packs that wait for a capture that is under way; a later collection removes them. */
  readonly packsWaiting: number;
  readonly damages: readonly string[];
}

export interface RepositoryStatus {
  readonly id: string;
  readonly formatVersion: number;
  readonly encrypted: boolean;
  readonly snapshots: number;
  readonly packs: number;
  readonly chunks: number;
  readonly storedBytes: number;
  /** Plain bytes of all unique chunks. */
  readonly uniqueBytes: number;
  readonly freeBytes: number | null;
}

export type ProgressListener = (progress: { doneBytes: number; totalBytes: number }) => void;

export interface Repository {
  readonly id: string;
  openWriter(options: { purpose: string; signal?: AbortSignal }): Promise<RepositoryWriter>;
  openTree(tree: TreeRef, name: string): TreeReader;
  listManifestIds(): Promise<string[]>;
  /** Verifies signature and format; throws `not_found` or `snapshot_damaged`. */
  readManifest(snapshotId: string): Promise<Manifest>;
  /** Idempotent. */
  deleteManifest(snapshotId: string): Promise<void>;
  /** Byte ranges where two trees of the same shape differ, without reading content. */
  compareTrees(before: TreeRef, after: TreeRef): Promise<Extent[]>;
  verifySnapshot(
    snapshotId: string,
    onProgress?: ProgressListener,
    signal?: AbortSignal,
  ): Promise<VerifyReport>;
  collect(onProgress?: ProgressListener, signal?: AbortSignal): Promise<CollectReport>;
  status(): Promise<RepositoryStatus>;
  close(): Promise<void>;
}
