import { remoteCall } from './call-shapes.ts';
import type { CallOptions } from './call-table.ts';
import type { LibvirtCaller } from './connection.ts';
import { REMOTE } from './procedures.ts';
import {
  decodeDomain,
  decodeTypedParams,
  type DomainRef,
  encodeDomain,
  type TypedParams,
} from './wire-types.ts';

const MAX_RECORDS = 262_144;
const MAX_PARAMS_PER_DOMAIN = 262_144;

export const STATS = {
  state: 1,
  cpuTotal: 2,
  balloon: 4,
  vcpu: 8,
  interface: 16,
  block: 32,
  perf: 64,
  ioThread: 128,
  memory: 256,
  dirtyRate: 512,
  vm: 1024,
} as const;
/** `noWait` skips what a busy domain cannot answer at once. */
export const STATS_FLAG = {
  active: 1,
  inactive: 2,
  persistent: 4,
  transient: 8,
  noWait: 0x2000_0000,
  backing: 0x4000_0000,
  enforceStats: 0x8000_0000,
} as const;

export interface DomainStats {
  readonly domain: DomainRef;
  /** Named as in virConnectGetAllDomainStats, e.g. `block.0.capacity`. */
  readonly params: TypedParams;
}

/** `stats`: bits of STATS, 0 for all; without `domains`, of every domain. */
export async function getAllDomainStats(
  libvirt: LibvirtCaller,
  request: { stats: number; flags?: number; domains?: readonly DomainRef[] },
  options?: CallOptions,
): Promise<DomainStats[]> {
  const shape = remoteCall(
    REMOTE.connectGetAllDomainStats,
    'virConnectGetAllDomainStats',
    (encoder) => {
      encoder.array(request.domains ?? [], (domain) => encodeDomain(encoder, domain));
      encoder.uint32(request.stats);
      encoder.uint32(request.flags ?? 0);
    },
    (decoder) =>
      decoder.array(MAX_RECORDS, () => ({
        domain: decodeDomain(decoder),
        params: decodeTypedParams(decoder, MAX_PARAMS_PER_DOMAIN),
      })),
  );
  return await libvirt.call(shape, options);
}
