import type { HostDescription } from '../../shared/inventory.ts';
import type { Manifest } from '../chunk-repository/manifest.ts';
import type { RepositoryWriter, TreeRef } from '../chunk-repository/repository.ts';
import type { CapturedDisk, CaptureSession } from '../hypervisor/driver.ts';
import type { NbdClient } from '../nbd/client.ts';
import { openNbdPool } from '../nbd/pool.ts';
import { storeBlob } from './blobs.ts';
import { copyDisk, type ByteRange } from './copy-disk.ts';
import { copyMemory } from './copy-memory.ts';

/** QEMU answers faster on two connections; more bring nothing on the machines measured. */
const CONNECTIONS_PER_DISK = 2;
const ALLOCATION_CONTEXT = 'base:allocation';
/** `base:allocation`, bit 1: reads as zero. NBD protocol, metadata contexts. */
const READS_AS_ZERO = 2;
/** `qemu:dirty-bitmap:…`, bit 0: changed. */
const IS_DIRTY = 1;
const DISK_BLOCK_BYTES = 64 * 1024;

export interface BundleFacts {
  readonly snapshotId: string;
  readonly name: string;
  readonly createdAt: string;
  readonly toolVersion: string;
  readonly host: HostDescription;
  readonly skippedDisks: Manifest['skippedDisks'];
  readonly auditHead: string | null;
}

export interface CaptureProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface CaptureBundleRequest {
  readonly session: CaptureSession;
  readonly writer: RepositoryWriter;
  /** The memory stream, as the spool gives it; null without memory. */
  readonly memoryStream: AsyncIterable<Uint8Array> | null;
  /** Bundle whose checkpoint the session's dirty maps refer to. */
  readonly parent: Manifest | null;
  readonly facts: BundleFacts;
  readonly onProgress: (progress: CaptureProgress) => void;
  readonly signal: AbortSignal;
}

export interface CapturedBundle {
  readonly manifest: Manifest;
  /** Bytes that came over NBD and the memory stream. */
  readonly readBytes: number;
}

/**
 * Streams what a capture session holds into the repository while the guest runs. What it wrote
 * becomes a snapshot only when the writer commits the manifest.
 */
export async function captureBundle(request: CaptureBundleRequest): Promise<CapturedBundle> {
  const { session, writer } = request;
  const stop = new AbortController();
  const signal = AbortSignal.any([request.signal, session.invalidated, stop.signal]);
  const progress = createProgress(request.onProgress);
  const failFast = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      stop.abort(error);
      throw error;
    }
  };
  if (request.memoryStream) progress.expect(session.vm.memoryBytes);
  const [memory, disks, configuration] = await settleAll([
    failFast(captureMemory(request, progress, signal)),
    failFast(captureDisks(request, progress, signal)),
    failFast(storeConfiguration(writer, session, signal)),
  ]);
  await session.memoryDone;
  await session.checkStillValid();
  return {
    manifest: buildManifest(request, { memory, disks, configuration }),
    readBytes: progress.doneBytes(),
  };
}

/** Waits for all, so that nothing still writes into a capture that has failed; the first error wins. */
async function settleAll<A, B, C>(work: [Promise<A>, Promise<B>, Promise<C>]): Promise<[A, B, C]> {
  await Promise.allSettled(work);
  return await Promise.all(work);
}

function createProgress(onProgress: (progress: CaptureProgress) => void): {
  readonly expect: (bytes: number) => void;
  readonly add: (bytes: number) => void;
  readonly doneBytes: () => number;
} {
  let doneBytes = 0;
  let totalBytes = 0;
  return {
    expect: (bytes) => void (totalBytes += bytes),
    add(bytes) {
      doneBytes += bytes;
      onProgress({ doneBytes, totalBytes: Math.max(totalBytes, doneBytes) });
    },
    doneBytes: () => doneBytes,
  };
}

type Progress = ReturnType<typeof createProgress>;

async function captureMemory(
  request: CaptureBundleRequest,
  progress: Progress,
  signal: AbortSignal,
): Promise<Manifest['memory']> {
  const { memoryStream, session, writer } = request;
  if (!memoryStream || !session.memoryMode) return null;
  const content = await copyMemory({ stream: memoryStream, writer, onBytes: progress.add, signal });
  return { mode: session.memoryMode, content };
}

