import type { Clock } from '../../../shared/clock.ts';
import { OperationError } from '../../../shared/errors.ts';
import type { VmDescription } from '../../../shared/inventory.ts';
import type { Logger } from '../../../shared/logger.ts';
import type {
  CaptureRequest,
  CaptureSession,
  HypervisorDriver,
  StagedRestore,
  VmEvent,
} from '../driver.ts';
import type { FreezeGuard } from '../freeze-guard.ts';
import { createCaptureMarks, type CaptureMarks } from './capture-mark.ts';
import { describeHost, readEmulatorOwner } from './describe-host.ts';
import { describeVm } from './describe-vm.ts';
import { readDomain } from './domain-xml/domain.ts';
import {
  closeConnections,
  connectOptions,
  createDomainControl,
  isAlreadyOver,
  lookupVm,
  openConnections,
  type DomainConnections,
} from './libvirt-domain.ts';
import { beginLiveCapture } from './live-capture.ts';
import { reconcileCapture } from './reconcile-capture.ts';
import { beginOfflineCapture } from './offline-capture.ts';
import { removeResumeFolder, resumeFromMemory } from './memory-resume.ts';
import { planClone, planRollback } from './plan-restore.ts';
import {
  commitStaged,
  discardStagedLeftovers,
  overwriteInPlace,
  planStaging,
  removeStaged,
  undoStaged,
  writeImage,
  writeStaged,
} from './restore-images.ts';
import {
  CREATE_FLAG,
  DESTROY_FLAG,
  UNDEFINE_FLAG,
  XML_FLAG,
  defineDomain,
  destroyDomain,
  getDomainState,
  getDomainXml,
  listAllDomains,
  startDomain,
  undefineDomain,
  type DomainState,
} from './rpc/domain-calls.ts';
import {
  listCheckpoints,
  deleteCheckpoint,
  CHECKPOINT_DELETE_FLAG,
} from './rpc/checkpoint-calls.ts';
import type { LibvirtCaller } from './rpc/connection.ts';
import { LibvirtError } from './rpc/libvirt-error.ts';
import { qemuMonitorCommand } from './rpc/qemu-calls.ts';
import { createReconnectingLibvirt, type ReconnectingLibvirt } from './rpc/reconnecting.ts';
import type { DomainRef } from './rpc/wire-types.ts';

export interface LibvirtDriverOptions {
  readonly socketPath?: string;
  readonly uri?: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Looks after every guest that this driver captures. */
  readonly freezeGuard: FreezeGuard;
}

const STOP_TIMEOUT_MS = 120_000;
const START_TIMEOUT_MS = 120_000;

/** Drives one host's libvirt over its UNIX socket. */
export function createLibvirtDriver(options: LibvirtDriverOptions): HypervisorDriver {
  const { clock, logger } = options;
  const libvirt = createReconnectingLibvirt(connectOptions(options));
  const connections = openConnections(options);
  const { freezeGuard: guard } = options;
  const marks = createCaptureMarks(logger);
  const context = { connections, clock, logger, guard, marks };
  const lookup = async (vmId: string): Promise<DomainRef> => await lookupVm(libvirt, vmId);
  return {
    describeHost: async (signal) => await describeHost(libvirt, signal),
    listVmIds: async (signal) =>
      (await listAllDomains(libvirt, 0, signal ? { signal } : {})).map((domain) => domain.uuid),
    listVms: async (signal) => await listVms(libvirt, signal),
    describeVm: async (vmId, signal) => await describeVm(libvirt, await lookup(vmId), signal),
    watchVms: async (listener) => await Promise.resolve(watchVms(libvirt, listener)),
    beginCapture: async (request, signal) => await beginCapture(context, request, signal),
    reconcileCapture: async (capture) => await reconcileCapture(context, capture),
    async dropCheckpoint(vmId, checkpoint) {
      await createDomainControl(connections, await lookup(vmId)).dropCheckpoint(checkpoint);
    },
    async planRollback(request, signal) {
      const domain = await lookup(request.vmId);
      const current = await getDomainXml(
        libvirt,
        domain,
        XML_FLAG.secure | XML_FLAG.inactive,
        signal ? { signal } : {},
      );
      return planRollback(request, current);
    },
    planClone,
    ...createRestoreCalls(libvirt),
    async resumeFromMemory(request, writeStream, signal) {
      await resumeFromMemory(
        libvirt,
        await readEmulatorOwner(libvirt),
        request,
        writeStream,
        signal,
      );
    },
    async startVm(vmId, { paused }, signal) {
      const domain = await lookup(vmId);
      if (await staysActive(libvirt, domain)) return;
      const flags = paused ? CREATE_FLAG.paused : 0;
      await startDomain(libvirt, domain, flags, { timeoutMs: START_TIMEOUT_MS, signal });
    },
    stopVm: async (vmId, signal) => await stopVm(libvirt, await lookup(vmId), signal),
    removeVm: async (vmId) => await removeVm(libvirt, vmId),
    async close() {
      await Promise.all([libvirt.close(), closeConnections(connections)]);
    },
  };
}

