import { OperationError } from '../../../shared/errors.ts';
import type { DomainControl, MonitorEvent } from './domain-control.ts';
import { BACKUP_BEGIN_FLAG, abortJob, beginBackup, getJobInfo } from './rpc/backup-calls.ts';
import { deleteCheckpoint, lookupCheckpoint } from './rpc/checkpoint-calls.ts';
import {
  XML_FLAG,
  getDomainXml,
  lookupDomainByUuid,
  resumeDomain,
  suspendDomain,
} from './rpc/domain-calls.ts';
import { freezeFileSystems, thawFileSystems } from './rpc/guest-calls.ts';
import type { LibvirtCaller } from './rpc/connection.ts';
import { LibvirtError } from './rpc/libvirt-error.ts';
import { qemuMonitorCommand } from './rpc/qemu-calls.ts';
import type { ReconnectingLibvirt } from './rpc/reconnecting.ts';
import type { DomainRef } from './rpc/wire-types.ts';

/** A call inside the pause either comes back in this time or the guest is resumed without it. */
const CONTROL_TIMEOUT_MS = 30_000;

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
 * A libvirt connection works on a few calls at a time, so a guest agent that hangs could block the
 * very call that thaws or resumes: those go over a connection of their own.
 */
export interface DomainConnections {
  readonly capture: ReconnectingLibvirt;
  readonly rescue: ReconnectingLibvirt;
}

/** The calls that a capture makes, bound to one domain of a libvirt connection. */
export function createDomainControl(
  { capture: libvirt, rescue }: DomainConnections,
  domain: DomainRef,
): DomainControl {
  const limit = { timeoutMs: CONTROL_TIMEOUT_MS };
  return {
    rescueMonitor: async (command) => await qemuMonitorCommand(rescue, domain, command, limit),
    monitor: async (command) => await qemuMonitorCommand(libvirt, domain, command, limit),
    suspend: async () => await suspendDomain(libvirt, domain, limit),
    resume: async () => await resumeDomain(rescue, domain, limit),
    readXml: async (kind) => await getDomainXml(libvirt, domain, XML_FLAGS[kind], limit),
    async beginBackup({ backupXml, checkpointXml }) {
      const request = { domain, backupXml, checkpointXml, flags: BACKUP_BEGIN_FLAG.reuseExternal };
      await beginBackup(libvirt, request, limit);
    },
    async abortBackup() {
      try {
        if ((await getJobInfo(libvirt, domain, limit)).type === 'none') return;
        await abortJob(libvirt, domain, limit);
      } catch (error) {
        if (!isAlreadyOver(error)) throw error;
      }
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
    async freezeFileSystems(timeoutMs) {
      await freezeFileSystems(libvirt, domain, [], { timeoutMs });
    },
    async thawFileSystems(timeoutMs) {
      await thawFileSystems(rescue, domain, [], { timeoutMs });
    },
    async watchMonitor(listener: (event: MonitorEvent) => void) {
      const connection = await libvirt.connection();
      const subscription = await connection.subscribe({ kind: 'monitor', domain }, (event) => {
        if (event.kind !== 'monitor') return;
        listener({ name: event.event, atMs: event.at.getTime(), details: event.details ?? '' });
      });
      return { stop: async () => await subscription.close() };
    },
  };
}
