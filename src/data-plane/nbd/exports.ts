/** What the server offers; `TreeReader` of the chunk repository fits once `readOnly` is added. */
export interface NbdExport {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** Fills the whole target, or rejects: what it leaves would be told to the client as content. */
  readInto(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void>;
  /** Data and zero ranges, in order, without gaps. */
  extents(offset: number, lengthBytes: number): Promise<readonly ExportExtent[]>;
  write?(offset: number, data: Uint8Array, signal?: AbortSignal): Promise<void>;
  /** Also serves TRIM. Without it, zeroes are written. */
  writeZeroes?(offset: number, lengthBytes: number, signal?: AbortSignal): Promise<void>;
  flush?(signal?: AbortSignal): Promise<void>;
}

export interface ExportExtent {
  readonly offset: number;
  readonly lengthBytes: number;
  readonly zero: boolean;
}

export interface NbdExportDirectory {
  /** Null when there is no such export. */
  open(name: string): Promise<NbdExport | null>;
  /** Names for clients that ask; a directory that should not tell gives none. */
  list(): Promise<readonly string[]>;
}

export interface NbdServerLimits {
  readonly maxClients: number;
  readonly maxRequestsInFlight: number;
  /** Per client, payload of requests and replies together. */
  readonly maxBytesInFlight: number;
  /** From the connection to the first request. */
  readonly handshakeTimeoutMs: number;
  /** Without any request; generous, because the client may be a running VM. */
  readonly idleTimeoutMs: number;
  /** For the rest of a message that has begun, and for a client to take a reply. */
  readonly stallTimeoutMs: number;
  readonly maxOptions: number;
}

export const DEFAULT_SERVER_LIMITS: NbdServerLimits = {
  maxClients: 32,
  maxRequestsInFlight: 16,
  maxBytesInFlight: 32 * 1024 * 1024,
  handshakeTimeoutMs: 15_000,
  idleTimeoutMs: 24 * 3600 * 1000,
  stallTimeoutMs: 60_000,
  maxOptions: 256,
};
