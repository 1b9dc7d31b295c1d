import { statSync } from 'node:fs';
import { OperationError } from '../../../shared/errors.ts';
import { throwIfAborted } from '../../../shared/waiting.ts';
import type { CaptureSession } from '../driver.ts';
import { findDisks, readConfiguration, type CaptureInput } from './capture.ts';
import { passPhase } from './capture-phase.ts';
import { removeSocket, serveDisks, socketPathFor } from './capture-session.ts';
import { describeSimulatedVm } from './describe-vm.ts';

/** Reads the images of a VM that is off as they are; a start of the VM wins. */
export async function beginOfflineCapture(
  input: CaptureInput,
  signal?: AbortSignal,
): Promise<CaptureSession> {
  const { context, request } = input;
  const vm = context.store.requireVm(request.vmId);
  const definitions = findDisks(vm, request.disks);
  const socketPath = socketPathFor(context, request.captureId);
  const stamps = new Map(definitions.map(({ path }) => [path, readStamp(path)]));
  const capturedAt = context.clock.now();
  throwIfAborted(signal);
  const limits = { deadlineMs: request.freezeDeadlineMs, signal };
  await passPhase(context, request.vmId, 'before_pause', limits);
  const disks = definitions.map(({ target, path }) => ({
    target,
    imagePath: path,
    cowPath: null,
  }));
  const service = await serveDisks(context, { vmId: request.vmId, socketPath, disks }, input);
  return {
    level: 'offline',
    levelReason: 'The VM was off.',
    capturedAt,
    pauseMs: 0,
    pausePhases: [],
    memoryMode: null,
    vm: describeSimulatedVm(vm),
    configuration: readConfiguration(context, vm, { live: false, memory: false }),
    disks: disks.map(({ target }) => ({
      target,
      sizeBytes: service.sizes.get(target) ?? 0,
      nbd: { socketPath, exportName: target },
      dirtyContext: null,
    })),
    checkpoint: null,
    memoryDone: Promise.resolve(),
    invalidated: input.invalidated,
    async checkStillValid() {
      throwIfAborted(input.invalidated);
      for (const [path, stamp] of stamps) {
        if (readStamp(path) === stamp) continue;
        throw new OperationError(
          'guest_changed',
          `${path} was written to while it was captured; take the snapshot again.`,
        );
      }
      await Promise.resolve();
    },
    async end() {
      await service.close();
      removeSocket(socketPath);
    },
  };
}

function readStamp(filePath: string): string {
  const status = statSync(filePath, { bigint: true, throwIfNoEntry: false });
  if (status === undefined) return 'gone';
  return [status.dev, status.ino, status.size, status.mtimeNs, status.ctimeNs].join(':');
}
