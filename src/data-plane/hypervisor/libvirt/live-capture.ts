import type { Clock } from '../../../shared/clock.ts';
import { OperationError } from '../../../shared/errors.ts';
import type { ConsistencyLevel, MemoryMode, VmDescription } from '../../../shared/inventory.ts';
import type { Logger } from '../../../shared/logger.ts';
import { throwIfAborted, waitFor } from '../../../shared/waiting.ts';
import type {
  CaptureRequest,
  CaptureSession,
  CapturedConfiguration,
  PausePhase,
} from '../driver.ts';
import type { FreezeGuard } from '../freeze-guard.ts';
import type { EmulatorOwner } from './capture-folder.ts';
import { beginHold, type CaptureHold } from './capture-hold.ts';
import type { CaptureMarks } from './capture-mark.ts';
import type { DomainControl } from './domain-control.ts';
import { trackEffects, type EffectTracker } from './effects.ts';
import { freezeWithDisksAhead, type Frozen } from './disks-ahead.ts';
import { cleanUp, putBack, undoBackup, type CaptureRemains } from './end-capture.ts';
import {
  assertMigrationCompleted,
  freezeAtStreamEnd,
  watchPause,
  type FreezeResult,
  type FreezeWork,
  type PauseWatch,
} from './freeze.ts';
import { joinHugePages } from './huge-pages.ts';
import { listenForMemory, type MemoryListener } from './memory-listener.ts';
import { readIfThere } from './offline-capture.ts';
import {
  beginBackup,
  flushImages,
  prepareCapture,
  type PreparedCapture,
} from './prepare-capture.ts';
import { setCapability, setMigrationLimits } from './qmp.ts';
import { beginQuiescedBackup } from './quiesce.ts';
import { readTpmState, tpmStateFolder } from './tpm-state.ts';

/** As fast as the socket takes it: QEMU's default of 128 MiB/s would only prolong the capture. */
const UNLIMITED_BANDWIDTH = 2 ** 40;
const PRE_COPY_DOWNTIME_MS = 300;
/** Slowest memory rate that pre-copy is given time for, before the guest is stopped to finish. */
const CONVERGE_BYTES_PER_SECOND = 50 * 1024 * 1024;
const CONVERGE_TIMEOUT_MIN_MS = 60_000;
/** QEMU tells of the end of a stream at once; then its state is asked for. */
const STREAM_REPORT_TIMEOUT_MS = 30_000;