async function captureDisks(
  request: CaptureBundleRequest,
  progress: Progress,
  signal: AbortSignal,
): Promise<Manifest['disks']> {
  const opened: {
    disk: CapturedDisk;
    source: NbdClient;
    ranges: ByteRange[];
    parent: TreeRef | undefined;
  }[] = [];
  try {
    for (const disk of request.session.disks) {
      const parent = disk.dirtyContext === null ? undefined : findParentTree(request.parent, disk);
      const dirtyContext = parent ? disk.dirtyContext : null;
      const source = await openNbdPool({
        address: { socketPath: disk.nbd.socketPath },
        exportName: disk.nbd.exportName,
        metaContexts:
          dirtyContext === null ? [ALLOCATION_CONTEXT] : [ALLOCATION_CONTEXT, dirtyContext],
        connections: CONNECTIONS_PER_DISK,
        signal,
      });
      opened.push({ disk, source, ranges: [], parent });
      const ranges = await listRanges(source, dirtyContext, signal);
      opened[opened.length - 1] = { disk, source, ranges, parent };
      progress.expect(ranges.reduce((sum, range) => sum + range.lengthBytes, 0));
    }
    const disks: Manifest['disks'] = [];
    for (const { disk, source, ranges, parent } of opened) {
      const tree = await copyDisk({
        source: {
          sizeBytes: disk.sizeBytes,
          readInto: async (...read) => await source.readInto(...read),
        },
        writer: request.writer,
        ranges,
        parent,
        blockSizeBytes: DISK_BLOCK_BYTES,
        onBytes: progress.add,
        signal,
      });
      disks.push(describeDisk(request.session, disk, tree));
    }
    return disks;
  } finally {
    await Promise.all(opened.map(async ({ source }) => await source.close()));
  }
}

function findParentTree(parent: Manifest | null, disk: CapturedDisk): TreeRef | undefined {
  const before = parent?.disks.find((candidate) => candidate.target === disk.target);
  return before && before.sizeBytes === disk.sizeBytes ? before.tree : undefined;
}

/** What to read: what changed where that is known, else what is allocated and not zero. */
async function listRanges(
  source: NbdClient,
  dirtyContext: string | null,
  signal: AbortSignal,
): Promise<ByteRange[]> {
  const ranges: ByteRange[] = [];
  const context = dirtyContext ?? ALLOCATION_CONTEXT;
  if (!source.metaContexts.includes(context))
    return [{ offset: 0, lengthBytes: source.info.sizeBytes }];
  for await (const extent of source.extents(context, { signal })) {
    const isWanted =
      dirtyContext === null ? !(extent.flags & READS_AS_ZERO) : extent.flags & IS_DIRTY;
    if (isWanted) ranges.push({ offset: extent.offset, lengthBytes: extent.lengthBytes });
  }
  return ranges;
}

function describeDisk(
  session: CaptureSession,
  disk: CapturedDisk,
  tree: TreeRef,
): Manifest['disks'][number] {
  const description = session.vm.disks.find((candidate) => candidate.target === disk.target);
  return {
    target: disk.target,
    format: description?.format ?? 'raw',
    path: description?.path ?? null,
    sizeBytes: disk.sizeBytes,
    tree,
    checkpoint: description?.format === 'qcow2' ? session.checkpoint : null,
  };
}

async function storeConfiguration(
  writer: RepositoryWriter,
  session: CaptureSession,
  signal: AbortSignal,
): Promise<Manifest['configuration']> {
  const { configuration } = session;
  const store = async (content: Uint8Array | string | null): Promise<TreeRef | null> =>
    content === null ? null : await storeBlob(writer, Buffer.from(content), signal);
  return {
    liveXml: await store(configuration.liveXml),
    persistentXml: await store(configuration.persistentXml),
    memoryXml: await store(configuration.memoryXml),
    nvram: await store(configuration.nvram),
    tpmState: await store(configuration.tpmState),
  };
}

function buildManifest(
  request: CaptureBundleRequest,
  parts: Pick<Manifest, 'memory' | 'disks' | 'configuration'>,
): Manifest {
  const { session, facts } = request;
  const { vm } = session;
  return {
    format: 'komadori-bundle',
    version: 1,
    snapshotId: facts.snapshotId,
    name: facts.name,
    createdAt: facts.createdAt,
    capturedAt: session.capturedAt.toISOString(),
    kind: session.memoryMode ? 'full' : 'disk',
    level: session.level,
    levelReason: session.levelReason,
    pauseMs: session.pauseMs,
    vm: {
      id: vm.id,
      name: vm.name,
      state: vm.state,
      memoryBytes: vm.memoryBytes,
      machineType: vm.machineType,
      domainType: vm.domainType,
    },
    host: {
      hostname: facts.host.hostname,
      hypervisorVersion: facts.host.hypervisorVersion,
      emulatorVersion: facts.host.emulatorVersion,
    },
    toolVersion: facts.toolVersion,
    skippedDisks: facts.skippedDisks,
    auditHead: facts.auditHead,
    ...parts,
  };
}
