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
  const parts: RunParts = {
    wish: null,
    session: null,
    spool: null,
    writer: null,
    watch: null,
    bundle: null,
  };
  const closeAll = async (keepCheckpoint: boolean): Promise<void> => {
    parts.watch?.stop();
    await parts.session?.end({ keepCheckpoint });
    await parts.spool?.close();
    await parts.writer?.close();
    if (parts.wish) await removeScratch(environment, parts.wish.captureId);
  };
  return {
    get session() {
      return parts.session;
    },
    freeze: async (wish, signal) => await freeze(environment, parts, wish, signal),
    async stream(facts, onProgress, signal) {
      const { wish, session, writer, watch, spool } = parts;
      if (!wish || !session || !writer || !watch) throw new Error('stream comes after freeze');
      const combined = AbortSignal.any([signal, watch.signal]);
      parts.bundle = await captureBundle({
        session,
        writer,
        memoryStream: spool ? spool.read(combined) : null,
        parent: wish.parent,
        facts,
        onProgress,
        signal: combined,
      });
      return parts.bundle.manifest;
    },
    async commit() {
      const { writer, bundle } = parts;
      if (!writer || !bundle) throw new Error('commit comes after stream');
      const { manifestDigest } = await writer.commit(bundle.manifest);
      return { ...bundle, manifestDigest, written: writer.statistics() };
    },
    release: async () => await closeAll(true),
    abandon: async () => await closeAll(false),
  };
}

/** What a run holds so far; everything of it is given back by `release` or `abandon`. */
interface RunParts {
  wish: CaptureWish | null;
  session: CaptureSession | null;
  spool: MemorySpool | null;
  writer: RepositoryWriter | null;
  watch: SpaceWatch | null;
  bundle: { manifest: Manifest; readBytes: number } | null;
}

async function freeze(
  environment: WorkerEnvironment,
  parts: RunParts,
  wish: CaptureWish,
  signal: AbortSignal,
): Promise<CaptureSession> {
  const { driver, repository, settings, logger } = environment;
  parts.wish = wish;
  parts.watch = watchFreeSpace(
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
  parts.writer = await repository.openWriter({ purpose: `capture ${wish.captureId}`, signal });
  const folder = scratchFolderOf(environment, wish.captureId);
  await mkdir(folder, { recursive: true, mode: 0o711 });
  parts.spool = wish.memoryMode === null ? null : await createMemorySpool({ folder });
  parts.session = await driver.beginCapture(
    {
      vmId: wish.vmId,
      captureId: wish.captureId,
      kind: wish.kind,
      disks: wish.disks,
      quiesce: wish.quiesce,
      memoryMode: wish.memoryMode,
      memorySink: parts.spool,
      scratchFolder: settings.scratchFolder,
      parentCheckpoint: findParentCheckpoint(wish.parent),
      freezeDeadlineMs: settings.freezeDeadlineMs,
    },
    AbortSignal.any([signal, parts.watch.signal]),
  );
  return parts.session;
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
