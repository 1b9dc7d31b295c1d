import { domainQuery, remoteCall, remoteCommand } from './call-shapes.ts';
import type { CallOptions } from './call-table.ts';
import type { LibvirtCaller } from './connection.ts';
import { REMOTE } from './procedures.ts';
import {
  decodeDomainChild,
  type DomainChildRef,
  type DomainRef,
  encodeDomain,
  encodeDomainChild,
} from './wire-types.ts';

const MAX_SNAPSHOTS = 16_384;

export type HypervisorSnapshotRef = DomainChildRef;

export const SNAPSHOT_CREATE_FLAG = {
  redefine: 1,
  current: 2,
  noMetadata: 4,
  halt: 8,
  diskOnly: 16,
  reuseExternal: 32,
  quiesce: 64,
  atomic: 128,
  live: 256,
  validate: 512,
} as const;
export const SNAPSHOT_LIST_FLAG = {
  roots: 1,
  metadata: 2,
  leaves: 4,
  noLeaves: 8,
  noMetadata: 16,
  inactive: 32,
  active: 64,
  diskOnly: 128,
  internal: 256,
  external: 512,
  topological: 1024,
} as const;
export const SNAPSHOT_DELETE_FLAG = { children: 1, metadataOnly: 2, childrenOnly: 4 } as const;
export const SNAPSHOT_REVERT_FLAG = { running: 1, paused: 2, force: 4, resetNvram: 8 } as const;

export async function listHypervisorSnapshots(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  flags = 0,
  options?: CallOptions,
): Promise<HypervisorSnapshotRef[]> {
  const shape = remoteCall(
    REMOTE.domainListAllSnapshots,
    'virDomainListAllSnapshots',
    (encoder) => {
      encodeDomain(encoder, domain);
      encoder.int32(1);
      encoder.uint32(flags);
    },
    (decoder) => {
      const snapshots = decoder.array(MAX_SNAPSHOTS, () => decodeDomainChild(decoder));
      decoder.int32();
      return snapshots;
    },
  );
  return await libvirt.call(shape, options);
}

export async function countHypervisorSnapshots(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  flags = 0,
  options?: CallOptions,
): Promise<number> {
  const shape = domainQuery(
    REMOTE.domainSnapshotNum,
    'virDomainSnapshotNum',
    { domain, flags },
    (decoder) => decoder.int32(),
  );
  return await libvirt.call(shape, options);
}

/** Throws `not_found`. */
export async function lookupHypervisorSnapshot(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  name: string,
  options?: CallOptions,
): Promise<HypervisorSnapshotRef> {
  const shape = remoteCall(
    REMOTE.domainSnapshotLookupByName,
    'virDomainSnapshotLookupByName',
    (encoder) => {
      encodeDomain(encoder, domain);
      encoder.string(name);
      encoder.uint32(0);
    },
    decodeDomainChild,
  );
  return await libvirt.call(shape, options);
}

export async function createHypervisorSnapshot(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  request: { xml: string; flags?: number },
  options?: CallOptions,
): Promise<HypervisorSnapshotRef> {
  const shape = remoteCall(
    REMOTE.domainSnapshotCreateXml,
    'virDomainSnapshotCreateXML',
    (encoder) => {
      encodeDomain(encoder, domain);
      encoder.string(request.xml);
      encoder.uint32(request.flags ?? 0);
    },
    decodeDomainChild,
  );
  return await libvirt.call(shape, options);
}

export async function getHypervisorSnapshotXml(
  libvirt: LibvirtCaller,
  snapshot: HypervisorSnapshotRef,
  flags = 0,
  options?: CallOptions,
): Promise<string> {
  const shape = remoteCall(
    REMOTE.domainSnapshotGetXmlDesc,
    'virDomainSnapshotGetXMLDesc',
    (encoder) => {
      encodeDomainChild(encoder, snapshot);
      encoder.uint32(flags);
    },
    (decoder) => decoder.string(),
  );
  return await libvirt.call(shape, options);
}

export async function revertToHypervisorSnapshot(
  libvirt: LibvirtCaller,
  snapshot: HypervisorSnapshotRef,
  flags = 0,
  options?: CallOptions,
): Promise<void> {
  const shape = remoteCommand(
    REMOTE.domainRevertToSnapshot,
    'virDomainRevertToSnapshot',
    (encoder) => {
      encodeDomainChild(encoder, snapshot);
      encoder.uint32(flags);
    },
  );
  await libvirt.call(shape, options);
}

export async function deleteHypervisorSnapshot(
  libvirt: LibvirtCaller,
  snapshot: HypervisorSnapshotRef,
  flags = 0,
  options?: CallOptions,
): Promise<void> {
  const shape = remoteCommand(REMOTE.domainSnapshotDelete, 'virDomainSnapshotDelete', (encoder) => {
    encodeDomainChild(encoder, snapshot);
    encoder.uint32(flags);
  });
  await libvirt.call(shape, options);
}
