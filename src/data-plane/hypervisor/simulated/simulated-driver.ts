import { GIB } from '../../../shared/byte-size.ts';
import type { Clock } from '../../../shared/clock.ts';
import { OperationError } from '../../../shared/errors.ts';
import type { HostDescription } from '../../../shared/inventory.ts';
import { silentLogger, type Logger } from '../../../shared/logger.ts';
import { throwIfAborted } from '../../../shared/waiting.ts';
import type { CaptureRequest, CaptureSession, HypervisorDriver, VmEvent } from '../driver.ts';
import { beginLiveCapture } from './capture.ts';
import { releaseCapture, removeSocket, socketPathFor } from './capture-session.ts';
import { writeImageFile } from './copy-export.ts';
import { describeSimulatedVm } from './describe-vm.ts';
import { stopGuest } from './guest.ts';
import { beginOfflineCapture } from './offline-capture.ts';
import { planClone, planRollback } from './plan-restore.ts';
import { resumeFromMemory, startVm } from './power.ts';
import {
  commitRestore,
  discardReplaced,
  discardStaged,
  overwriteDisks,
  stageRestore,
  undoRestore,
} from './restore.ts';
import { isActive, type SimulatedVmSpec } from './simulated-vm.ts';
import type { SimulationContext } from './simulation-context.ts';
import { openSimulationStore, type GuestEvent, type GuestEventKind } from './simulation-store.ts';
import { createSimulation, type Simulation } from './simulation.ts';
import { changeVm, removeDefinition } from './vm-registry.ts';

export interface SimulatedDriverOptions {
  /** Everything of the simulated host is in here; several processes may use it at once. */
  readonly folder: string;
  readonly clock: Clock;
  /** Decides ids and the fleet. */
  readonly seed: number;
  readonly vms?: readonly SimulatedVmSpec[];
  readonly host?: Partial<HostDescription>;
  readonly logger?: Logger;
}

export interface SimulatedDriver extends HypervisorDriver {
  readonly simulation: Simulation;
}

const HOST: HostDescription = {
  hostname: 'simulated',
  hypervisorVersion: '9.0.0',
  emulatorVersion: '7.2.0',
  cpus: 16,
  memoryBytes: 128 * GIB,
  memoryModes: ['background', 'pre-copy', 'stop-and-copy'],
  memoryModeHints: [],
};

/** Libvirt's `changed` covers what makes a VM look different; pauses of captures are among it. */
const SILENT: readonly GuestEventKind[] = ['io_error', 'frozen', 'thawed'];

/** A host of pretended VMs with real bytes: fast, the same every time, and broken on demand. */
export function createSimulatedDriver(options: SimulatedDriverOptions): SimulatedDriver {
  const { folder, clock } = options;
  const store = openSimulationStore(folder, clock);
  const context: SimulationContext = {
    folder,
    store,
    clock,
    logger: options.logger ?? silentLogger,
    host: { ...HOST, ...options.host },
  };
  const simulation = createSimulation(context, options);
  const sessions = new Map<string, CaptureSession>();
  return {
    simulation,
    describeHost: async () => await Promise.resolve(context.host),
    listVmIds: async () => await Promise.resolve(store.listVms().map((vm) => vm.definition.id)),
    listVms: async () => await Promise.resolve(store.listVms().map(describeSimulatedVm)),
    async describeVm(vmId) {
      await Promise.resolve();
      return describeSimulatedVm(store.requireVm(vmId));
    },
    async watchVms(listener) {
      await Promise.resolve();
      const stop = store.watchEvents((event) => {
        const vmEvent = toVmEvent(event);
        if (vmEvent) listener(vmEvent);
      });
      return {
        async close() {
          stop();
          await Promise.resolve();
        },
      };
    },
    async beginCapture(request, signal) {
      const session = await beginCapture(context, request, signal);
      sessions.set(request.captureId, session);
      return {
        ...session,
        async end(outcome) {
          sessions.delete(request.captureId);
          await session.end(outcome);
        },
      };
    },
    async reconcileCapture(capture) {
      await sessions.get(capture.captureId)?.end({ keepCheckpoint: false });
      sessions.delete(capture.captureId);
      releaseCapture(context, capture, { keepCheckpoint: false });
      removeSocket(socketPathFor(context, capture.captureId));
    },
    async dropCheckpoint(vmId, checkpoint) {
      await Promise.resolve();
      store.transaction(() => {
        const vm = store.requireVm(vmId);
        store.saveVm({ ...vm, checkpoints: vm.checkpoints.filter((name) => name !== checkpoint) });
      });
    },
    ...createRestoring(context),
    async close() {
      for (const session of sessions.values()) await session.end({ keepCheckpoint: false });
      sessions.clear();
      simulation.stopGuests();
      store.close();
    },
  };
}

