import { remoteCall, remoteCommand } from './call-shapes.ts';
import type { CallOptions, CallShape } from './call-table.ts';
import type { LibvirtCaller } from './connection.ts';
import { REMOTE } from './procedures.ts';
import { type DomainRef, encodeDomain } from './wire-types.ts';

export const DEVICE_FLAG = { live: 1, config: 2, force: 4 } as const;
export const METADATA_TYPE = { description: 0, title: 1, element: 2 } as const;
export const AFFECT_FLAG = { current: 0, live: 1, config: 2 } as const;

export interface BlockInfo {
  /** Bytes used on the host, as far as the format tells. */
  readonly allocationBytes: number;
  /** What the guest sees. */
  readonly capacityBytes: number;
  readonly physicalBytes: number;
}

const deviceCommand = (
  procedure: number,
  name: string,
  change: { domain: DomainRef; xml: string; flags: number },
): CallShape<undefined> =>
  remoteCommand(procedure, name, (encoder) => {
    encodeDomain(encoder, change.domain);
    encoder.string(change.xml);
    encoder.uint32(change.flags);
  });

export async function attachDevice(
  libvirt: LibvirtCaller,
  change: { domain: DomainRef; xml: string; flags: number },
  options?: CallOptions,
): Promise<void> {
  await libvirt.call(
    deviceCommand(REMOTE.domainAttachDeviceFlags, 'virDomainAttachDeviceFlags', change),
    options,
  );
}

/** For guests that must agree, the device is gone only at the `device_removed` event. */
export async function detachDevice(
  libvirt: LibvirtCaller,
  change: { domain: DomainRef; xml: string; flags: number },
  options?: CallOptions,
): Promise<void> {
  await libvirt.call(
    deviceCommand(REMOTE.domainDetachDeviceFlags, 'virDomainDetachDeviceFlags', change),
    options,
  );
}

/** Also sets an interface's link: its XML with `<link state='down'/>`. */
export async function updateDevice(
  libvirt: LibvirtCaller,
  change: { domain: DomainRef; xml: string; flags: number },
  options?: CallOptions,
): Promise<void> {
  await libvirt.call(
    deviceCommand(REMOTE.domainUpdateDeviceFlags, 'virDomainUpdateDeviceFlags', change),
    options,
  );
}

/** `disk` is a target such as `vda` or a source path. */
export async function getBlockInfo(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  disk: string,
  options?: CallOptions,
): Promise<BlockInfo> {
  const shape = remoteCall(
    REMOTE.domainGetBlockInfo,
    'virDomainGetBlockInfo',
    (encoder) => {
      encodeDomain(encoder, domain);
      encoder.string(disk);
      encoder.uint32(0);
    },
    (decoder) => ({
      allocationBytes: decoder.safeUint64(),
      capacityBytes: decoder.safeUint64(),
      physicalBytes: decoder.safeUint64(),
    }),
  );
  return await libvirt.call(shape, options);
}

export interface MetadataChange {
  readonly domain: DomainRef;
  /** One of METADATA_TYPE. */
  readonly type: number;
  /** null removes it. */
  readonly metadata: string | null;
  /** Name-space prefix and URI; only for elements. */
  readonly key?: string;
  readonly uri?: string;
  /** Bits of AFFECT_FLAG. */
  readonly flags: number;
}

export async function setDomainMetadata(
  libvirt: LibvirtCaller,
  change: MetadataChange,
  options?: CallOptions,
): Promise<void> {
  const shape = remoteCommand(REMOTE.domainSetMetadata, 'virDomainSetMetadata', (encoder) => {
    encodeDomain(encoder, change.domain);
    encoder.int32(change.type);
    encoder.optionalString(change.metadata);
    encoder.optionalString(change.key ?? null);
    encoder.optionalString(change.uri ?? null);
    encoder.uint32(change.flags);
  });
  await libvirt.call(shape, options);
}

/** Throws `not_found` where there is none. */
export async function getDomainMetadata(
  libvirt: LibvirtCaller,
  query: { domain: DomainRef; type: number; uri?: string; flags: number },
  options?: CallOptions,
): Promise<string> {
  const shape = remoteCall(
    REMOTE.domainGetMetadata,
    'virDomainGetMetadata',
    (encoder) => {
      encodeDomain(encoder, query.domain);
      encoder.int32(query.type);
      encoder.optionalString(query.uri ?? null);
      encoder.uint32(query.flags);
    },
    (decoder) => decoder.string(),
  );
  return await libvirt.call(shape, options);
}
