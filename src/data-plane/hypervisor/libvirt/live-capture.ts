import { chown, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Clock } from '../../../shared/clock.ts';
import { OperationError, describeThrown } from '../../../shared/errors.ts';
import type {
  ConsistencyLevel,
  DiskDescription,
  MemoryMode,
  VmDescription,
} from '../../../shared/inventory.ts';
import type { Logger } from '../../../shared/logger.ts';
import { throwIfAborted } from '../../../shared/waiting.ts';
import type {
  CaptureRequest,
  CaptureSession,
  CapturedConfiguration,
  PausePhase,
} from '../driver.ts';
import { formatBackupXml, formatCheckpointXml } from './backup-xml.ts';
import {
  makeCaptureFolder,
  makeEmulatorFolder,
  type CaptureFolder,
  type EmulatorOwner,
} from './capture-folder.ts';
import type { DomainControl } from './domain-control.ts';
import {
  assertMigrationCompleted,
  freezeAtStreamEnd,
  freezeForBackgroundSnapshot,
  letGuestGoOn,
  watchPause,
  type FreezeResult,
  type FreezeWork,
} from './freeze.ts';
import { readIfThere } from './offline-capture.ts';
import { beginQuiescedBackup } from './quiesce.ts';
import { listenForMemory, type MemoryListener } from './memory-listener.ts';
import { cancelMigration, queryMigration, setCapability, setMigrationLimits } from './qmp.ts';
import { runProgram } from './run-program.ts';
import { readTpmState, tpmStateFolder } from './tpm-state.ts';

/** As fast as the socket takes it: QEMU's default of 128 MiB/s would only prolong the capture. */
const UNLIMITED_BANDWIDTH = 2 ** 40;
const PRE_COPY_DOWNTIME_MS = 300;
/** Slowest memory rate that pre-copy is given time for, before the guest is stopped to finish. */
const CONVERGE_BYTES_PER_SECOND = 50 * 1024 * 1024;
const CONVERGE_TIMEOUT_MIN_MS = 60_000;
const SCRATCH_CREATE_TIMEOUT_MS = 30_000;

export interface LiveCaptureInput {
  readonly domain: DomainControl;
  readonly vm: VmDescription;
  readonly request: CaptureRequest;
  readonly owner: EmulatorOwner;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly invalidated: AbortSignal;
}

interface Prepared {
  readonly folder: CaptureFolder;
  readonly scratchFolder: string;
  readonly disks: readonly DiskDescription[];
  readonly checkpointName: string | null;
  readonly checkpointXml: string | null;
  formatBackup(incremental: string | null): string;
}

interface Taken {
  readonly freeze: FreezeResult;
  readonly level: ConsistencyLevel;
  readonly levelReason: string;
  readonly memoryMode: MemoryMode | null;
  readonly memory: MemoryListener | null;
  readonly memoryDone: Promise<void>;
  readonly isIncremental: boolean;
  readonly nvram: Uint8Array | null;
  readonly tpmState: Uint8Array | null;
}

export const checkpointNameFor = (captureId: string): string => `komadori-${captureId}`;

/** Captures a running or paused VM; on failure everything is undone and the guest runs as before. */
export async function beginLiveCapture(
  input: LiveCaptureInput,
  signal?: AbortSignal,
): Promise<CaptureSession> {
  const { domain, request, logger } = input;
  const prepared = await prepare(input, signal);
  let memory: MemoryListener | null = null;
  try {
    const configuration = await readConfiguration(input);
    if (request.kind === 'full' && request.memorySink) {
      memory = await listenForMemory({
        socketPath: prepared.folder.memorySocketPath,
        owner: input.owner,
        sink: request.memorySink,
      });
    }
    throwIfAborted(signal);
    const taken = memory
      ? await takeWithMemory(input, prepared, memory)
      : await takeDisksOnly(input, prepared);
    return createSession(input, prepared, taken, configuration);
  } catch (error) {
    try {
      // First of all: closing the memory stream takes what is left of it, and that takes time.
      if (input.vm.state === 'running') await letGuestGoOn(domain, logger);
    } finally {
      await memory?.close();
    }
    await cleanUp(input, prepared, { keepCheckpoint: false, memory: null });
    throw error;
  }
}

