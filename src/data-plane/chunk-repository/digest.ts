import { createHmac, createSecretKey, hash } from 'node:crypto';

export const DIGEST_BYTES = 32;

/**
 * Names of chunks and of tree nodes. Nodes have their own keyed function, so that no block a guest
 * can write has the name of a node.
 */
export interface Digester {
  chunk(block: Uint8Array): Uint8Array;
  node(encoded: Uint8Array): Uint8Array;
}

export interface DigestKeys {
  /** Null: chunks are named by plain SHA-256. */
  readonly chunk: Uint8Array | null;
  readonly node: Uint8Array;
}

export function createDigester(keys: DigestKeys): Digester {
  const keyed = (key: Uint8Array): ((bytes: Uint8Array) => Uint8Array) => {
    const secret = createSecretKey(key);
    return (bytes) => createHmac('sha256', secret).update(bytes).digest();
  };
  return {
    chunk: keys.chunk === null ? (block) => hash('sha256', block, 'buffer') : keyed(keys.chunk),
    node: keyed(keys.node),
  };
}

/** A digest as a map key: one latin1 character per byte is the cheapest string there is. */
export function digestKey(digest: Uint8Array): string {
  return Buffer.from(digest.buffer, digest.byteOffset, digest.byteLength).toString('latin1');
}

export const digestHex = (digest: Uint8Array): string =>
  Buffer.from(digest.buffer, digest.byteOffset, digest.byteLength).toString('hex');

export const digestFromHex = (hex: string): Uint8Array => Buffer.from(hex, 'hex');

export function isZeroDigest(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte !== 0) return false;
  return true;
}
