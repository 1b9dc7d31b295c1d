import { mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { OperationError, describeThrown } from '../../../shared/errors.ts';
import type { ConsistencyLevel } from '../../../shared/inventory.ts';
import { throwIfAborted } from '../../../shared/waiting.ts';
import type { CaptureRequest, CaptureSession, CapturedConfiguration } from '../driver.ts';
import { createPhaseTimer, hang, passPhase } from './capture-phase.ts';
import {
  checkpointNameFor,
  releaseCapture,
  removeSocket,
  serveDisks,
  socketPathFor,
  streamMemory,
  type DiskService,
  type ServedDisk,
} from './capture-session.ts';
import { describeSimulatedVm } from './describe-vm.ts';
import { formatDomainXml } from './domain-xml.ts';
import type { VmChange } from './faults.ts';
import { createCowFile } from './image-file.ts';
import { isActive, type ActiveCapture, type SimulatedVm } from './simulated-vm.ts';
import { tpmFolderOf, type SimulationContext } from './simulation-context.ts';

export const TPM_STATE_FILE = 'state.json';

export interface CaptureInput {
  readonly context: SimulationContext;
  readonly request: CaptureRequest;
  readonly invalidated: AbortSignal;
  readonly changeVm: (change: VmChange) => void;
}

interface CapturedInstant {
  readonly vm: SimulatedVm;
  readonly capturedAt: Date;
}

interface Taken extends CapturedInstant {
  readonly level: ConsistencyLevel;
  readonly levelReason: string;
  readonly pauseMs: number;
  readonly pausePhases: CaptureSession['pausePhases'];
}

interface Prepared {
  readonly scratchFolder: string;
  readonly socketPath: string;
  readonly disks: readonly (ServedDisk & { readonly cowPath: string })[];
  readonly memory: { readonly imagePath: string; readonly cowPath: string } | null;
  readonly checkpoint: string | null;
}

export const findDisks = (vm: SimulatedVm, targets: readonly string[]) =>
  targets.map((target) => {
    const disk = vm.definition.disks.find((candidate) => candidate.target === target);
    const isThere = disk && statSync(disk.path, { throwIfNoEntry: false }) !== undefined;
    if (disk && isThere) return disk;
    const reason = disk
      ? `The image of ${target} is not there: ${disk.path}`
      : `${vm.definition.name} has no disk ${target}.`;
    throw new OperationError('unsupported_disk', reason, { details: { target } });
  });

/** Captures a running or paused VM; on failure everything is undone and the guest runs as before. */
export async function beginLiveCapture(
  input: CaptureInput,
  signal?: AbortSignal,
): Promise<CaptureSession> {
  const { context, request } = input;
  const vm = context.store.requireVm(request.vmId);
  refuseSecondCapture(vm);
  const withMemory = request.kind === 'full';
  const prepared = prepare(input, vm, withMemory);
  try {
    throwIfAborted(signal);
    await passPhase(context, request.vmId, 'before_pause', phaseLimits(request, signal));
    throwIfAborted(signal);
    const taken = withMemory
      ? await takeWithMemory(input, prepared, signal)
      : await takeDisksOnly(input, prepared, signal);
    await passPhase(context, request.vmId, 'after_pause', phaseLimits(request, signal));
    throwIfAborted(signal);
    const service = await serveDisks(
      context,
      { vmId: request.vmId, socketPath: prepared.socketPath, disks: prepared.disks },
      input,
    );
    return createSession(input, prepared, taken, service);
  } catch (error) {
    releaseCapture(context, request, { keepCheckpoint: false });
    rmSync(prepared.scratchFolder, { recursive: true, force: true });
    throw error;
  }
}

const phaseLimits = (request: CaptureRequest, signal: AbortSignal | undefined) => ({
  deadlineMs: request.freezeDeadlineMs,
  signal,
});

function refuseSecondCapture(vm: SimulatedVm): void {
  if (vm.captures.every((capture) => capture.isOver)) return;
  throw new OperationError(
    'in_use',
    `Another capture of ${vm.definition.name} is running; try again when it is done.`,
  );
}

function prepare(input: CaptureInput, vm: SimulatedVm, withMemory: boolean): Prepared {
  const { context, request } = input;
  const scratchFolder = path.join(request.scratchFolder, request.captureId);
  const definitions = findDisks(vm, request.disks);
  mkdirSync(scratchFolder, { recursive: true });
  const cowPathFor = (target: string, imagePath: string): string => {
    const cowPath = path.join(scratchFolder, `${target}.cow`);
    createCowFile(cowPath, statSync(imagePath).size);
    return cowPath;
  };
  const hasBitmap = definitions.some(({ format }) => format === 'qcow2');
  return {
    scratchFolder,
    socketPath: socketPathFor(context, request.captureId),
    disks: definitions.map((disk) => ({
      target: disk.target,
      imagePath: disk.path,
      cowPath: cowPathFor(disk.target, disk.path),
    })),
    memory: withMemory
      ? { imagePath: vm.memoryPath, cowPath: cowPathFor('memory', vm.memoryPath) }
      : null,
    checkpoint: hasBitmap ? checkpointNameFor(request.captureId) : null,
  };
}

/** Puts the capture on record, so that any process can release what it does to the guest. */
function registerCapture(
  input: CaptureInput,
  prepared: Prepared,
  change: { pause?: boolean; freeze?: boolean },
): void {
  const { context, request } = input;
  const { store } = context;
  store.transaction(() => {
    const vm = store.requireVm(request.vmId);
    refuseSecondCapture(vm);
    if (!isActive(vm)) throw wentAway(vm);
    const pauses = change.pause === true && vm.state === 'running';
    const capture: ActiveCapture = {
      captureId: request.captureId,
      checkpoint: prepared.checkpoint,
      socketPath: prepared.socketPath,
      scratchFolder: prepared.scratchFolder,
      hasPaused: pauses,
      hasFrozen: change.freeze === true,
      isOver: false,
      files: [],
    };
    store.saveVm({
      ...vm,
      captures: [...vm.captures, capture],
      state: pauses ? 'paused' : vm.state,
      isFrozen: vm.isFrozen || capture.hasFrozen,
    });
    if (pauses) store.appendEvent(request.vmId, 'paused', request.captureId);
    if (capture.hasFrozen) store.appendEvent(request.vmId, 'frozen', request.captureId);
  });
}

/** The instant: from here on what the guest overwrites is kept, and the guest goes on. */
function takeInstant(input: CaptureInput, prepared: Prepared): CapturedInstant {
  const { context, request } = input;
  const { store } = context;
  return store.transaction(() => {
    const vm = store.requireVm(request.vmId);
    const capture = vm.captures.find(({ captureId }) => captureId === request.captureId);
    if (!capture || capture.isOver || !isActive(vm)) throw wentAway(vm);
    const files = [...prepared.disks, ...(prepared.memory ? [prepared.memory] : [])].map(
      ({ imagePath, cowPath }) => ({ imagePath, cowPath }),
    );
    const { checkpoint } = prepared;
    store.saveVm({
      ...vm,
      state: capture.hasPaused ? 'running' : vm.state,
      isFrozen: capture.hasFrozen ? false : vm.isFrozen,
      captures: vm.captures.map((candidate) =>
        candidate === capture
          ? { ...capture, hasPaused: false, hasFrozen: false, files }
          : candidate,
      ),
      checkpoints: checkpoint === null ? vm.checkpoints : [...vm.checkpoints, checkpoint],
    });
    store.appendEvent(request.vmId, 'capture_begun', request.captureId);
    if (capture.hasFrozen) store.appendEvent(request.vmId, 'thawed', request.captureId);
    if (capture.hasPaused) store.appendEvent(request.vmId, 'resumed', request.captureId);
    return { vm, capturedAt: context.clock.now() };
  });
}

const wentAway = (vm: SimulatedVm): OperationError =>
  new OperationError('guest_changed', `${vm.definition.name} was stopped while it was captured.`);

async function takeWithMemory(
  input: CaptureInput,
  prepared: Prepared,
  signal: AbortSignal | undefined,
): Promise<Taken> {
  const { context, request } = input;
  const timer = createPhaseTimer(() => context.clock.monotonicMs());
  const wasRunning = context.store.requireVm(request.vmId).state === 'running';
  const startedMs = context.clock.monotonicMs();
  await timer.run('suspend', () => registerCapture(input, prepared, { pause: true }));
  const limits = phaseLimits(request, signal);
  await passPhase(context, request.vmId, 'in_pause', limits);
  const instant = await timer.run('disks and memory', () => takeInstant(input, prepared));
  return {
    ...instant,
    level: 'memory',
    levelReason: 'Memory and disks are of one instant.',
    pauseMs: wasRunning ? Math.max(context.clock.monotonicMs() - startedMs, MIN_PAUSE_MS) : 0,
    pausePhases: timer.phases,
  };
}

/** A clock that a test holds still would measure no pause at all. */
const MIN_PAUSE_MS = 0.1;

async function takeDisksOnly(
  input: CaptureInput,
  prepared: Prepared,
  signal: AbortSignal | undefined,
): Promise<Taken> {
  const { context, request } = input;
  const timer = createPhaseTimer(() => context.clock.monotonicMs());
  const vm = context.store.requireVm(request.vmId);
  const refusal = vm.state === 'running' ? await freezeRefusal(input, vm) : PAUSED_REASON;
  const startedMs = context.clock.monotonicMs();
  await timer.run('freeze file systems', () =>
    registerCapture(input, prepared, { freeze: refusal === null }),
  );
  await passPhase(context, request.vmId, 'in_pause', phaseLimits(request, signal));
  const instant = await timer.run('disks', () => takeInstant(input, prepared));
  return {
    ...instant,
    level: refusal === null ? 'application' : 'crash',
    levelReason: refusal ?? 'The guest agent froze the file systems.',
    pauseMs: refusal === null ? context.clock.monotonicMs() - startedMs : 0,
    pausePhases: timer.phases,
  };
}

const PAUSED_REASON = 'The VM was paused, so its disks stood still; its memory was not asked for.';

/** Null when the file systems can be frozen; throws where the policy requires that. */
async function freezeRefusal(input: CaptureInput, vm: SimulatedVm): Promise<string | null> {
  const { request } = input;
  if (request.quiesce === 'never') return 'Freezing the file systems was not asked for.';
  const reason = await askAgent(vm, request.freezeDeadlineMs);
  if (reason !== null && request.quiesce === 'require') {
    throw new OperationError('agent_unavailable', reason);
  }
  return reason;
}

async function askAgent(vm: SimulatedVm, deadlineMs: number): Promise<string | null> {
  const { name } = vm.definition;
  const agent = vm.definition.hasAgentChannel ? vm.agent : 'absent';
  if (agent === 'hanging') {
    return await hang('Freezing the file systems', { timeoutMs: deadlineMs }).then(
      () => null,
      (error: unknown) => `Freezing the file systems failed: ${describeThrown(error)}`,
    );
  }
  const reasons: Readonly<Record<typeof agent, string | null>> = {
    connected: null,
    absent: `${name} has no guest agent channel.`,
    disconnected: `The guest agent of ${name} does not answer.`,
    failing: 'Freezing the file systems failed: the guest agent refused.',
  };
  return reasons[agent];
}

export function readConfiguration(
  context: SimulationContext,
  vm: SimulatedVm,
  options: { live: boolean; memory: boolean },
): CapturedConfiguration {
  const { definition } = vm;
  const xml = formatDomainXml(definition);
  const tpmFile = path.join(tpmFolderOf(context.folder, definition.id), TPM_STATE_FILE);
  return {
    liveXml: options.live ? xml : null,
    persistentXml: xml,
    memoryXml: options.memory ? xml : null,
    nvram: definition.nvramPath === null ? null : readIfThere(definition.nvramPath),
    tpmState: definition.hasTpm ? readIfThere(tpmFile) : null,
  };
}

function readIfThere(filePath: string): Uint8Array | null {
  return statSync(filePath, { throwIfNoEntry: false }) === undefined
    ? null
    : readFileSync(filePath);
}

function createSession(
  input: CaptureInput,
  prepared: Prepared,
  taken: Taken,
  service: DiskService,
): CaptureSession {
  const { context, request } = input;
  const hasPaused = taken.vm.captures.some((capture) => capture.hasPaused);
  const stop = new AbortController();
  const memoryDone = startMemoryStream(input, prepared, taken, stop.signal);
  let ended: Promise<void> | undefined;
  const end = async (keepCheckpoint: boolean): Promise<void> => {
    stop.abort(new OperationError('cancelled', 'The capture was ended.'));
    // Its failure went to the sink and to whoever awaits memoryDone.
    await memoryDone.catch(() => undefined);
    await service.close();
    releaseCapture(context, request, { keepCheckpoint });
    rmSync(prepared.scratchFolder, { recursive: true, force: true });
    removeSocket(prepared.socketPath);
  };
  return {
    level: taken.level,
    levelReason: taken.levelReason,
    capturedAt: taken.capturedAt,
    pauseMs: taken.pauseMs,
    pausePhases: taken.pausePhases,
    memoryMode: prepared.memory
      ? hasPaused
        ? (request.memoryMode ?? 'background')
        : 'stop-and-copy'
      : null,
    vm: describeSimulatedVm(hasPaused ? { ...taken.vm, state: 'running' } : taken.vm),
    configuration: readConfiguration(context, taken.vm, {
      live: true,
      memory: prepared.memory !== null,
    }),
    disks: prepared.disks.map(({ target }) => ({
      target,
      sizeBytes: service.sizes.get(target) ?? 0,
      nbd: { socketPath: prepared.socketPath, exportName: target },
      dirtyContext: null,
    })),
    checkpoint: prepared.checkpoint,
    memoryDone,
    invalidated: input.invalidated,
    checkStillValid: async () => {
      throwIfAborted(input.invalidated);
      await Promise.resolve();
    },
    async end({ keepCheckpoint }) {
      ended ??= end(keepCheckpoint);
      await ended;
    },
  };
}

function startMemoryStream(
  input: CaptureInput,
  prepared: Prepared,
  taken: Taken,
  stop: AbortSignal,
): Promise<void> {
  const { memorySink, vmId } = input.request;
  if (!prepared.memory) return Promise.resolve();
  if (!memorySink) throw new RangeError('a capture with memory needs a sink');
  const { machineType } = taken.vm.definition;
  const source = { vmId, machineType, state: { tick: taken.vm.tick }, ...prepared.memory };
  const combined = AbortSignal.any([stop, input.invalidated]);
  const memoryDone = streamMemory(input.context, source, memorySink, combined);
  // The caller awaits this later; until then a failure must not count as unhandled.
  memoryDone.catch(() => undefined);
  return memoryDone;
}