/** Everything that can be done while the guest runs is done here. */
async function prepare(input: LiveCaptureInput, signal?: AbortSignal): Promise<Prepared> {
  const { request, vm, owner } = input;
  const disks = request.disks.map((target) => {
    const disk = vm.disks.find((candidate) => candidate.target === target);
    if (!disk || disk.obstacle) {
      throw new OperationError(
        'unsupported_disk',
        disk?.obstacle?.reason ?? `${vm.name} has no disk ${target}.`,
        { details: { target } },
      );
    }
    return disk;
  });
  const otherTargets = vm.disks
    .map((disk) => disk.target)
    .filter((target) => !request.disks.includes(target));
  const folder = await makeCaptureFolder(request.captureId, owner);
  const scratchFolder = path.join(request.scratchFolder, request.captureId);
  await makeEmulatorFolder(scratchFolder, owner);
  const scratchPaths = new Map<string, string>();
  for (const disk of disks) {
    const scratchPath = path.join(scratchFolder, `${disk.target}.qcow2`);
    await runProgram(
      'qemu-img',
      ['create', '-q', '-f', 'qcow2', scratchPath, String(disk.sizeBytes)],
      {
        timeoutMs: SCRATCH_CREATE_TIMEOUT_MS,
        signal,
      },
    );
    await chown(scratchPath, owner.uid, owner.gid);
    scratchPaths.set(disk.target, scratchPath);
  }
  const checkpointName = checkpointNameFor(request.captureId);
  const checkpointXml = formatCheckpointXml({ name: checkpointName, disks, otherTargets });
  return {
    folder,
    scratchFolder,
    disks,
    checkpointName: checkpointXml ? checkpointName : null,
    checkpointXml,
    formatBackup: (incremental) =>
      formatBackupXml({
        socketPath: folder.nbdSocketPath,
        otherTargets,
        disks: disks.map((disk) => ({
          target: disk.target,
          scratchPath: scratchPaths.get(disk.target) ?? '',
          incremental: disk.format === 'qcow2' ? incremental : null,
        })),
      }),
  };
}

async function readConfiguration(
  input: LiveCaptureInput,
): Promise<Pick<CapturedConfiguration, 'liveXml' | 'persistentXml' | 'memoryXml'>> {
  const { domain, vm, request } = input;
  return {
    liveXml: await domain.readXml('live'),
    persistentXml: vm.persistent ? await domain.readXml('persistent') : null,
    memoryXml: request.kind === 'full' ? await domain.readXml('memory') : null,
  };
}

/**
 * Begins the backup; a parent checkpoint whose bitmap QEMU or libvirt finds broken costs a full
 * read, not the capture. Resolves with whether the dirty maps can be used.
 */
async function beginBackup(input: LiveCaptureInput, prepared: Prepared): Promise<boolean> {
  const { domain, request, logger } = input;
  const { checkpointXml } = prepared;
  if (request.parentCheckpoint) {
    try {
      await domain.beginBackup({
        backupXml: prepared.formatBackup(request.parentCheckpoint),
        checkpointXml,
      });
      return true;
    } catch (error) {
      logger.info(
        { reason: describeThrown(error) },
        'no usable dirty map; the disks are read in full',
      );
    }
  }
  await domain.beginBackup({ backupXml: prepared.formatBackup(null), checkpointXml });
  return false;
}

async function takeDisksOnly(input: LiveCaptureInput, prepared: Prepared): Promise<Taken> {
  const isRunning = input.vm.state === 'running';
  let isIncremental = false;
  let stateFiles: StateFiles = { nvram: null, tpmState: null };
  const begin = async (): Promise<void> => {
    isIncremental = await beginBackup(input, prepared);
  };
  const quiesced = await beginQuiescedBackup({
    domain: input.domain,
    vm: input.vm,
    policy: isRunning ? input.request.quiesce : 'never',
    deadlineMs: input.request.freezeDeadlineMs,
    clock: input.clock,
    logger: input.logger,
    begin,
  });
  stateFiles = await readStateFiles(input.vm);
  return {
    freeze: quiesced,
    level: quiesced.level,
    levelReason: isRunning
      ? quiesced.levelReason
      : 'The VM was paused, so its disks stood still; its memory was not asked for.',
    memoryMode: null,
    memory: null,
    memoryDone: Promise.resolve(),
    isIncremental,
    ...stateFiles,
  };
}

interface StateFiles {
  readonly nvram: Uint8Array | null;
  readonly tpmState: Uint8Array | null;
}

async function readStateFiles(vm: VmDescription): Promise<StateFiles> {
  const nvram = vm.nvramPath === null ? null : await readIfThere(vm.nvramPath);
  return { nvram, tpmState: vm.tpm ? await readTpmState(tpmStateFolder(vm.id)) : null };
}

/** The mode that QEMU accepts; what it refuses falls back to pre-copy with the reason. */
async function agreeMemoryMode(
  input: LiveCaptureInput,
): Promise<{ mode: MemoryMode; refusal: string | null }> {
  const { domain, request, vm } = input;
  if (vm.state !== 'running') return { mode: 'stop-and-copy', refusal: null };
  if (request.memoryMode === 'background') {
    try {
      await setCapability(domain.monitor, 'background-snapshot', true);
      return { mode: 'background', refusal: null };
    } catch (error) {
      if (!(error instanceof OperationError) || error.code !== 'hypervisor_failed') throw error;
      return { mode: 'pre-copy', refusal: error.message };
    }
  }
  return { mode: request.memoryMode ?? 'pre-copy', refusal: null };
}

