import { describeVm } from '../../../src/data-plane/hypervisor/libvirt/describe-vm.ts';
import { readEmulatorOwner } from '../../../src/data-plane/hypervisor/libvirt/describe-host.ts';
import { createCaptureMarks } from '../../../src/data-plane/hypervisor/libvirt/capture-mark.ts';
import {
  createDomainControl,
  lookupVm,
  openConnections,
} from '../../../src/data-plane/hypervisor/libvirt/libvirt-domain.ts';
import { beginLiveCapture } from '../../../src/data-plane/hypervisor/libvirt/live-capture.ts';
import { createGuardClient } from '../../../src/guard/guard-client.ts';
import { describeThrown } from '../../../src/shared/errors.ts';
import { systemClock } from '../../../src/shared/clock.ts';
import { silentLogger } from '../../../src/shared/logger.ts';

/**
 * Captures a VM as the worker does, and hangs for good in the middle of the pause, when the backup
 * job has begun, too: whoever started this process then does to it what he likes.
 */
const [guardSocketPath, vmId, captureId, kind, scratchFolder, deadline] = process.argv.slice(2);
if (!guardSocketPath || !vmId || !captureId || !scratchFolder || !deadline) process.exit(2);
const logger = silentLogger;
const connections = openConnections({ logger });
const ref = await lookupVm(connections.capture, vmId);
const real = createDomainControl(connections, ref);
let hasBackup = false;
// File systems are frozen when the backup of a disk snapshot begins.
let isHeld = kind !== 'full';
const hangInPause = async (): Promise<void> => {
  if (!hasBackup || !isHeld) return;
  process.send?.({ inPause: true });
  await new Promise<never>(() => undefined);
};
const capture = beginLiveCapture({
  domain: {
    ...real,
    async suspend() {
      await real.suspend();
      isHeld = true;
      await hangInPause();
    },
    async beginBackup(backup) {
      await real.beginBackup(backup);
      hasBackup = true;
      await hangInPause();
    },
    async endBackup(nbdSocketPath) {
      hasBackup = false;
      await real.endBackup(nbdSocketPath);
    },
  },
  vm: await describeVm(connections.capture, ref),
  request: {
    vmId,
    captureId,
    kind: kind === 'full' ? 'full' : 'disk',
    disks: ['vda'],
    quiesce: kind === 'full' ? 'never' : 'require',
    memoryMode: kind === 'full' ? 'background' : null,
    memorySink:
      kind === 'full'
        ? { write: () => undefined, end: () => undefined, fail: () => undefined }
        : null,
    scratchFolder,
    parentCheckpoint: null,
    freezeDeadlineMs: Number(deadline),
  },
  owner: await readEmulatorOwner(connections.capture),
  clock: systemClock,
  logger,
  invalidated: new AbortController().signal,
  guard: createGuardClient({ socketPath: guardSocketPath, logger }),
  marks: createCaptureMarks(logger),
});
try {
  await capture;
} catch (error) {
  process.stderr.write(`${describeThrown(error)}\n`);
}
process.exit(1);
