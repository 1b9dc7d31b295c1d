import { PROGRAM, QEMU, REMOTE } from './procedures.ts';
import { decodeDomain, decodeTypedParams, type DomainRef, type TypedParams } from './wire-types.ts';
import type { XdrDecoder } from './xdr.ts';

const MAX_EVENT_PARAMS = 2048;

const LIFECYCLE = [
  'defined',
  'undefined',
  'started',
  'suspended',
  'resumed',
  'stopped',
  'shutdown',
  'pm_suspended',
  'crashed',
] as const;
const BLOCK_JOB_TYPES = ['unknown', 'pull', 'copy', 'commit', 'active_commit', 'backup'] as const;
const BLOCK_JOB_STATUSES = ['completed', 'failed', 'canceled', 'ready'] as const;
const AGENT_STATES = ['unknown', 'connected', 'disconnected'] as const;
const METADATA_TYPES = ['description', 'title', 'element'] as const;

/** `detail` and `reason` numbers are those of libvirt-domain.h. */
export type LibvirtEvent =
  | {
      readonly kind: 'lifecycle';
      readonly domain: DomainRef;
      readonly event: (typeof LIFECYCLE)[number] | 'unknown';
      readonly detail: number;
    }
  | { readonly kind: 'reboot'; readonly domain: DomainRef }
  | {
      readonly kind: 'block_job';
      readonly domain: DomainRef;
      /** The target, e.g. `vda`. */
      readonly disk: string;
      readonly jobType: (typeof BLOCK_JOB_TYPES)[number];
      readonly status: (typeof BLOCK_JOB_STATUSES)[number] | 'unknown';
    }
  | { readonly kind: 'job_completed'; readonly domain: DomainRef; readonly params: TypedParams }
  | {
      readonly kind: 'agent_lifecycle';
      readonly domain: DomainRef;
      readonly state: (typeof AGENT_STATES)[number];
      readonly reason: number;
    }
  | {
      readonly kind: 'device_added' | 'device_removed';
      readonly domain: DomainRef;
      readonly alias: string;
    }
  | {
      readonly kind: 'metadata_change';
      readonly domain: DomainRef;
      readonly type: (typeof METADATA_TYPES)[number] | 'unknown';
      readonly uri: string | null;
    }
  | {
      readonly kind: 'monitor';
      readonly domain: DomainRef;
      /** QEMU's name, e.g. `STOP` or `MIGRATION`. */
      readonly event: string;
      readonly at: Date;
      /** JSON text as QEMU sent it. */
      readonly details: string | null;
    };

export type EventKind = LibvirtEvent['kind'];
export type EventOf<K extends EventKind> = LibvirtEvent & { readonly kind: K };

/** What to be told about; without `domain`, about every domain. */
export type EventSelection =
  | { readonly kind: Exclude<EventKind, 'monitor'>; readonly domain?: DomainRef }
  /** Without `event`, every QEMU event. */
  | { readonly kind: 'monitor'; readonly domain?: DomainRef; readonly event?: string };

interface EventShape {
  readonly program: number;
  readonly procedure: number;
  /** VIR_DOMAIN_EVENT_ID; null for QEMU monitor events, which register otherwise. */
  readonly eventId: number | null;
  readonly decode: (decoder: XdrDecoder) => LibvirtEvent;
}

const remoteEvent = (
  procedure: number,
  eventId: number,
  decode: (decoder: XdrDecoder, domain: DomainRef) => LibvirtEvent,
): EventShape => ({
  program: PROGRAM.remote,
  procedure,
  eventId,
  decode: (decoder) => decode(decoder, decodeDomain(decoder)),
});

/** Every message starts with the callback's number, which the hub reads. */
export const EVENT_SHAPES: Readonly<Record<EventKind, EventShape>> = {
  lifecycle: remoteEvent(REMOTE.eventLifecycle, 0, (decoder, domain) => ({
    kind: 'lifecycle',
    domain,
    event: LIFECYCLE[decoder.int32()] ?? 'unknown',
    detail: decoder.int32(),
  })),
  reboot: remoteEvent(REMOTE.eventReboot, 1, (_decoder, domain) => ({ kind: 'reboot', domain })),
  device_removed: remoteEvent(REMOTE.eventDeviceRemoved, 15, (decoder, domain) => ({
    kind: 'device_removed',
    domain,
    alias: decoder.string(),
  })),
  block_job: remoteEvent(REMOTE.eventBlockJob2, 16, (decoder, domain) => ({
    kind: 'block_job',
    domain,
    disk: decoder.string(),
    jobType: BLOCK_JOB_TYPES[decoder.int32()] ?? 'unknown',
    status: BLOCK_JOB_STATUSES[decoder.int32()] ?? 'unknown',
  })),
  agent_lifecycle: remoteEvent(REMOTE.eventAgentLifecycle, 18, (decoder, domain) => ({
    kind: 'agent_lifecycle',
    domain,
    state: AGENT_STATES[decoder.int32()] ?? 'unknown',
    reason: decoder.int32(),
  })),
  device_added: remoteEvent(REMOTE.eventDeviceAdded, 19, (decoder, domain) => ({
    kind: 'device_added',
    domain,
    alias: decoder.string(),
  })),
  job_completed: remoteEvent(REMOTE.eventJobCompleted, 21, (decoder, domain) => ({
    kind: 'job_completed',
    domain,
    params: decodeTypedParams(decoder, MAX_EVENT_PARAMS),
  })),
  metadata_change: remoteEvent(REMOTE.eventMetadataChange, 23, (decoder, domain) => ({
    kind: 'metadata_change',
    domain,
    type: METADATA_TYPES[decoder.int32()] ?? 'unknown',
    uri: decoder.optionalString(),
  })),
  monitor: {
    program: PROGRAM.qemu,
    procedure: QEMU.monitorEvent,
    eventId: null,
    decode(decoder) {
      const domain = decodeDomain(decoder);
      const event = decoder.string();
      const atMs = Number(decoder.int64()) * 1000 + Math.floor(decoder.uint32() / 1000);
      return {
        kind: 'monitor',
        domain,
        event,
        at: new Date(atMs),
        details: decoder.optionalString(),
      };
    },
  },
};
