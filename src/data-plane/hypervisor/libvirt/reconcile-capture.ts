import { rm } from 'node:fs/promises';
import { OperationError, describeThrown } from '../../../shared/errors.ts';
import type { Logger } from '../../../shared/logger.ts';
import { captureFolderFor, type CaptureFolder } from './capture-folder.ts';
import type { DomainControl } from './domain-control.ts';
import { letGuestGoOn } from './freeze.ts';
import { createDomainControl, lookupVm, type DomainConnections } from './libvirt-domain.ts';
import { checkpointNameFor } from './live-capture.ts';
import { cancelMigration, queryMigration, setCapability } from './qmp.ts';
import { getBackupXml } from './rpc/backup-calls.ts';
import type { LibvirtCaller } from './rpc/connection.ts';
import { getDomainState } from './rpc/domain-calls.ts';
import { LibvirtError } from './rpc/libvirt-error.ts';
import type { DomainRef } from './rpc/wire-types.ts';
import { exists } from './staged-files.ts';

const THAW_TIMEOUT_MS = 10_000;
const ENDED = ['none', 'completed', 'failed', 'cancelled'];

interface Context {
  readonly connections: DomainConnections;
  readonly logger: Logger;
}

/**
 * Puts right what a dead process of ours may have left. The capture's folder is removed last, so
 * while it is there a pause or a stream of this VM may be ours; without it nothing is.
 */
export async function reconcileCapture(
  context: Context,
  capture: { vmId: string; captureId: string; wasRunning: boolean },
): Promise<void> {
  const libvirt = context.connections.capture;
  const folder = captureFolderFor(capture.captureId);
  try {
    const domain = await lookupVm(libvirt, capture.vmId);
    const control = createDomainControl(context.connections, domain);
    const { state } = await getDomainState(libvirt, domain);
    const isActive = state === 'running' || state === 'paused';
    if (isActive && (await exists(folder.path))) {
      await releaseGuest(context, control, capture.wasRunning);
      if (await isBackupOurs(libvirt, domain, folder)) await control.abortBackup();
    }
    await control.dropCheckpoint(checkpointNameFor(capture.captureId));
  } catch (error) {
    if (!(error instanceof OperationError) || error.code !== 'not_found') throw error;
  }
  await rm(folder.path, { recursive: true, force: true });
}

async function releaseGuest(
  context: Context,
  control: DomainControl,
  wasRunning: boolean,
): Promise<void> {
  const { logger } = context;
  if (wasRunning) await letGuestGoOn(control, logger);
  if (!ENDED.includes((await queryMigration(control.monitor)).status))
    await cancelMigration(control.monitor);
  await setCapability(control.monitor, 'background-snapshot', false);
  await control.thawFileSystems(THAW_TIMEOUT_MS).catch((error: unknown) => {
    // Without an agent nothing can be frozen either.
    logger.debug({ reason: describeThrown(error) }, 'nothing was thawed');
  });
}

async function isBackupOurs(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  folder: CaptureFolder,
): Promise<boolean> {
  try {
    return (await getBackupXml(libvirt, domain)).includes(folder.nbdSocketPath);
  } catch (error) {
    if (error instanceof LibvirtError && error.code === 'not_found') return false;
    throw error;
  }
}
