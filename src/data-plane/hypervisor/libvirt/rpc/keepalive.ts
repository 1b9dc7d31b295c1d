import { formatPacket, MESSAGE_STATUS, MESSAGE_TYPE, type Packet } from './packet.ts';
import { KEEPALIVE, PROGRAM, PROTOCOL_VERSION } from './procedures.ts';

export interface KeepaliveSettings {
  readonly intervalMs: number;
  /** Pings in a row without any sign of life before the connection counts as dead. */
  readonly maxUnanswered: number;
}

function formatKeepalive(procedure: number): Uint8Array {
  const header = { program: PROGRAM.keepalive, version: PROTOCOL_VERSION, procedure };
  const kind = { type: MESSAGE_TYPE.event, serial: 0, status: MESSAGE_STATUS.ok };
  return formatPacket({ ...header, ...kind }, new Uint8Array(0));
}

export interface Keepalive {
  /** Any bytes from the peer prove that it lives. */
  noteTraffic(): void;
  accept(packet: Packet): void;
  stop(): void;
}

export function createKeepalive(
  settings: KeepaliveSettings,
  send: (packet: Uint8Array) => void,
  onDead: () => void,
): Keepalive {
  let unanswered = 0;
  const timer = setInterval(() => {
    if (unanswered >= settings.maxUnanswered) {
      onDead();
      return;
    }
    unanswered += 1;
    send(formatKeepalive(KEEPALIVE.ping));
  }, settings.intervalMs);
  timer.unref();
  return {
    noteTraffic() {
      unanswered = 0;
    },
    accept(packet) {
      if (packet.procedure === KEEPALIVE.ping) send(formatKeepalive(KEEPALIVE.pong));
    },
    stop: () => clearInterval(timer),
  };
}
