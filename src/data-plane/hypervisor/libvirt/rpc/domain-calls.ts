import {
  decodeText,
  domainCommand,
  domainFromText,
  domainQuery,
  remoteCall,
  remoteCommand,
} from './call-shapes.ts';
import type { CallOptions } from './call-table.ts';
import type { LibvirtCaller } from './connection.ts';
import { REMOTE } from './procedures.ts';
import { decodeDomain, type DomainRef, encodeDomain, encodeUuid } from './wire-types.ts';

const MAX_DOMAINS = 16_384;

export const LIST_DOMAINS_FLAG = { active: 1, inactive: 2, persistent: 4, transient: 8 } as const;
export const XML_FLAG = { secure: 1, inactive: 2, updateCpu: 4, migratable: 8 } as const;
export const CREATE_FLAG = {
  paused: 1,
  autodestroy: 2,
  bypassCache: 4,
  forceBoot: 8,
  validate: 16,
  resetNvram: 32,
} as const;
export const DEFINE_FLAG = { validate: 1 } as const;
export const UNDEFINE_FLAG = {
  managedSave: 1,
  snapshotsMetadata: 2,
  nvram: 4,
  keepNvram: 8,
  checkpointsMetadata: 16,
  tpm: 32,
  keepTpm: 64,
} as const;
export const DESTROY_FLAG = { graceful: 1, removeLogs: 2 } as const;

const DOMAIN_STATES = [
  'no_state',
  'running',
  'blocked',
  'paused',
  'shutting_down',
  'shut_off',
  'crashed',
  'pm_suspended',
] as const;
export type DomainState = (typeof DOMAIN_STATES)[number] | 'unknown';

/** Reasons of VIR_DOMAIN_PAUSED_*; the number means something else for each state. */
export const PAUSED_REASON = {
  unknown: 0,
  user: 1,
  migration: 2,
  save: 3,
  dump: 4,
  ioError: 5,
  watchdog: 6,
  fromSnapshot: 7,
  shuttingDown: 8,
  snapshot: 9,
  crashed: 10,
  startingUp: 11,
  postcopy: 12,
  postcopyFailed: 13,
  apiError: 14,
} as const;

export interface DomainInfo {
  readonly state: DomainState;
  readonly maxMemoryKib: number;
  readonly memoryKib: number;
  readonly vcpus: number;
  readonly cpuTimeNs: bigint;
}

const stateName = (state: number): DomainState => DOMAIN_STATES[state] ?? 'unknown';

export async function listAllDomains(
  libvirt: LibvirtCaller,
  flags = 0,
  options?: CallOptions,
): Promise<DomainRef[]> {
  const shape = remoteCall(
    REMOTE.connectListAllDomains,
    'virConnectListAllDomains',
    (encoder) => {
      encoder.int32(1);
      encoder.uint32(flags);
    },
    (decoder) => {
      const domains = decoder.array(MAX_DOMAINS, () => decodeDomain(decoder));
      decoder.uint32();
      return domains;
    },
  );
  return await libvirt.call(shape, options);
}

export async function lookupDomainByName(
  libvirt: LibvirtCaller,
  name: string,
  options?: CallOptions,
): Promise<DomainRef> {
  const shape = remoteCall(
    REMOTE.domainLookupByName,
    'virDomainLookupByName',
    (encoder) => encoder.string(name),
    decodeDomain,
  );
  return await libvirt.call(shape, options);
}

export async function lookupDomainByUuid(
  libvirt: LibvirtCaller,
  uuid: string,
  options?: CallOptions,
): Promise<DomainRef> {
  const shape = remoteCall(
    REMOTE.domainLookupByUuid,
    'virDomainLookupByUUID',
    (encoder) => encodeUuid(encoder, uuid),
    decodeDomain,
  );
  return await libvirt.call(shape, options);
}

/** `flags`: bits of XML_FLAG. With `secure` the text holds secrets: never log it. */
export async function getDomainXml(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  flags = 0,
  options?: CallOptions,
): Promise<string> {
  const target = { domain, flags };
  const shape = domainQuery(REMOTE.domainGetXmlDesc, 'virDomainGetXMLDesc', target, decodeText);
  return await libvirt.call(shape, options);
}

