import { openCatalog } from '../control-plane/database/catalog.ts';
import { withoutGuard } from '../data-plane/hypervisor/freeze-guard.ts';
import { createLibvirtDriver } from '../data-plane/hypervisor/libvirt/libvirt-driver.ts';
import { createSimulatedDriver } from '../data-plane/hypervisor/simulated/simulated-driver.ts';
import type { HypervisorDriver } from '../data-plane/hypervisor/driver.ts';
import { createGuardClient } from '../guard/guard-client.ts';
import { systemClock } from '../shared/clock.ts';
import { describeThrown } from '../shared/errors.ts';
import type { Logger } from '../shared/logger.ts';
import { startWorker } from '../worker/run-worker.ts';
import packageDescription from '../../package.json' with { type: 'json' };
import { endOfProcess, reportReady, settingsFromParent, untilAborted } from './child-process.ts';
import { makeFolders, openStore, readHostId } from './open-stores.ts';
import { createPinoLogger } from './pino-logger.ts';
import type { Settings } from './settings.ts';

async function openDriver(settings: Settings, logger: Logger): Promise<HypervisorDriver> {
  const { hypervisor } = settings;
  if (hypervisor.kind === 'simulated') {
    const driver = createSimulatedDriver({
      folder: settings.simulationFolder,
      clock: systemClock,
      seed: 1,
      logger,
    });
    if ((await driver.listVms()).length === 0) driver.simulation.seedFleet(hypervisor.vms);
    driver.simulation.startGuests();
    return driver;
  }
  return createLibvirtDriver({
    freezeGuard: settings.guard
      ? createGuardClient({ socketPath: settings.guardSocketPath, logger })
      : withoutGuard,
    clock: systemClock,
    logger,
    ...(hypervisor.socketPath === undefined ? {} : { socketPath: hypervisor.socketPath }),
    ...(hypervisor.uri === undefined ? {} : { uri: hypervisor.uri }),
  });
}

async function run(): Promise<void> {
  const settings = settingsFromParent();
  const end = endOfProcess();
  const logger = createPinoLogger({ name: 'worker', level: settings.logLevel });
  await makeFolders(settings);
  const catalog = await openCatalog({ path: settings.databasePath });
  const { repository } = await openStore(settings, logger);
  const driver = await openDriver(settings, logger);
  const worker = await startWorker({
    hostId: await readHostId(settings),
    toolVersion: packageDescription.version,
    catalog,
    driver,
    repository,
    clock: systemClock,
    logger,
    settings: { ...settings, repositoryFolder: settings.repository.folder },
  });
  reportReady({});
  await untilAborted(end);
  logger.info({}, 'the worker stops');
  await worker.stop();
  await driver.close();
  await repository.close();
  await catalog.close();
}

try {
  await run();
} catch (error) {
  process.stderr.write(`worker: ${describeThrown(error)}\n`);
  process.exitCode = 1;
}
// Nothing that was forgotten open may keep a worker that has stopped alive.
process.exit();
