import { remoteCall } from './call-shapes.ts';
import type { CallOptions, CallShape } from './call-table.ts';
import type { LibvirtCaller } from './connection.ts';
import { REMOTE } from './procedures.ts';
import { type DomainRef, encodeDomain } from './wire-types.ts';

const MAX_FILE_SYSTEMS = 256;
const MAX_DISKS = 256;

export interface GuestFileSystem {
  readonly mountpoint: string;
  readonly name: string;
  readonly type: string;
  /** Disk targets below it. */
  readonly disks: readonly string[];
}

const fileSystemCall = (
  procedure: number,
  name: string,
  domain: DomainRef,
  mountpoints: readonly string[],
): CallShape<number> =>
  remoteCall(
    procedure,
    name,
    (encoder) => {
      encodeDomain(encoder, domain);
      encoder.array(mountpoints, (mountpoint) => encoder.string(mountpoint));
      encoder.uint32(0);
    },
    (decoder) => decoder.int32(),
  );

/** Returns how many file systems were frozen; without mountpoints, all are. */
export async function freezeFileSystems(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  mountpoints: readonly string[] = [],
  options?: CallOptions,
): Promise<number> {
  return await libvirt.call(
    fileSystemCall(REMOTE.domainFsFreeze, 'virDomainFSFreeze', domain, mountpoints),
    options,
  );
}

export async function thawFileSystems(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  mountpoints: readonly string[] = [],
  options?: CallOptions,
): Promise<number> {
  return await libvirt.call(
    fileSystemCall(REMOTE.domainFsThaw, 'virDomainFSThaw', domain, mountpoints),
    options,
  );
}

export async function getFileSystems(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  options?: CallOptions,
): Promise<GuestFileSystem[]> {
  const shape = remoteCall(
    REMOTE.domainGetFsInfo,
    'virDomainGetFSInfo',
    (encoder) => {
      encodeDomain(encoder, domain);
      encoder.uint32(0);
    },
    (decoder) => {
      const fileSystems = decoder.array(MAX_FILE_SYSTEMS, () => ({
        mountpoint: decoder.string(),
        name: decoder.string(),
        type: decoder.string(),
        disks: decoder.array(MAX_DISKS, () => decoder.string()),
      }));
      decoder.uint32();
      return fileSystems;
    },
  );
  return await libvirt.call(shape, options);
}
