import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createPacketReader,
  formatPacket,
  MESSAGE_STATUS,
  MESSAGE_TYPE,
  type Packet,
} from './packet.ts';
import { KEEPALIVE, PROGRAM, PROTOCOL_VERSION, REMOTE } from './procedures.ts';

/** For tests: bytes from hexadecimal text; everything from # to the end of a line is a comment. */
export function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/#.*$/gm, '').replaceAll(/\s/g, ''), 'hex');
}

export interface FakePeer {
  send(bytes: Uint8Array): void;
  reply(call: Packet, payload?: Uint8Array, status?: number): void;
  event(program: number, procedure: number, payload: Uint8Array): void;
  drop(): void;
}

export interface FakeDaemon {
  readonly socketPath: string;
  readonly connections: () => number;
  close(): Promise<void>;
}

export interface FakeBehaviour {
  /** Gets every call after the handshake, and stream packets. */
  readonly onPacket: (packet: Packet, peer: FakePeer) => void;
  readonly answersPings?: boolean;
  readonly authTypes?: readonly number[];
}

function createPeer(socket: Socket): FakePeer {
  const nothing = new Uint8Array(0);
  return {
    send: (bytes) => socket.write(bytes),
    reply(call, payload = nothing, status = MESSAGE_STATUS.ok) {
      socket.write(formatPacket({ ...call, type: MESSAGE_TYPE.reply, status }, payload));
    },
    event(program, procedure, payload) {
      const header = { program, version: PROTOCOL_VERSION, procedure, serial: 0 };
      const kind = { type: MESSAGE_TYPE.event, status: MESSAGE_STATUS.ok };
      socket.write(formatPacket({ ...header, ...kind }, payload));
    },
    drop: () => socket.destroy(),
  };
}

function answerHandshake(packet: Packet, peer: FakePeer, behaviour: FakeBehaviour): boolean {
  if (packet.type !== MESSAGE_TYPE.call || packet.program !== PROGRAM.remote) return false;
  if (packet.procedure === REMOTE.authList) {
    const types = behaviour.authTypes ?? [0];
    const payload = Buffer.alloc(4 + 4 * types.length);
    payload.writeUInt32BE(types.length, 0);
    types.forEach((type, index) => payload.writeUInt32BE(type, 4 + 4 * index));
    peer.reply(packet, payload);
    return true;
  }
  if (packet.procedure === REMOTE.connectOpen || packet.procedure === REMOTE.connectClose) {
    peer.reply(packet);
    return true;
  }
  if (
    packet.procedure === REMOTE.connectSupportsFeature ||
    packet.procedure === REMOTE.authPolkit
  ) {
    peer.reply(packet, hex('00000001'));
    return true;
  }
  return false;
}

function serve(socket: Socket, behaviour: FakeBehaviour): void {
  const peer = createPeer(socket);
  const reader = createPacketReader((packet) => {
    if (packet.program === PROGRAM.keepalive && packet.procedure === KEEPALIVE.ping) {
      if (behaviour.answersPings !== false) {
        peer.event(PROGRAM.keepalive, KEEPALIVE.pong, new Uint8Array(0));
      }
      return;
    }
    if (!answerHandshake(packet, peer, behaviour)) behaviour.onPacket(packet, peer);
  });
  socket.on('data', (chunk: Buffer) => reader.push(chunk));
  // A client that hangs up is part of what tests do.
  socket.on('error', () => socket.destroy());
}

function stop(server: Server, sockets: ReadonlySet<Socket>): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    for (const socket of sockets) socket.destroy();
  });
}

/** For tests: listens like libvirtd, lets clients in, and leaves the rest to `behaviour`. */
export async function startFakeDaemon(behaviour: FakeBehaviour): Promise<FakeDaemon> {
  const folder = await mkdtemp(join(tmpdir(), 'komadori-rpc-'));
  const socketPath = join(folder, 'sock');
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    serve(socket, behaviour);
  });
  await new Promise<void>((resolve) => {
    server.listen(socketPath, resolve);
  });
  return {
    socketPath,
    connections: () => connections,
    async close() {
      await stop(server, sockets);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
