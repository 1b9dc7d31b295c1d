import { createConnection as createSocket, type Socket } from 'node:net';
import { OperationError } from '../../../../shared/errors.ts';
import { type Logger, silentLogger } from '../../../../shared/logger.ts';
import { abortReason, throwIfAborted } from '../../../../shared/waiting.ts';
import type { CallOptions } from './call-table.ts';
import { createConnection, type LibvirtConnection } from './connection.ts';
import type { KeepaliveSettings } from './keepalive.ts';
import { AUTH_TYPE, FEATURE_PROGRAM_KEEPALIVE, PROGRAM, REMOTE } from './procedures.ts';

export const DEFAULT_SOCKET_PATH = '/run/libvirt/libvirt-sock';
const DEFAULT_URI = 'qemu:///system';
const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_KEEPALIVE: KeepaliveSettings = { intervalMs: 5000, maxUnanswered: 5 };
const MAX_AUTH_TYPES = 20;

export const CONNECT_FLAG = { readOnly: 1, noAliases: 2 } as const;

export interface ConnectOptions {
  readonly socketPath?: string;
  readonly uri?: string;
  /** Bits of CONNECT_FLAG. */
  readonly flags?: number;
  /** For connecting as a whole, and for each later call that names no other limit. */
  readonly timeoutMs?: number;
  readonly keepalive?: KeepaliveSettings;
  readonly logger?: Logger;
  readonly signal?: AbortSignal | undefined;
}

function explainSocketError(socketPath: string, error: NodeJS.ErrnoException): OperationError {
  if (error.code === 'EACCES' || error.code === 'EPERM') {
    return new OperationError(
      'permission_denied',
      `This user may not open libvirt's socket ${socketPath}; add it to the group that owns the socket (often "libvirt").`,
      { cause: error },
    );
  }
  return new OperationError(
    'hypervisor_unreachable',
    `libvirt's socket ${socketPath} cannot be reached (${error.code ?? error.message}); check that its daemon runs.`,
    { cause: error },
  );
}

function openSocket(socketPath: string, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createSocket({ path: socketPath });
    const settle = (act: () => void): void => {
      signal.removeEventListener('abort', onAbort);
      socket.off('error', onError);
      socket.off('connect', onConnect);
      act();
    };
    const onAbort = (): void =>
      settle(() => {
        socket.destroy();
        reject(abortReason(signal));
      });
    const onError = (error: NodeJS.ErrnoException): void =>
      settle(() => {
        socket.destroy();
        reject(explainSocketError(socketPath, error));
      });
    const onConnect = (): void => settle(() => resolve(socket));
    signal.addEventListener('abort', onAbort, { once: true });
    socket.on('error', onError);
    socket.on('connect', onConnect);
  });
}

async function authenticate(connection: LibvirtConnection, options: CallOptions): Promise<void> {
  const types = await connection.call(
    {
      program: PROGRAM.remote,
      procedure: REMOTE.authList,
      name: 'authentication (list)',
      decode: (decoder) => decoder.array(MAX_AUTH_TYPES, () => decoder.int32()),
    },
    options,
  );
  if (types.length === 0 || types.includes(AUTH_TYPE.none)) return;
  if (!types.includes(AUTH_TYPE.polkit)) {
    throw new OperationError(
      'permission_denied',
      'libvirt asks for SASL authentication on its socket, which Komadori does not do; set auth_unix_rw to "none" or "polkit" in its daemon\'s configuration.',
    );
  }
  const isComplete = await connection.call(
    {
      program: PROGRAM.remote,
      procedure: REMOTE.authPolkit,
      name: 'authentication (polkit)',
      decode: (decoder) => decoder.int32() !== 0,
    },
    options,
  );
  if (!isComplete) {
    throw new OperationError(
      'permission_denied',
      'polkit did not let this user manage libvirt; allow org.libvirt.unix.manage for it.',
    );
  }
}

async function openHypervisor(
  connection: LibvirtConnection,
  target: { uri: string; flags: number },
  options: CallOptions,
): Promise<void> {
  await connection.call(
    {
      program: PROGRAM.remote,
      procedure: REMOTE.connectOpen,
      name: 'virConnectOpen',
      encode(encoder) {
        encoder.optionalString(target.uri);
        encoder.uint32(target.flags);
      },
      decode: () => undefined,
    },
    options,
  );
  await connection.call(
    {
      program: PROGRAM.remote,
      procedure: REMOTE.connectSupportsFeature,
      name: 'virConnectSupportsFeature',
      encode: (encoder) => encoder.int32(FEATURE_PROGRAM_KEEPALIVE),
      decode: (decoder) => decoder.int32(),
    },
    options,
  );
}

/** Connects, authenticates and opens the hypervisor; on failure nothing stays open. */
export async function connectLibvirt(options: ConnectOptions = {}): Promise<LibvirtConnection> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  throwIfAborted(options.signal);
  const limit = AbortSignal.timeout(timeoutMs);
  const signal = options.signal ? AbortSignal.any([limit, options.signal]) : limit;
  const connection = createConnection({
    socket: await openSocket(options.socketPath ?? DEFAULT_SOCKET_PATH, signal),
    timeoutMs,
    keepalive: options.keepalive ?? DEFAULT_KEEPALIVE,
    logger: options.logger ?? silentLogger,
  });
  try {
    await authenticate(connection, { signal });
    const target = { uri: options.uri ?? DEFAULT_URI, flags: options.flags ?? 0 };
    await openHypervisor(connection, target, { signal });
    return connection;
  } catch (error) {
    connection.drop();
    throw error;
  }
}
