import { OperationError } from '../../../../shared/errors.ts';
import { formatPacket, MESSAGE_STATUS, MESSAGE_TYPE, type Packet } from './packet.ts';
import { PROTOCOL_VERSION } from './procedures.ts';

/** Most bytes of stream data in one packet: what the oldest supported peer takes. */
export const MAX_STREAM_PACKET_BYTES = 262_120;

export interface StreamListener {
  onPacket(packet: Packet): void;
  onLost(error: OperationError): void;
}

/** Our end of one stream, after libvirt agreed to it. */
export interface StreamPort {
  sendData(bytes: Uint8Array): void;
  sendFinish(): void;
  /** Tells libvirt to stop; what it sent meanwhile is dropped. */
  abort(): void;
  /** Nothing more will come: the serial is free again. */
  release(): void;
}

export interface StreamTable {
  /** `listen` gets our end and answers with who takes the stream's packets. */
  open(
    serial: number,
    target: { readonly program: number; readonly procedure: number },
    listen: (port: StreamPort) => StreamListener,
  ): StreamPort;
  accept(packet: Packet): void;
  failAll(error: OperationError): void;
}

export function createStreamTable(send: (packet: Uint8Array) => void): StreamTable {
  const listeners = new Map<number, StreamListener>();

  return {
    open(serial, target, listen) {
      const sendStream = (status: number, bytes: Uint8Array): void => {
        const { program, procedure } = target;
        const header = { program, version: PROTOCOL_VERSION, procedure, serial };
        send(formatPacket({ ...header, type: MESSAGE_TYPE.stream, status }, bytes));
      };
      const nothing = new Uint8Array(0);
      const port: StreamPort = {
        sendData: (bytes) => sendStream(MESSAGE_STATUS.continue, bytes),
        sendFinish: () => sendStream(MESSAGE_STATUS.ok, nothing),
        abort() {
          sendStream(MESSAGE_STATUS.error, nothing);
          // Data already on its way still arrives; the stream ends with its own last packet.
          listeners.set(serial, {
            onPacket(packet) {
              if (packet.status !== MESSAGE_STATUS.continue) listeners.delete(serial);
            },
            onLost: () => undefined,
          });
        },
        release: () => listeners.delete(serial),
      };
      listeners.set(serial, listen(port));
      return port;
    },
    accept(packet) {
      const listener = listeners.get(packet.serial);
      if (!listener) {
        throw new OperationError(
          'protocol_error',
          `libvirt sent data for stream ${packet.serial}, which is not open.`,
        );
      }
      listener.onPacket(packet);
    },
    failAll(error) {
      const lost = [...listeners.values()];
      listeners.clear();
      for (const listener of lost) listener.onLost(error);
    },
  };
}