export async function getDomainState(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  options?: CallOptions,
): Promise<{ state: DomainState; reason: number }> {
  const target = { domain, flags: 0 };
  const shape = domainQuery(REMOTE.domainGetState, 'virDomainGetState', target, (decoder) => ({
    state: stateName(decoder.int32()),
    reason: decoder.int32(),
  }));
  return await libvirt.call(shape, options);
}

export async function getDomainInfo(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  options?: CallOptions,
): Promise<DomainInfo> {
  const shape = remoteCall(
    REMOTE.domainGetInfo,
    'virDomainGetInfo',
    (encoder) => encodeDomain(encoder, domain),
    (decoder) => ({
      state: stateName(decoder.uint32()),
      maxMemoryKib: decoder.safeUint64(),
      memoryKib: decoder.safeUint64(),
      vcpus: decoder.uint32(),
      cpuTimeNs: decoder.uint64(),
    }),
  );
  return await libvirt.call(shape, options);
}

export async function isDomainPersistent(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  options?: CallOptions,
): Promise<boolean> {
  const shape = remoteCall(
    REMOTE.domainIsPersistent,
    'virDomainIsPersistent',
    (encoder) => encodeDomain(encoder, domain),
    (decoder) => decoder.int32() !== 0,
  );
  return await libvirt.call(shape, options);
}

export async function defineDomain(
  libvirt: LibvirtCaller,
  xml: string,
  flags = 0,
  options?: CallOptions,
): Promise<DomainRef> {
  const shape = domainFromText(REMOTE.domainDefineXmlFlags, 'virDomainDefineXMLFlags', xml, flags);
  return await libvirt.call(shape, options);
}

export async function undefineDomain(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  flags = 0,
  options?: CallOptions,
): Promise<void> {
  const shape = domainCommand(REMOTE.domainUndefineFlags, 'virDomainUndefineFlags', domain, flags);
  await libvirt.call(shape, options);
}

/** Starts a defined domain; the answer carries its new id. */
export async function startDomain(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  flags = 0,
  options?: CallOptions,
): Promise<DomainRef> {
  const shape = domainQuery(
    REMOTE.domainCreateWithFlags,
    'virDomainCreateWithFlags',
    { domain, flags },
    decodeDomain,
  );
  return await libvirt.call(shape, options);
}

/** Starts a transient domain from its description. */
export async function createDomain(
  libvirt: LibvirtCaller,
  xml: string,
  flags = 0,
  options?: CallOptions,
): Promise<DomainRef> {
  const shape = domainFromText(REMOTE.domainCreateXml, 'virDomainCreateXML', xml, flags);
  return await libvirt.call(shape, options);
}

export async function destroyDomain(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  flags = 0,
  options?: CallOptions,
): Promise<void> {
  const shape = domainCommand(REMOTE.domainDestroyFlags, 'virDomainDestroyFlags', domain, flags);
  await libvirt.call(shape, options);
}

/** Asks the guest to shut down; returns when the request was made, not when it is off. */
export async function shutdownDomain(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  options?: CallOptions,
): Promise<void> {
  const shape = remoteCommand(REMOTE.domainShutdown, 'virDomainShutdown', (encoder) =>
    encodeDomain(encoder, domain),
  );
  await libvirt.call(shape, options);
}

export async function suspendDomain(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  options?: CallOptions,
): Promise<void> {
  const shape = remoteCommand(REMOTE.domainSuspend, 'virDomainSuspend', (encoder) =>
    encodeDomain(encoder, domain),
  );
  await libvirt.call(shape, options);
}

export async function resumeDomain(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  options?: CallOptions,
): Promise<void> {
  const shape = remoteCommand(REMOTE.domainResume, 'virDomainResume', (encoder) =>
    encodeDomain(encoder, domain),
  );
  await libvirt.call(shape, options);
}

export async function resetDomain(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  options?: CallOptions,
): Promise<void> {
  await libvirt.call(domainCommand(REMOTE.domainReset, 'virDomainReset', domain, 0), options);
}