type RestoreCalls = Pick<
  HypervisorDriver,
  | 'stageRestore'
  | 'commitRestore'
  | 'undoRestore'
  | 'discardStaged'
  | 'discardReplaced'
  | 'overwriteDisks'
  | 'writeImageFile'
>;

function createRestoreCalls(libvirt: ReconnectingLibvirt): RestoreCalls {
  return {
    async stageRestore(request, onPlanned, signal) {
      const oldXml = request.isNewVm
        ? null
        : await getDomainXml(
            libvirt,
            await lookupVm(libvirt, request.vmId),
            XML_FLAG.secure | XML_FLAG.inactive,
          );
      const { nvramPath } = readDomain(request.xml).firmware;
      const planned = await planStaging(request, { nvramPath, oldXml });
      await onPlanned(planned);
      return await writeStaged(planned, request, await readEmulatorOwner(libvirt), signal);
    },
    async commitRestore(staged, signal) {
      await refuseWhileActive(libvirt, staged.vmId);
      await commitStaged(
        staged,
        async () => await redefine(libvirt, staged, staged.newXml),
        signal,
      );
    },
    async undoRestore(staged) {
      await stopIfThere(libvirt, staged.vmId);
      await removeResumeFolder(staged.vmId);
      await undoStaged(staged, async () => await defineOld(libvirt, staged));
    },
    discardStaged: async (staged) => await removeStaged(staged),
    discardReplaced: discardStagedLeftovers,
    async overwriteDisks(disks, signal) {
      for (const disk of disks) await overwriteInPlace(disk, signal);
    },
    writeImageFile: async (image, signal) => await writeImage(image, image.path, signal),
  };
}

async function listVms(
  libvirt: ReconnectingLibvirt,
  signal?: AbortSignal,
): Promise<VmDescription[]> {
  const domains = await listAllDomains(libvirt, 0, signal ? { signal } : {});
  const vms = await Promise.all(
    domains.map(async (domain) => {
      try {
        return await describeVm(libvirt, domain, signal);
      } catch (error) {
        // It was removed while we listed.
        if (error instanceof LibvirtError && error.code === 'not_found') return null;
        throw error;
      }
    }),
  );
  return vms.filter((vm) => vm !== null);
}

function watchVms(
  libvirt: ReconnectingLibvirt,
  listener: (event: VmEvent) => void,
): { close(): Promise<void> } {
  return libvirt.watch(
    [
      { kind: 'lifecycle' },
      { kind: 'agent_lifecycle' },
      { kind: 'device_added' },
      { kind: 'device_removed' },
      { kind: 'block_job' },
      { kind: 'metadata_change' },
    ],
    (event) => {
      if (event.kind === 'resync') listener({ kind: 'resync' });
      else if (event.kind === 'lifecycle' && event.event === 'undefined') {
        listener({ kind: 'removed', vmId: event.domain.uuid });
      } else if ('domain' in event) listener({ kind: 'changed', vmId: event.domain.uuid });
    },
  );
}

interface CaptureContext {
  readonly connections: DomainConnections;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly guard: FreezeGuard;
  readonly marks: CaptureMarks;
}

async function beginCapture(
  context: CaptureContext,
  request: CaptureRequest,
  signal?: AbortSignal,
): Promise<CaptureSession> {
  const { connections, clock, logger, guard, marks } = context;
  const libvirt = connections.capture;
  const domain = await lookupVm(libvirt, request.vmId);
  const vm = await describeVm(libvirt, domain, signal);
  if (vm.jobActive) {
    throw new OperationError(
      'in_use',
      `Another job of ${vm.name} is running, such as a capture or a migration; try again when it is done.`,
    );
  }
  const invalidation = new AbortController();
  // Events of the capture's own pause are expected; only an end or a start of the VM matters.
  const fatalEvents = vm.state === 'off' ? ['started', 'undefined'] : ['stopped', 'crashed'];
  const connection = await libvirt.connection();
  const watch = await connection.subscribe({ kind: 'lifecycle', domain }, (event) => {
    if (event.kind !== 'lifecycle' || !fatalEvents.includes(event.event)) return;
    invalidation.abort(
      new OperationError('guest_changed', `${vm.name} was ${event.event} while it was captured.`),
    );
  });
  try {
    const owner = await readEmulatorOwner(libvirt);
    const common = { vm, request, owner, clock, logger, invalidated: invalidation.signal };
    const control = createDomainControl(connections, domain);
    const session = await (vm.state === 'running' || vm.state === 'paused'
      ? beginLiveCapture({ ...common, domain: control, guard, marks }, signal)
      : beginOfflineCapture(
          { ...common, readPersistentXml: async () => await control.readXml('persistent') },
          signal,
        ));
    return {
      ...session,
      async end(outcome) {
        await watch.close();
        await session.end(outcome);
      },
    };
  } catch (error) {
    await watch.close();
    throw error;
  }
}

