import { remoteCall } from './call-shapes.ts';
import type { CallOptions } from './call-table.ts';
import type { LibvirtCaller } from './connection.ts';
import { REMOTE } from './procedures.ts';

const MODEL_CHARACTERS = 32;

export interface NodeInfo {
  readonly model: string;
  readonly memoryKib: number;
  readonly cpus: number;
  readonly mhz: number;
  readonly numaNodes: number;
  readonly sockets: number;
  readonly cores: number;
  readonly threads: number;
}

const noArguments = (): undefined => undefined;

/** Versions are major * 1,000,000 + minor * 1,000 + release. */
export function formatLibvirtVersion(version: number): string {
  return `${Math.floor(version / 1_000_000)}.${Math.floor(version / 1000) % 1000}.${version % 1000}`;
}

export async function getLibVersion(
  libvirt: LibvirtCaller,
  options?: CallOptions,
): Promise<number> {
  const shape = remoteCall(
    REMOTE.connectGetLibVersion,
    'virConnectGetLibVersion',
    noArguments,
    (decoder) => decoder.safeUint64(),
  );
  return await libvirt.call(shape, options);
}

/** The hypervisor's own version, e.g. QEMU's. */
export async function getHypervisorVersion(
  libvirt: LibvirtCaller,
  options?: CallOptions,
): Promise<number> {
  const shape = remoteCall(
    REMOTE.connectGetVersion,
    'virConnectGetVersion',
    noArguments,
    (decoder) => decoder.safeUint64(),
  );
  return await libvirt.call(shape, options);
}

export async function getHostname(libvirt: LibvirtCaller, options?: CallOptions): Promise<string> {
  const shape = remoteCall(
    REMOTE.connectGetHostname,
    'virConnectGetHostname',
    noArguments,
    (decoder) => decoder.string(),
  );
  return await libvirt.call(shape, options);
}

export async function getCapabilities(
  libvirt: LibvirtCaller,
  options?: CallOptions,
): Promise<string> {
  const shape = remoteCall(
    REMOTE.connectGetCapabilities,
    'virConnectGetCapabilities',
    noArguments,
    (decoder) => decoder.string(),
  );
  return await libvirt.call(shape, options);
}

export async function getNodeInfo(
  libvirt: LibvirtCaller,
  options?: CallOptions,
): Promise<NodeInfo> {
  const shape = remoteCall(REMOTE.nodeGetInfo, 'virNodeGetInfo', noArguments, (decoder) => {
    // XDR spends four bytes on each character of a char array.
    const characters = Array.from({ length: MODEL_CHARACTERS }, () => decoder.uint32() & 0xff);
    const end = characters.indexOf(0);
    return {
      model: Buffer.from(end < 0 ? characters : characters.slice(0, end)).toString('utf8'),
      memoryKib: decoder.safeUint64(),
      cpus: decoder.int32(),
      mhz: decoder.int32(),
      numaNodes: decoder.int32(),
      sockets: decoder.int32(),
      cores: decoder.int32(),
      threads: decoder.int32(),
    };
  });
  return await libvirt.call(shape, options);
}

/** XML of what domains of this kind can have; null lets libvirt choose its default. */
export async function getDomainCapabilities(
  libvirt: LibvirtCaller,
  selection: {
    emulator?: string | null;
    arch?: string | null;
    machine?: string | null;
    virtType?: string | null;
  } = {},
  options?: CallOptions,
): Promise<string> {
  const shape = remoteCall(
    REMOTE.connectGetDomainCapabilities,
    'virConnectGetDomainCapabilities',
    (encoder) => {
      encoder.optionalString(selection.emulator ?? null);
      encoder.optionalString(selection.arch ?? null);
      encoder.optionalString(selection.machine ?? null);
      encoder.optionalString(selection.virtType ?? null);
      encoder.uint32(0);
    },
    (decoder) => decoder.string(),
  );
  return await libvirt.call(shape, options);
}