type Restoring = Pick<
  HypervisorDriver,
  | 'planRollback'
  | 'planClone'
  | 'stageRestore'
  | 'commitRestore'
  | 'undoRestore'
  | 'discardStaged'
  | 'discardReplaced'
  | 'overwriteDisks'
  | 'writeImageFile'
  | 'resumeFromMemory'
  | 'startVm'
  | 'stopVm'
  | 'removeVm'
>;

function createRestoring(context: SimulationContext): Restoring {
  const { store, folder } = context;
  return {
    async planRollback(request) {
      await Promise.resolve();
      return planRollback(request, store.requireVm(request.vmId).definition);
    },
    planClone: (request) => planClone(folder, request),
    stageRestore: async (request, onPlanned, signal) =>
      await stageRestore(context, request, onPlanned, signal),
    commitRestore: async (staged, signal) => await commitRestore(context, staged, signal),
    async undoRestore(staged) {
      await Promise.resolve();
      undoRestore(context, staged);
    },
    async discardStaged(staged) {
      await Promise.resolve();
      discardStaged(staged);
    },
    overwriteDisks: async (disks, signal) => await overwriteDisks(context, disks, signal),
    writeImageFile: async (image, signal) => await writeImageFile(context, image, signal),
    async discardReplaced(staged) {
      await Promise.resolve();
      discardReplaced(staged);
    },
    resumeFromMemory: async (request, writeStream, signal) =>
      await resumeFromMemory(context, request, writeStream, signal),
    async startVm(vmId, { paused }, signal) {
      await Promise.resolve();
      throwIfAborted(signal);
      startVm(context, vmId, paused ? 'paused' : 'running');
    },
    async stopVm(vmId, signal) {
      await Promise.resolve();
      throwIfAborted(signal);
      stopGuest(store, vmId, { state: 'off', reason: 'the plug was pulled' });
    },
    async removeVm(vmId) {
      await Promise.resolve();
      removeDefinition(context, vmId);
    },
  };
}

function toVmEvent({ kind, vmId }: GuestEvent): VmEvent | null {
  if (SILENT.includes(kind)) return null;
  return { kind: kind === 'removed' ? 'removed' : 'changed', vmId };
}

async function beginCapture(
  context: SimulationContext,
  request: CaptureRequest,
  signal?: AbortSignal,
): Promise<CaptureSession> {
  const { store } = context;
  const vm = store.requireVm(request.vmId);
  const invalidation = new AbortController();
  const fatal: readonly GuestEventKind[] = isActive(vm)
    ? ['stopped', 'crashed', 'removed']
    : ['started', 'removed'];
  const stopWatching = store.watchEvents((event) => {
    if (event.vmId !== request.vmId || !fatal.includes(event.kind)) return;
    invalidation.abort(
      new OperationError(
        'guest_changed',
        `${vm.definition.name} was ${event.kind} while it was captured.`,
      ),
    );
  });
  const input = {
    context,
    request,
    invalidated: invalidation.signal,
    changeVm: (change: Parameters<typeof changeVm>[2]) => changeVm(context, request.vmId, change),
  };
  try {
    const session = await (isActive(vm)
      ? beginLiveCapture(input, signal)
      : beginOfflineCapture(input, signal));
    return {
      ...session,
      async end(outcome) {
        stopWatching();
        await session.end(outcome);
      },
    };
  } catch (error) {
    stopWatching();
    throw error;
  }
}
