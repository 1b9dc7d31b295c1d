import type { CallOptions } from './call-table.ts';
import type { LibvirtCaller } from './connection.ts';
import { PROGRAM, QEMU } from './procedures.ts';
import { type DomainRef, encodeDomain } from './wire-types.ts';

export const MONITOR_COMMAND_FLAG = { qmp: 0, hmp: 1 } as const;
/** Special values of an agent command's timeout, in place of seconds. */
export const AGENT_TIMEOUT = { block: -2, default: -1, noWait: 0 } as const;

/**
 * Sends one QMP command (JSON text) through libvirt and returns QEMU's whole answer as JSON text.
 * A QMP error comes back as such an answer, not as an exception.
 */
export async function qemuMonitorCommand(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  command: string,
  options?: CallOptions & { flags?: number },
): Promise<string> {
  return await libvirt.call(
    {
      program: PROGRAM.qemu,
      procedure: QEMU.monitorCommand,
      name: 'virDomainQemuMonitorCommand',
      encode(encoder) {
        encodeDomain(encoder, domain);
        encoder.string(command);
        encoder.uint32(options?.flags ?? MONITOR_COMMAND_FLAG.qmp);
      },
      decode: (decoder) => decoder.string(),
    },
    options,
  );
}

/** `agentTimeoutSeconds` limits the guest's answer; it must be shorter than the call's own limit. */
export async function qemuAgentCommand(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  request: { command: string; agentTimeoutSeconds: number },
  options?: CallOptions,
): Promise<string | null> {
  return await libvirt.call(
    {
      program: PROGRAM.qemu,
      procedure: QEMU.agentCommand,
      name: 'virDomainQemuAgentCommand',
      encode(encoder) {
        encodeDomain(encoder, domain);
        encoder.string(request.command);
        encoder.int32(request.agentTimeoutSeconds);
        encoder.uint32(0);
      },
      decode: (decoder) => decoder.optionalString(),
    },
    options,
  );
}