async function takeWithMemory(
  input: LiveCaptureInput,
  prepared: Prepared,
  memory: MemoryListener,
): Promise<Taken> {
  const { domain, request, vm, clock, logger } = input;
  await setMigrationLimits(domain.monitor, {
    bandwidth: UNLIMITED_BANDWIDTH,
    downtimeLimitMs: PRE_COPY_DOWNTIME_MS,
  });
  const { mode, refusal } = await agreeMemoryMode(input);
  const watch = await watchPause(domain);
  let isIncremental = false;
  let stateFiles: StateFiles = { nvram: null, tpmState: null };
  const work: FreezeWork = {
    domain,
    clock,
    logger,
    deadlineMs: request.freezeDeadlineMs,
    beginBackup: async () => {
      isIncremental = await beginBackup(input, prepared);
    },
    copyStateFiles: async () => {
      stateFiles = await readStateFiles(vm);
    },
  };
  try {
    const freeze =
      mode === 'background'
        ? await freezeForBackgroundSnapshot(work, memory, watch)
        : await freezeAtStreamEnd(work, {
            memory,
            watch,
            suspendFirst: mode === 'stop-and-copy' && vm.state === 'running',
            resumeAfter: vm.state === 'running',
            convergeTimeoutMs: Math.max(
              CONVERGE_TIMEOUT_MIN_MS,
              (vm.memoryBytes / CONVERGE_BYTES_PER_SECOND) * 1000,
            ),
          });
    const memoryDone = finishMemory(domain, memory, watch.migrationEnded).finally(
      async () => await watch.stop(),
    );
    // The caller awaits this later; until then a failure must not count as unhandled.
    memoryDone.catch(() => undefined);
    return {
      freeze,
      level: 'memory',
      levelReason: refusal
        ? `Memory and disks are of one instant; captured by ${mode} because of this: ${refusal}`
        : 'Memory and disks are of one instant.',
      memoryMode: mode,
      memory,
      memoryDone,
      isIncremental,
      ...stateFiles,
    };
  } catch (error) {
    await watch.stop();
    throw error;
  }
}

async function finishMemory(
  domain: DomainControl,
  memory: MemoryListener,
  migrationEnded: Promise<void>,
): Promise<void> {
  await memory.ended;
  await migrationEnded;
  await assertMigrationCompleted(domain);
}

function createSession(
  input: LiveCaptureInput,
  prepared: Prepared,
  taken: Taken,
  xml: Pick<CapturedConfiguration, 'liveXml' | 'persistentXml' | 'memoryXml'>,
): CaptureSession {
  const phases: readonly PausePhase[] = taken.freeze.phases;
  let ended: Promise<void> | undefined;
  return {
    level: taken.level,
    levelReason: taken.levelReason,
    capturedAt: taken.freeze.capturedAt,
    pauseMs: taken.freeze.pauseMs,
    pausePhases: phases,
    memoryMode: taken.memoryMode,
    vm: input.vm,
    configuration: { ...xml, nvram: taken.nvram, tpmState: taken.tpmState },
    disks: prepared.disks.map((disk) => ({
      target: disk.target,
      sizeBytes: disk.sizeBytes,
      nbd: { socketPath: prepared.folder.nbdSocketPath, exportName: disk.target },
      dirtyContext:
        taken.isIncremental && disk.format === 'qcow2'
          ? `qemu:dirty-bitmap:backup-${disk.target}`
          : null,
    })),
    checkpoint: prepared.checkpointName,
    memoryDone: taken.memoryDone,
    invalidated: input.invalidated,
    checkStillValid: async () => await Promise.resolve(),
    async end({ keepCheckpoint }) {
      ended ??= cleanUp(input, prepared, { keepCheckpoint, memory: taken.memory });
      await ended;
    },
  };
}

async function cleanUp(
  input: LiveCaptureInput,
  prepared: Prepared,
  options: { keepCheckpoint: boolean; memory: MemoryListener | null },
): Promise<void> {
  const { domain, logger } = input;
  const attempt = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      logger.warn({ what, reason: describeThrown(error) }, 'cleaning up after a capture failed');
    }
  };
  if (options.memory || input.request.kind === 'full') {
    await attempt('memory stream', async () => await endMemory(domain, options.memory));
  }
  await attempt('backup job', async () => await domain.abortBackup());
  if (!options.keepCheckpoint && prepared.checkpointName) {
    const name = prepared.checkpointName;
    await attempt('checkpoint', async () => await domain.dropCheckpoint(name));
  }
  await attempt(
    'sockets',
    async () => await rm(prepared.folder.path, { recursive: true, force: true }),
  );
  await attempt(
    'scratch',
    async () => await rm(prepared.scratchFolder, { recursive: true, force: true }),
  );
}

async function endMemory(domain: DomainControl, memory: MemoryListener | null): Promise<void> {
  await memory?.close();
  const { status } = await queryMigration(domain.monitor);
  if (!['none', 'completed', 'failed', 'cancelled'].includes(status))
    await cancelMigration(domain.monitor);
  // Left on, it would make the next migration of this VM a snapshot.
  await setCapability(domain.monitor, 'background-snapshot', false);
}
