import { remoteCall, remoteCommand } from './call-shapes.ts';
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

const MAX_CHECKPOINTS = 16_384;

export type CheckpointRef = DomainChildRef;

export const CHECKPOINT_CREATE_FLAG = { redefine: 1, quiesce: 2, redefineValidate: 4 } as const;
export const CHECKPOINT_XML_FLAG = { secure: 1, noDomain: 2, size: 4 } as const;
export const CHECKPOINT_LIST_FLAG = { roots: 1, topological: 2, leaves: 4, noLeaves: 8 } as const;
export const CHECKPOINT_DELETE_FLAG = { children: 1, metadataOnly: 2, childrenOnly: 4 } as const;

export async function createCheckpoint(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  request: { xml: string; flags?: number },
  options?: CallOptions,
): Promise<CheckpointRef> {
  const shape = remoteCall(
    REMOTE.domainCheckpointCreateXml,
    'virDomainCheckpointCreateXML',
    (encoder) => {
      encodeDomain(encoder, domain);
      encoder.string(request.xml);
      encoder.uint32(request.flags ?? 0);
    },
    decodeDomainChild,
  );
  return await libvirt.call(shape, options);
}

export async function getCheckpointXml(
  libvirt: LibvirtCaller,
  checkpoint: CheckpointRef,
  flags = 0,
  options?: CallOptions,
): Promise<string> {
  const shape = remoteCall(
    REMOTE.domainCheckpointGetXmlDesc,
    'virDomainCheckpointGetXMLDesc',
    (encoder) => {
      encodeDomainChild(encoder, checkpoint);
      encoder.uint32(flags);
    },
    (decoder) => decoder.string(),
  );
  return await libvirt.call(shape, options);
}

export async function listCheckpoints(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  flags = 0,
  options?: CallOptions,
): Promise<CheckpointRef[]> {
  const shape = remoteCall(
    REMOTE.domainListAllCheckpoints,
    'virDomainListAllCheckpoints',
    (encoder) => {
      encodeDomain(encoder, domain);
      encoder.int32(1);
      encoder.uint32(flags);
    },
    (decoder) => {
      const checkpoints = decoder.array(MAX_CHECKPOINTS, () => decodeDomainChild(decoder));
      decoder.int32();
      return checkpoints;
    },
  );
  return await libvirt.call(shape, options);
}

/** Throws `not_found`. */
export async function lookupCheckpoint(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  name: string,
  options?: CallOptions,
): Promise<CheckpointRef> {
  const shape = remoteCall(
    REMOTE.domainCheckpointLookupByName,
    'virDomainCheckpointLookupByName',
    (encoder) => {
      encodeDomain(encoder, domain);
      encoder.string(name);
      encoder.uint32(0);
    },
    decodeDomainChild,
  );
  return await libvirt.call(shape, options);
}

export async function deleteCheckpoint(
  libvirt: LibvirtCaller,
  checkpoint: CheckpointRef,
  flags = 0,
  options?: CallOptions,
): Promise<void> {
  const shape = remoteCommand(
    REMOTE.domainCheckpointDelete,
    'virDomainCheckpointDelete',
    (encoder) => {
      encodeDomainChild(encoder, checkpoint);
      encoder.uint32(flags);
    },
  );
  await libvirt.call(shape, options);
}
