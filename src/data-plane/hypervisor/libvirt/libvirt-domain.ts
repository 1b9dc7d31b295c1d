import { OperationError } from '../../../shared/errors.ts';
import type { Logger } from '../../../shared/logger.ts';
import type { DomainControl, MonitorEvent } from './domain-control.ts';
import { BACKUP_BEGIN_FLAG, abortJob, beginBackup, getBackupXml } from './rpc/backup-calls.ts';
import { deleteCheckpoint, lookupCheckpoint } from './rpc/checkpoint-calls.ts';
import {
  PAUSED_REASON,
  XML_FLAG,
  getDomainState,
  getDomainXml,
  lookupDomainByUuid,
  resumeDomain,
  suspendDomain,
} from './rpc/domain-calls.ts';
import { freezeFileSystems, thawFileSystems } from './rpc/guest-calls.ts';
import type { LibvirtCaller } from './rpc/connection.ts';
import { LibvirtError } from './rpc/libvirt-error.ts';
import { qemuAgentCommand, qemuMonitorCommand } from './rpc/qemu-calls.ts';
import {
  createReconnectingLibvirt,
  type ReconnectingLibvirt,
  type ReconnectingOptions,
} from './rpc/reconnecting.ts';
import type { DomainRef } from './rpc/wire-types.ts';

/**
 * Longer than libvirt waits for its own locks (30 s), so that a call is known to be over; whoever
 * waits for one inside a pause has a shorter limit of his own.
 */
const CONTROL_TIMEOUT_MS = 45_000;
const AGENT_PING_SECONDS = 5;

const XML_FLAGS = {
  live: XML_FLAG.secure,
  persistent: XML_FLAG.secure | XML_FLAG.inactive,
  memory: XML_FLAG.secure | XML_FLAG.migratable,
} as const;

/** Whether libvirt says that the thing is not there, or not in a state to be ended. */
export const isAlreadyOver = (error: unknown): boolean =>
  error instanceof LibvirtError && (error.code === 'not_found' || error.code === 'wrong_state');

export async function lookupVm(libvirt: LibvirtCaller, vmId: string): Promise<DomainRef> {
  try {
    return await lookupDomainByUuid(libvirt, vmId);
  } catch (error) {
    if (error instanceof LibvirtError && error.code === 'not_found') {
      throw new OperationError('not_found', `No VM with the id ${vmId} exists on this host.`, {
        cause: error,
      });
    }
    throw error;
  }
}

/**
 * A libvirt connection works on a few calls at a time, so guest agents that hang could block the
 * very call that thaws or resumes, also of other VMs: each has a connection of its own.
 */
export interface DomainConnections {
  readonly capture: ReconnectingLibvirt;
  readonly rescue: ReconnectingLibvirt;
  readonly freeze: ReconnectingLibvirt;
  readonly thaw: ReconnectingLibvirt;
}

export interface ConnectionOptions {
  readonly socketPath?: string;
  readonly uri?: string;
  readonly logger: Logger;
}

/** A guest that stands still cannot wait for a daemon that came back half a minute ago. */
const RESCUE_BACKOFF = { firstMs: 20, longestMs: 250 };

export const connectOptions = (options: ConnectionOptions): ReconnectingOptions => ({
  logger: options.logger,
  ...(options.socketPath === undefined ? {} : { socketPath: options.socketPath }),
  ...(options.uri === undefined ? {} : { uri: options.uri }),
});

export function openConnections(options: ConnectionOptions): DomainConnections {
  const common = connectOptions(options);
  const rescuing = { ...common, backoff: RESCUE_BACKOFF };
  return {
    capture: createReconnectingLibvirt(common),
    rescue: createReconnectingLibvirt(rescuing),
    freeze: createReconnectingLibvirt(common),
    thaw: createReconnectingLibvirt(rescuing),
  };
}

export async function closeConnections(connections: DomainConnections): Promise<void> {
  const { capture, rescue, freeze, thaw } = connections;
  await Promise.all([capture, rescue, freeze, thaw].map(async (each) => await each.close()));
}

function bindBackupCalls(
  { capture: libvirt, rescue }: Pick<DomainConnections, 'capture' | 'rescue'>,
  domain: DomainRef,
): Pick<DomainControl, 'beginBackup' | 'endBackup' | 'hasBackup'> {
  const limit = { timeoutMs: CONTROL_TIMEOUT_MS };
  return {
    async beginBackup({ backupXml, checkpointXml }) {
      const request = { domain, backupXml, checkpointXml, flags: BACKUP_BEGIN_FLAG.reuseExternal };
      await beginBackup(libvirt, request, limit);
    },
    async endBackup(nbdSocketPath) {
      try {
        const xml = await getBackupXml(rescue, domain, limit);
        if (xml.includes(nbdSocketPath)) await abortJob(rescue, domain, limit);
      } catch (error) {
        if (!isAlreadyOver(error)) throw error;
      }
    },
    async hasBackup() {
      try {
        await getBackupXml(rescue, domain, limit);
        return true;
      } catch (error) {
        if (!isAlreadyOver(error)) throw error;
        return false;
      }
    },
  };
}

/** The calls that a capture makes, bound to one domain of a libvirt connection. */
export function createDomainControl(
  { capture: libvirt, rescue, freeze, thaw }: DomainConnections,
  domain: DomainRef,
): DomainControl {
  const limit = { timeoutMs: CONTROL_TIMEOUT_MS };
  return {
    rescueMonitor: async (command) => await qemuMonitorCommand(rescue, domain, command, limit),
    monitor: async (command) => await qemuMonitorCommand(libvirt, domain, command, limit),
    suspend: async () => await suspendDomain(libvirt, domain, limit),
    resume: async () => await resumeDomain(rescue, domain, limit),
    readXml: async (kind) => await getDomainXml(libvirt, domain, XML_FLAGS[kind], limit),
    ...bindBackupCalls({ capture: libvirt, rescue }, domain),
    async isPauseAsked() {
      const { state, reason } = await getDomainState(rescue, domain, limit);
      return state === 'paused' && reason === PAUSED_REASON.user;
    },
    async pingAgent() {
      await qemuAgentCommand(
        freeze,
        domain,
        { command: '{"execute":"guest-ping"}', agentTimeoutSeconds: AGENT_PING_SECONDS },
        limit,
      );
    },
    async dropCheckpoint(name) {
      try {
        await deleteCheckpoint(
          libvirt,
          await lookupCheckpoint(libvirt, domain, name, limit),
          0,
          limit,
        );
      } catch (error) {
        if (!isAlreadyOver(error)) throw error;
      }
    },
    async freezeFileSystems() {
      await freezeFileSystems(freeze, domain, [], limit);
    },
    async thawFileSystems(timeoutMs) {
      await thawFileSystems(thaw, domain, [], { timeoutMs });
    },
    async watchMonitor(listener: (event: MonitorEvent) => void) {
      const connection = await libvirt.connection();
      const subscription = await connection.subscribe({ kind: 'monitor', domain }, (event) => {
        if (event.kind !== 'monitor') return;
        listener({ name: event.event, atMs: event.at.getTime(), details: event.details ?? '' });
      });
      return {
        lost: connection.closed.then(() => undefined),
        stop: async () => await subscription.close(),
      };
    },
  };
}