export interface LiveCaptureInput {
  readonly domain: DomainControl;
  readonly vm: VmDescription;
  readonly request: CaptureRequest;
  readonly owner: EmulatorOwner;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly invalidated: AbortSignal;
  readonly guard: FreezeGuard;
  readonly marks: CaptureMarks;
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

/** Captures a running or paused VM; on failure everything is undone and the guest runs as before. */
export async function beginLiveCapture(
  wanted: LiveCaptureInput,
  signal?: AbortSignal,
): Promise<CaptureSession> {
  const { request, vm, logger, guard, marks } = wanted;
  const prepared = await prepareCapture(wanted, signal);
  const tracker = trackEffects(wanted.domain);
  const input = { ...wanted, domain: tracker.domain };
  let hold: CaptureHold | null = null;
  let memory: MemoryListener | null = null;
  try {
    const configuration = await readConfiguration(input);
    if (request.kind === 'full' && request.memorySink) {
      memory = await listenForMemory({
        socketPath: prepared.folder.memorySocketPath,
        owner: input.owner,
        spoolFolder: request.scratchFolder,
        sink: request.memorySink,
      });
    }
    throwIfAborted(signal);
    const wasRunning = vm.state === 'running';
    const { captureId, vmId } = request;
    hold = await beginHold({ guard, marks, logger }, { captureId, vmId, wasRunning });
    const taken = memory
      ? await takeWithMemory({ input, prepared, hold, signal }, memory)
      : await takeDisksOnly({ input, prepared, hold, signal }, tracker);
    return createSession(input, prepared, taken, configuration, hold);
  } catch (error) {
    const isFree = hold ? await putBack({ tracker, hold, memory, logger }) : true;
    await memory?.close();
    await cleanUp(input.domain, remainsOf(input, prepared), {
      keepCheckpoint: false,
      memory: null,
      logger,
    });
    if (isFree) await hold?.end();
    throw error;
  }
}

interface Capture {
  readonly input: LiveCaptureInput;
  readonly prepared: PreparedCapture;
  readonly hold: CaptureHold;
  readonly signal: AbortSignal | undefined;
}

const remainsOf = (input: LiveCaptureInput, prepared: PreparedCapture): CaptureRemains => ({
  nbdSocketPath: prepared.folder.nbdSocketPath,
  folders: [prepared.folder.path, prepared.scratchFolder],
  checkpointName: prepared.checkpointName,
  hadMemory: input.request.kind === 'full',
});

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

async function takeDisksOnly(
  { input, prepared, hold }: Capture,
  tracker: EffectTracker,
): Promise<Taken> {
  const isRunning = input.vm.state === 'running';
  let isIncremental = false;
  let stateFiles: StateFiles = { nvram: null, tpmState: null };
  const begin = async (giveUp?: AbortSignal): Promise<void> => {
    isIncremental = await beginBackup(input, prepared, giveUp);
  };
  const quiesced = await beginQuiescedBackup({
    tracker,
    hold,
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
  { input, prepared, hold, signal }: Capture,
  memory: MemoryListener,
): Promise<Taken> {
  const { domain, request, vm, clock, logger } = input;
  await setMigrationLimits(domain.monitor, {
    bandwidth: UNLIMITED_BANDWIDTH,
    downtimeLimitMs: PRE_COPY_DOWNTIME_MS,
  });
  const { mode, refusal } = await agreeMemoryMode(input);
  let isIncremental = false;
  let stateFiles: StateFiles = { nvram: null, tpmState: null };
  const work: FreezeWork = {
    domain,
    hold,
    clock,
    logger,
    deadlineMs: request.freezeDeadlineMs,
    signal,
    beginBackup: async (giveUp) => {
      isIncremental = await beginBackup(input, prepared, giveUp);
    },
    copyStateFiles: async () => {
      stateFiles = await readStateFiles(vm);
    },
  };
  const { freeze, watch } =
    mode === 'background'
      ? await freezeInBackground({ input, prepared, hold, signal }, work, memory)
      : await freezeAtEnd(input, work, { memory, isStopped: mode === 'stop-and-copy' });
  const memoryDone = finishMemory(input, memory, watch);
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
}

async function freezeInBackground(
  { input, prepared, signal }: Capture,
  work: FreezeWork,
  memory: MemoryListener,
): Promise<Frozen> {
  const { domain, vm, logger } = input;
  await flushImages(vm, logger);
  await joinHugePages(vm, { logger, signal });
  const renew = async (): Promise<void> => {
    await undoBackup(domain, remainsOf(input, prepared));
    await prepared.renewScratch();
  };
  return await freezeWithDisksAhead({ ...work, undoBackup: renew }, memory);
}

async function freezeAtEnd(
  { domain, vm, logger }: LiveCaptureInput,
  work: FreezeWork,
  { memory, isStopped }: { memory: MemoryListener; isStopped: boolean },
): Promise<Frozen> {
  const isRunning = vm.state === 'running';
  const watch = await watchPause(domain);
  try {
    if (isRunning) await flushImages(vm, logger);
    const freeze = await freezeAtStreamEnd(work, {
      memory,
      watch,
      suspendFirst: isStopped && isRunning,
      resumeAfter: isRunning,
      convergeTimeoutMs: Math.max(
        CONVERGE_TIMEOUT_MIN_MS,
        (vm.memoryBytes / CONVERGE_BYTES_PER_SECOND) * 1000,
      ),
    });
    return { freeze, watch };
  } catch (error) {
    await watch.stop();
    throw error;
  }
}

async function finishMemory(
  { domain, vm, logger }: LiveCaptureInput,
  memory: MemoryListener,
  watch: PauseWatch,
): Promise<void> {
  try {
    await memory.ended;
    await waitFor(Promise.race([watch.migrationEnded, watch.lost]), {
      timeoutMs: STREAM_REPORT_TIMEOUT_MS,
      what: 'The end of the memory stream',
    });
  } finally {
    await watch.stop();
  }
  await assertMigrationCompleted(domain);
  await joinHugePages(vm, { logger });
}

function createSession(
  input: LiveCaptureInput,
  prepared: PreparedCapture,
  taken: Taken,
  xml: Pick<CapturedConfiguration, 'liveXml' | 'persistentXml' | 'memoryXml'>,
  hold: CaptureHold,
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
      const { memory } = taken;
      ended ??= cleanUp(input.domain, remainsOf(input, prepared), {
        keepCheckpoint,
        memory,
        logger: input.logger,
      }).then(async () => await hold.end());
      await ended;
    },
  };
}
