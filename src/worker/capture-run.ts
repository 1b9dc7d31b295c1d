import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Manifest } from '../data-plane/chunk-repository/manifest.ts';
import type {
  RepositoryWriter,
  WriteStatistics,
} from '../data-plane/chunk-repository/repository.ts';
import { captureBundle, type BundleFacts } from '../data-plane/engine/capture-bundle.ts';
import type { CaptureSession } from '../data-plane/hypervisor/driver.ts';
import {
  createMemorySpool,
  type MemorySpool,
} from '../data-plane/migration-stream/memory-spool.ts';
import type { MemoryMode, QuiescePolicy, SnapshotKind } from '../shared/inventory.ts';
import type { WorkerEnvironment } from './environment.ts';
import { watchFreeSpace, type SpaceWatch } from './space-watch.ts';

export interface CaptureWish {
  readonly vmId: string;
  readonly captureId: string;
  readonly kind: SnapshotKind;
  readonly disks: readonly string[];
  readonly quiesce: QuiescePolicy;
  readonly memoryMode: MemoryMode | null;
  /** The bundle whose checkpoint this capture continues from; null reads everything. */
  readonly parent: Manifest | null;
}

export interface CaptureOutcome {
  readonly manifest: Manifest;
  readonly manifestDigest: string;
  readonly readBytes: number;
  readonly written: WriteStatistics;
}

/**
 * One capture in this process, from the reserved scratch folder to the durable bundle. Whatever
 * step fails, `abandon` puts everything back; a dead process is put right by the driver's
 * `reconcileCapture`.
 */
export interface CaptureRun {
  readonly session: CaptureSession | null;
  freeze(wish: CaptureWish, signal: AbortSignal): Promise<CaptureSession>;
  stream(
    facts: BundleFacts,
    onProgress: (progress: { doneBytes: number; totalBytes: number }) => void,
    signal: AbortSignal,
  ): Promise<Manifest>;
  commit(): Promise<CaptureOutcome>;
  /** Ends the session and keeps its checkpoint for the next capture. */
  release(): Promise<void>;
  abandon(): Promise<void>;
}

export function createCaptureRun(environment: WorkerEnvironment): CaptureRun {
  const { driver, repository, settings, logger } = environment;
  let wish: CaptureWish | null = null;
  let session: CaptureSession | null = null;
  let spool: MemorySpool | null = null;
  let writer: RepositoryWriter | null = null;
  let watch: SpaceWatch | null = null;
  let bundle: { manifest: Manifest; readBytes: number } | null = null;

  const closeAll = async (keepCheckpoint: boolean): Promise<void> => {
    watch?.stop();
    await session?.end({ keepCheckpoint });
    await spool?.close();
    await writer?.close();
    if (wish) await removeScratch(environment, wish.captureId);
  };

  return {
    get session() {
      return session;
    },
    async freeze(wanted, signal) {
      wish = wanted;
      watch = watchFreeSpace(
        [
          {
            folder: settings.scratchFolder,
            floorBytes: settings.scratchFloorBytes,
            what: 'scratch',
          },
          {
            folder: settings.repositoryFolder,
            floorBytes: settings.repositoryFloorBytes,
            what: 'the repository',
          },
        ],
        logger,
      );
      writer = await repository.openWriter({ purpose: `capture ${wanted.captureId}`, signal });
      const folder = scratchFolderOf(environment, wanted.captureId);
      await mkdir(folder, { recursive: true, mode: 0o711 });
      spool = wanted.memoryMode === null ? null : await createMemorySpool({ folder });
      session = await driver.beginCapture(
        {
          vmId: wanted.vmId,
          captureId: wanted.captureId,
          kind: wanted.kind,
          disks: wanted.disks,
          quiesce: wanted.quiesce,
          memoryMode: wanted.memoryMode,
          memorySink: spool,
          scratchFolder: settings.scratchFolder,
          parentCheckpoint: findParentCheckpoint(wanted.parent),
          freezeDeadlineMs: settings.freezeDeadlineMs,
        },
        AbortSignal.any([signal, watch.signal]),
      );
      return session;
    },
    async stream(facts, onProgress, signal) {
      if (!wish || !session || !writer || !watch) throw new Error('stream comes after freeze');
      const combined = AbortSignal.any([signal, watch.signal]);
      bundle = await captureBundle({
        session,
        writer,
        memoryStream: spool ? spool.read(combined) : null,
        parent: wish.parent,
        facts,
        onProgress,
        signal: combined,
      });
      return bundle.manifest;
    },
    async commit() {
      if (!writer || !bundle) throw new Error('commit comes after stream');
      const { manifestDigest } = await writer.commit(bundle.manifest);
      return { ...bundle, manifestDigest, written: writer.statistics() };
    },
    release: async () => await closeAll(true),
    abandon: async () => await closeAll(false),
  };
}

const scratchFolderOf = (environment: WorkerEnvironment, captureId: string): string =>
  path.join(environment.settings.scratchFolder, captureId);

export async function removeScratch(
  environment: WorkerEnvironment,
  captureId: string,
): Promise<void> {
  await rm(scratchFolderOf(environment, captureId), { recursive: true, force: true });
}

const findParentCheckpoint = (parent: Manifest | null): string | null =>
  parent?.disks.find((disk) => disk.checkpoint !== null)?.checkpoint ?? null;