const SETTLE_ATTEMPTS = 4;

/**
 * Whether a VM runs and is not just being stopped: a dead process may have asked for that, and
 * libvirt answers a monitor command only when what was asked before is done.
 */
async function staysActive(libvirt: LibvirtCaller, domain: DomainRef): Promise<boolean> {
  for (let attempt = 1; attempt <= SETTLE_ATTEMPTS; attempt += 1) {
    if (!isActiveState((await getDomainState(libvirt, domain)).state)) return false;
    try {
      const command = JSON.stringify({ execute: 'query-status' });
      await qemuMonitorCommand(libvirt, domain, command, { timeoutMs: STOP_TIMEOUT_MS });
      return true;
    } catch (error) {
      // It went off meanwhile, or somebody else's job takes long: its state tells.
      if (!(error instanceof LibvirtError)) throw error;
    }
  }
  return isActiveState((await getDomainState(libvirt, domain)).state);
}

const isActiveState = (state: DomainState): boolean => state !== 'shut_off' && state !== 'crashed';

/** Images must not be moved away under a running guest. */
async function refuseWhileActive(libvirt: ReconnectingLibvirt, vmId: string): Promise<void> {
  try {
    const domain = await lookupVm(libvirt, vmId);
    if (!isActiveState((await getDomainState(libvirt, domain)).state)) return;
    throw new OperationError(
      'wrong_state',
      `${domain.name} must be off while its disks are replaced.`,
    );
  } catch (error) {
    // A new VM is not there yet.
    if (!(error instanceof OperationError) || error.code !== 'not_found') throw error;
  }
}

async function redefine(
  libvirt: ReconnectingLibvirt,
  staged: StagedRestore,
  xml: string,
): Promise<void> {
  if (staged.oldXml !== null) await dropAllCheckpointMetadata(libvirt, staged.vmId);
  await defineDomain(libvirt, xml);
}

/** The bitmaps behind these checkpoints are in images that are being replaced. */
async function dropAllCheckpointMetadata(
  libvirt: ReconnectingLibvirt,
  vmId: string,
): Promise<void> {
  const domain = await lookupVm(libvirt, vmId);
  for (const checkpoint of await listCheckpoints(libvirt, domain)) {
    await deleteCheckpoint(libvirt, checkpoint, CHECKPOINT_DELETE_FLAG.metadataOnly);
  }
}

async function defineOld(libvirt: ReconnectingLibvirt, staged: StagedRestore): Promise<void> {
  if (staged.oldXml === null) await removeVm(libvirt, staged.vmId);
  else await defineDomain(libvirt, staged.oldXml);
}

async function stopIfThere(libvirt: ReconnectingLibvirt, vmId: string): Promise<void> {
  try {
    await stopVm(libvirt, await lookupVm(libvirt, vmId));
  } catch (error) {
    if (!(error instanceof OperationError) || error.code !== 'not_found') throw error;
  }
}

async function stopVm(
  libvirt: ReconnectingLibvirt,
  domain: DomainRef,
  signal?: AbortSignal,
): Promise<void> {
  const options = { timeoutMs: STOP_TIMEOUT_MS, signal };
  const { state } = await getDomainState(libvirt, domain, options);
  if (state === 'shut_off') return;
  try {
    await destroyDomain(libvirt, domain, DESTROY_FLAG.graceful, options);
  } catch (error) {
    if (isAlreadyOver(error)) return;
    // QEMU ignored SIGTERM (for example on stuck storage); pulling the plug is what was asked for.
    await destroyDomain(libvirt, domain, 0, options);
  }
}

/** Stops and undefines a VM; its images stay, other files of libvirt's go. No error when it is gone. */
async function removeVm(libvirt: ReconnectingLibvirt, vmId: string): Promise<void> {
  try {
    const domain = await lookupVm(libvirt, vmId);
    await stopVm(libvirt, domain);
    await undefineDomain(
      libvirt,
      domain,
      UNDEFINE_FLAG.managedSave |
        UNDEFINE_FLAG.snapshotsMetadata |
        UNDEFINE_FLAG.keepNvram |
        UNDEFINE_FLAG.checkpointsMetadata,
    );
  } catch (error) {
    if (!(error instanceof OperationError) || error.code !== 'not_found') throw error;
  }
}
