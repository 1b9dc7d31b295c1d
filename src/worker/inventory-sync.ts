import type { HostReport } from '../control-plane/database/hosts.ts';
import { reportHost } from '../control-plane/database/hosts.ts';
import { listJobs } from '../control-plane/database/jobs.ts';
import { reportRepository } from '../control-plane/database/repositories.ts';
import { markAbsentVms, markVmAbsent, reportVm } from '../control-plane/database/vms.ts';
import { OperationError, describeThrown } from '../shared/errors.ts';
import type { HostDescription } from '../shared/inventory.ts';
import { createSemaphore } from '../shared/waiting.ts';
import type { WorkerEnvironment } from './environment.ts';
import { reportManifestHeads } from './report-manifest-heads.ts';
import { readFreeBytes } from './space-watch.ts';

/** Even without events everything is looked at again this often: disks grow without telling. */
const FULL_INTERVAL_MS = 60_000;
/** So that the server knows that this worker lives, and how much room there is. */
const HEARTBEAT_INTERVAL_MS = 5_000;
/** Two leave room on the connection for calls that somebody waits for. */
const VMS_AT_ONCE = 2;
const DESCRIBE_TIMEOUT_MS = 15_000;
/** Several events of one change are answered by one look. */
const SETTLE_MS = 50;

export interface InventorySync {
  /** Resolves when everything was looked at once; rejects never. */
  readonly first: Promise<void>;
  /** Looks at one VM now, e.g. after a job changed it. */
  refresh(vmId: string): Promise<void>;
  stop(): Promise<void>;
}

/** Keeps the catalog's picture of host and VMs current by the hypervisor's events. */
export async function startInventorySync(environment: WorkerEnvironment): Promise<InventorySync> {
  const { driver, logger } = environment;
  const work = createWorkQueue(environment);
  const watch = await driver.watchVms((event) => {
    if (event.kind === 'resync') work.wantAll();
    else work.want(event.vmId);
  });
  const fullTimer = setInterval(() => work.wantAll(), FULL_INTERVAL_MS);
  const heartbeat = setInterval(() => work.wantHost(), HEARTBEAT_INTERVAL_MS);
  work.wantAll();
  return {
    first: work.settled(),
    async refresh(vmId) {
      work.want(vmId);
      await work.settled();
    },
    async stop() {
      clearInterval(fullTimer);
      clearInterval(heartbeat);
      await watch.close().catch((error: unknown) => {
        logger.debug({ reason: describeThrown(error) }, 'the watch was closed already');
      });
      await work.stop();
    },
  };
}

interface WorkQueue {
  want(vmId: string): void;
  wantAll(): void;
  wantHost(): void;
  settled(): Promise<void>;
  stop(): Promise<void>;
}

/** One look at a time; wishes that come meanwhile are joined. */
function createWorkQueue(environment: WorkerEnvironment): WorkQueue {
  const vmIds = new Set<string>();
  const state = { all: false, host: false, stopped: false };
  let running: Promise<void> = Promise.resolve();
  let isRunning = false;
  const isWanted = (): boolean => !state.stopped && (state.all || state.host || vmIds.size > 0);

  const lookUntilContent = async (): Promise<void> => {
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    while (isWanted()) {
      const wanted = { all: state.all, host: state.host || state.all, vmIds: [...vmIds] };
      state.all = false;
      state.host = false;
      vmIds.clear();
      await look(environment, wanted);
    }
    isRunning = false;
  };
  const start = (): void => {
    if (state.stopped || isRunning) return;
    isRunning = true;
    running = lookUntilContent();
  };
  return {
    want(vmId) {
      vmIds.add(vmId);
      start();
    },
    wantAll() {
      state.all = true;
      start();
    },
    wantHost() {
      state.host = true;
      start();
    },
    settled: async () => await running,
    async stop() {
      state.stopped = true;
      await running;
    },
  };
}

