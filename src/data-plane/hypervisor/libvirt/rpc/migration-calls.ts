import { remoteCall } from './call-shapes.ts';
import type { CallOptions } from './call-table.ts';
import type { LibvirtCaller } from './connection.ts';
import { REMOTE } from './procedures.ts';
import {
  decodeDomain,
  type DomainRef,
  encodeTypedParams,
  type TypedParamInput,
} from './wire-types.ts';

const MAX_COOKIE_BYTES = 4 * 1024 * 1024;

export const MIGRATE_FLAG = {
  live: 1,
  peerToPeer: 2,
  tunnelled: 4,
  persistDestination: 8,
  undefineSource: 16,
  paused: 32,
  changeProtection: 256,
  unsafe: 512,
  offline: 1024,
  postcopy: 0x8000,
} as const;
export const MIGRATE_PARAM = {
  uri: 'migrate_uri',
  destinationName: 'destination_name',
  destinationXml: 'destination_xml',
  persistentXml: 'persistent_xml',
  bandwidth: 'bandwidth',
} as const;

interface MigrationRequest {
  readonly params: readonly TypedParamInput[];
  /** Never empty: libvirtd 9.0 to at least 11.3 crashes on a cookie without capabilities. */
  readonly cookie: Uint8Array;
  readonly flags: number;
}

/** Makes the destination's QEMU wait for a migration stream. */
export async function prepareMigration(
  libvirt: LibvirtCaller,
  request: MigrationRequest,
  options?: CallOptions,
): Promise<{ cookie: Uint8Array; uri: string | null }> {
  const shape = remoteCall(
    REMOTE.domainMigratePrepare3Params,
    'virDomainMigratePrepare3Params',
    (encoder) => {
      encodeTypedParams(encoder, request.params);
      encoder.opaque(request.cookie);
      encoder.uint32(request.flags);
    },
    (decoder) => ({ cookie: decoder.opaque(MAX_COOKIE_BYTES), uri: decoder.optionalString() }),
  );
  return await libvirt.call(shape, options);
}

/** Waits for the stream to end and lets the guest run; `isCancelled` kills it instead. */
export async function finishMigration(
  libvirt: LibvirtCaller,
  request: MigrationRequest & { readonly isCancelled: boolean },
  options?: CallOptions,
): Promise<{ domain: DomainRef; cookie: Uint8Array }> {
  const shape = remoteCall(
    REMOTE.domainMigrateFinish3Params,
    'virDomainMigrateFinish3Params',
    (encoder) => {
      encodeTypedParams(encoder, request.params);
      encoder.opaque(request.cookie);
      encoder.uint32(request.flags);
      encoder.int32(request.isCancelled ? 1 : 0);
    },
    (decoder) => ({ domain: decodeDomain(decoder), cookie: decoder.opaque(MAX_COOKIE_BYTES) }),
  );
  return await libvirt.call(shape, options);
}
