import { createHash } from 'node:crypto';
import { rmSync, unlinkSync } from 'node:fs';
import path from 'node:path';
import { OperationError } from '../../../shared/errors.ts';
import type { MemorySink } from '../driver.ts';
import { startNbdServer, type NbdServer } from '../../nbd/server.ts';
import { createCaptureExport, openCapturedFile, type CapturedFile } from './capture-export.ts';
import type { VmChange } from './faults.ts';
import { writeMemoryStream, type DeviceState } from './memory-stream.ts';
import type { SimulationContext } from './simulation-context.ts';

/** UNIX socket paths are short, capture ids are not. */
export const socketPathFor = (context: SimulationContext, captureId: string): string => {
  const name = createHash('sha256').update(captureId).digest('hex').slice(0, 12);
  return path.join(context.folder, `${name}.sock`);
};

export interface ServedDisk {
  readonly target: string;
  readonly imagePath: string;
  readonly cowPath: string | null;
}

export interface DiskService {
  readonly sizes: ReadonlyMap<string, number>;
  close(): Promise<void>;
}

/** Serves captured disks on a UNIX socket until `invalidated` or closed. */
export async function serveDisks(
  context: SimulationContext,
  capture: { vmId: string; socketPath: string; disks: readonly ServedDisk[] },
  options: { invalidated: AbortSignal; changeVm: (change: VmChange) => void },
): Promise<DiskService> {
  const { store } = context;
  const files = new Map<string, CapturedFile>();
  let closing: Promise<void> | undefined;
  let server: NbdServer | undefined;
  const close = async (): Promise<void> => {
    closing ??= (async () => {
      await server?.close(0);
      for (const file of files.values()) await file.close();
    })();
    await closing;
  };
  const closeSoon = (): void => void close();
  try {
    for (const disk of capture.disks) {
      files.set(disk.target, await openCapturedFile(store, disk));
    }
    server = await startNbdServer({
      listen: { socketPath: capture.socketPath },
      exports: {
        list: async () => await Promise.resolve([...files.keys()]),
        open: async (target) => {
          const file = files.get(target);
          if (!file) return await Promise.resolve(null);
          const effects = { disconnect: closeSoon, changeVm: options.changeVm };
          return createCaptureExport(store, { vmId: capture.vmId, target, file }, effects);
        },
      },
      logger: context.logger,
    });
  } catch (error) {
    await close();
    throw error;
  }
  options.invalidated.addEventListener('abort', closeSoon, { once: true });
  return {
    sizes: new Map([...files].map(([target, file]) => [target, file.sizeBytes])),
    close,
  };
}

/** Sends the memory as it was to the sink; rejects when it could not be sent whole. */
export async function streamMemory(
  context: SimulationContext,
  source: {
    vmId: string;
    machineType: string;
    state: DeviceState;
    imagePath: string;
    cowPath: string;
  },
  sink: MemorySink,
  stop: AbortSignal,
): Promise<void> {
  let file: CapturedFile | null = null;
  try {
    const opened = await openCapturedFile(context.store, source);
    file = opened;
    const machine = {
      machineType: source.machineType,
      state: source.state,
      pages: {
        lengthBytes: opened.sizeBytes,
        readInto: async (offset: number, target: Uint8Array) =>
          await opened.readInto(offset, target),
        extents: async (offset: number, lengthBytes: number) =>
          await opened.extents(offset, lengthBytes),
      },
    };
    let sentBytes = 0;
    for await (const chunk of writeMemoryStream(machine, stop)) {
      sentBytes += chunk.length;
      const sent = sentBytes;
      if (context.store.takeFault('stream_breaks', source.vmId, (f) => sent > f.afterBytes)) {
        throw new OperationError(
          'hypervisor_failed',
          'The memory stream of the VM ended too early.',
        );
      }
      sink.write(chunk);
    }
    sink.end();
  } catch (error) {
    const failure = error instanceof Error ? error : new Error(String(error));
    sink.fail(failure);
    throw failure;
  } finally {
    await file?.close();
  }
}

export function removeSocket(socketPath: string): void {
  try {
    unlinkSync(socketPath);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return;
    throw error;
  }
}

/**
 * Ends what a capture holds in the simulated host, from whichever process: its pause, its frozen
 * file systems, its checkpoint if not kept, and its files. No error for what is gone.
 */
export function releaseCapture(
  context: SimulationContext,
  capture: { vmId: string; captureId: string },
  options: { keepCheckpoint: boolean },
): void {
  const { store } = context;
  store.transaction(() => {
    const vm = store.findVm(capture.vmId);
    if (!vm) return;
    const active = vm.captures.find(({ captureId }) => captureId === capture.captureId);
    const checkpoint = checkpointNameFor(capture.captureId);
    const checkpoints = options.keepCheckpoint
      ? vm.checkpoints
      : vm.checkpoints.filter((name) => name !== checkpoint);
    const captures = vm.captures.filter((candidate) => candidate !== active);
    const resumes = active?.hasPaused === true && vm.state === 'paused';
    const thaws = active?.hasFrozen === true && vm.isFrozen;
    store.saveVm({
      ...vm,
      checkpoints,
      captures,
      state: resumes ? 'running' : vm.state,
      isFrozen: thaws ? false : vm.isFrozen,
    });
    if (thaws) store.appendEvent(capture.vmId, 'thawed', capture.captureId);
    if (resumes) store.appendEvent(capture.vmId, 'resumed', capture.captureId);
    if (active) {
      store.appendEvent(capture.vmId, 'capture_ended', capture.captureId);
      rmSync(active.scratchFolder, { recursive: true, force: true });
    }
  });
}

export const checkpointNameFor = (captureId: string): string => `komadori-${captureId}`;
