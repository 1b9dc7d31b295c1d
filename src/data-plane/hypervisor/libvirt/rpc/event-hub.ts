import { describeThrown, OperationError } from '../../../../shared/errors.ts';
import type { Logger } from '../../../../shared/logger.ts';
import type { CallOptions, CallShape } from './call-table.ts';
import { EVENT_SHAPES, type EventSelection, type LibvirtEvent } from './events.ts';
import type { Packet } from './packet.ts';
import { PROGRAM, QEMU, REMOTE } from './procedures.ts';
import { encodeDomain } from './wire-types.ts';
import { createXdrDecoder, type XdrEncoder } from './xdr.ts';

const MAX_EARLY_EVENTS = 1024;

export interface EventSubscription {
  /** No more events after this returns. Never throws for a connection that is gone. */
  close(): Promise<void>;
}

export interface EventHub {
  /** The listener runs while packets are read: it must be quick. What it throws is logged. */
  subscribe(
    selection: EventSelection,
    listener: (event: LibvirtEvent) => void,
    options?: CallOptions,
  ): Promise<EventSubscription>;
  accept(packet: Packet): void;
}

type Call = <T>(shape: CallShape<T>, options?: CallOptions) => Promise<T>;

const SHAPES_BY_NUMBER = new Map(
  Object.values(EVENT_SHAPES).map((shape) => [`${shape.program}:${shape.procedure}`, shape]),
);

function encodeOptionalDomain(encoder: XdrEncoder, selection: EventSelection): void {
  encoder.bool(selection.domain !== undefined);
  if (selection.domain) encodeDomain(encoder, selection.domain);
}

function registration<T>(
  selection: EventSelection,
  onNumber: (callbackId: number) => T,
): CallShape<T> {
  const { program, eventId } = EVENT_SHAPES[selection.kind];
  if (selection.kind === 'monitor') {
    return {
      program,
      procedure: QEMU.monitorEventRegister,
      name: 'virConnectDomainQemuMonitorEventRegister',
      encode(encoder) {
        encodeOptionalDomain(encoder, selection);
        encoder.optionalString(selection.event ?? null);
        encoder.uint32(0);
      },
      decode: (decoder) => onNumber(decoder.int32()),
    };
  }
  return {
    program,
    procedure: REMOTE.eventCallbackRegisterAny,
    name: 'virConnectDomainEventRegisterAny',
    encode(encoder) {
      encoder.int32(eventId ?? 0);
      encodeOptionalDomain(encoder, selection);
    },
    decode: (decoder) => onNumber(decoder.int32()),
  };
}

const deregistration = (selection: EventSelection, callbackId: number): CallShape<undefined> => ({
  program: EVENT_SHAPES[selection.kind].program,
  procedure:
    selection.kind === 'monitor' ? QEMU.monitorEventDeregister : REMOTE.eventCallbackDeregisterAny,
  name: 'virConnectDomainEventDeregisterAny',
  encode: (encoder) => encoder.int32(callbackId),
  decode: () => undefined,
});

interface EarlyEvent {
  readonly key: string;
  readonly event: LibvirtEvent;
}

export function createEventHub(call: Call, logger: Logger): EventHub {
  const listeners = new Map<string, (event: LibvirtEvent) => void>();
  let early: EarlyEvent[] = [];
  let registering = 0;

  const tell = (listener: (event: LibvirtEvent) => void, event: LibvirtEvent): void => {
    try {
      listener(event);
    } catch (error) {
      logger.error({ err: error, kind: event.kind }, 'a libvirt event listener failed');
    }
  };
  // Runs inside the reply's decoding, so that no event can slip in between.
  const listen = (key: string, listener: (event: LibvirtEvent) => void): string => {
    listeners.set(key, listener);
    const waiting = early.filter((item) => item.key === key);
    early = early.filter((item) => item.key !== key);
    for (const item of waiting) tell(listener, item.event);
    return key;
  };

  return {
    async subscribe(selection, listener, options) {
      const { program, procedure } = EVENT_SHAPES[selection.kind];
      let callbackId = 0;
      let key = '';
      registering += 1;
      try {
        const shape = registration(selection, (number) => {
          callbackId = number;
          key = listen(`${program}:${procedure}:${number}`, listener);
        });
        await call(shape, options);
      } finally {
        registering -= 1;
        if (registering === 0) early = [];
      }
      return {
        async close() {
          if (!listeners.delete(key)) return;
          try {
            await call(deregistration(selection, callbackId));
          } catch (error) {
            // The daemon forgets registrations with the connection, and we ignore what it sends.
            logger.debug({ reason: describeThrown(error) }, 'event deregistration failed');
          }
        },
      };
    },
    accept(packet) {
      if (packet.program !== PROGRAM.remote && packet.program !== PROGRAM.qemu) {
        throw new OperationError(
          'protocol_error',
          `libvirt sent an event of the unknown program ${packet.program}.`,
        );
      }
      const shape = SHAPES_BY_NUMBER.get(`${packet.program}:${packet.procedure}`);
      if (!shape) return;
      const decoder = createXdrDecoder(packet.payload);
      const key = `${packet.program}:${packet.procedure}:${decoder.int32()}`;
      const event = shape.decode(decoder);
      decoder.finish();
      const listener = listeners.get(key);
      if (listener) tell(listener, event);
      else if (registering > 0 && early.length < MAX_EARLY_EVENTS) early.push({ key, event });
    },
  };
}