/** One look; what fails is logged and shown as the host's state, and the next look tries again. */
async function look(
  environment: WorkerEnvironment,
  wanted: { all: boolean; host: boolean; vmIds: readonly string[] },
): Promise<void> {
  const { driver, logger } = environment;
  try {
    if (wanted.host) await reportHostState(environment, 'ready', null, await driver.describeHost());
    if (wanted.all) await reportAllVms(environment);
    else for (const vmId of wanted.vmIds) await reportOneVm(environment, vmId);
  } catch (error) {
    const reason = describeThrown(error);
    logger.warn({ reason }, 'the hypervisor could not be looked at');
    await reportHostState(environment, 'unreachable', reason, null).catch(
      (reportError: unknown) => {
        logger.error({ reason: describeThrown(reportError) }, 'the catalog could not be written');
      },
    );
  }
}

/** Each VM by itself, since one whose QEMU hangs answers late or never. */
async function reportAllVms(environment: WorkerEnvironment): Promise<void> {
  const { driver, catalog, clock, hostId, logger } = environment;
  const vmIds = await driver.listVmIds();
  const at = clock.now().toISOString();
  await catalog.write(
    async (tx) => void (await markAbsentVms(tx, { hostId, presentIds: vmIds, at })),
  );
  const semaphore = createSemaphore(VMS_AT_ONCE);
  await Promise.all(
    vmIds.map(async (vmId) => {
      await semaphore.run(async () => {
        await reportOneVm(environment, vmId).catch((error: unknown) => {
          // What was known of it stays; the next look tries again.
          logger.warn({ vmId, reason: describeThrown(error) }, 'a VM could not be looked at');
        });
      });
    }),
  );
  await reportRepositoryState(environment);
  await reportManifestHeads(environment, { all: true });
}

async function reportOneVm(environment: WorkerEnvironment, vmId: string): Promise<void> {
  const { driver, catalog, clock, hostId } = environment;
  const signal = AbortSignal.timeout(DESCRIBE_TIMEOUT_MS);
  try {
    const isOursBefore = await hasJobOfOurs(environment, vmId);
    const seen = await driver.describeVm(vmId, signal);
    // What waits its turn in our own queue is no reason to refuse a wish, and a look during a
    // capture is still the last word for a moment after its end.
    const isOurs = isOursBefore || (await hasJobOfOurs(environment, vmId));
    const description = { ...seen, jobActive: seen.jobActive && !isOurs };
    const at = clock.now().toISOString();
    await catalog.write(async (tx) => void (await reportVm(tx, { hostId, description, at })));
  } catch (error) {
    if (!(error instanceof OperationError) || error.code !== 'not_found') throw error;
    const at = clock.now().toISOString();
    await catalog.write(async (tx) => await markVmAbsent(tx, { id: vmId, hostId, at }));
  }
}

async function hasJobOfOurs(environment: WorkerEnvironment, vmId: string): Promise<boolean> {
  const { catalog, hostId } = environment;
  const filter = { vmId, hostId, states: ['running', 'undoing'] as const };
  return (await listJobs(catalog.read, filter, { limit: 1 })).length > 0;
}

async function reportHostState(
  environment: WorkerEnvironment,
  state: HostReport['state'],
  stateReason: string | null,
  description: HostDescription | null,
): Promise<void> {
  const { catalog, clock, hostId, settings } = environment;
  const room = {
    scratchFreeBytes: await readFreeBytes(settings.scratchFolder),
    scratchFloorBytes: settings.scratchFloorBytes,
    repositoryFreeBytes: await readFreeBytes(settings.repositoryFolder),
  };
  await catalog.write(async (tx) => {
    await reportHost(tx, {
      id: hostId,
      name: description?.hostname ?? hostId,
      state,
      stateReason,
      description,
      room,
      at: clock.now().toISOString(),
    });
  });
}

export async function reportRepositoryState(environment: WorkerEnvironment): Promise<void> {
  const { catalog, clock, hostId, settings, repository } = environment;
  const { id, ...statistics } = await repository.status();
  await catalog.write(async (tx) => {
    await reportRepository(tx, {
      id,
      name: 'main',
      hostId,
      location: settings.repositoryFolder,
      state: 'ready',
      stateReason: null,
      statistics,
      at: clock.now().toISOString(),
    });
  });
}
