import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto';
import { StoredDataError } from './damage.ts';

export const SEAL_OVERHEAD_BYTES = 16;
const KEY_BYTES = 32;

export function deriveKey(secret: Uint8Array, salt: Uint8Array, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, salt, `komadori ${purpose} v1`, KEY_BYTES));
}

export interface SealOptions {
  readonly key: Uint8Array;
  /** 12 bytes, never used twice with one key. */
  readonly nonce: Uint8Array;
  readonly boundTo: Uint8Array;
}

/** AES-256-GCM: ciphertext, then the 16-byte tag; in the beginning of `target` when there is one. */
export function seal(
  plain: Uint8Array,
  { key, nonce, boundTo }: SealOptions,
  target?: Uint8Array,
): Uint8Array {
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(boundTo);
  const body = cipher.update(plain);
  cipher.final();
  const sealed = target ?? new Uint8Array(body.length + SEAL_OVERHEAD_BYTES);
  sealed.set(body);
  sealed.set(cipher.getAuthTag(), body.length);
  return sealed.subarray(0, body.length + SEAL_OVERHEAD_BYTES);
}

/** Throws StoredDataError when a byte was changed or the key is another one. */
export function unseal(sealed: Uint8Array, { key, nonce, boundTo }: SealOptions): Uint8Array {
  if (sealed.length < SEAL_OVERHEAD_BYTES) throw new StoredDataError('sealed data is too short');
  const bodyLength = sealed.length - SEAL_OVERHEAD_BYTES;
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, {
    authTagLength: SEAL_OVERHEAD_BYTES,
  });
  decipher.setAAD(boundTo);
  decipher.setAuthTag(sealed.subarray(bodyLength));
  const plain = decipher.update(sealed.subarray(0, bodyLength));
  try {
    decipher.final();
  } catch (error) {
    throw new StoredDataError('the seal is broken: bytes were changed', { cause: error });
  }
  return plain;
}

/** Sealing of what is inside one pack: a key of its own, numbered nonces. */
export function packSeal(packsKey: Uint8Array, packId: Uint8Array, number: number): SealOptions {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32BE(number, 8);
  return {
    key: packKeyOf(packsKey, packId),
    nonce,
    boundTo: Buffer.concat([packId, nonce]),
  };
}

let lastPackKey: { packsKey: Uint8Array; packId: Uint8Array; key: Uint8Array } | undefined;

/** Frames of one pack follow each other, so remembering one key saves nearly every derivation. */
function packKeyOf(packsKey: Uint8Array, packId: Uint8Array): Uint8Array {
  if (lastPackKey?.packsKey !== packsKey || Buffer.compare(lastPackKey.packId, packId) !== 0) {
    lastPackKey = { packsKey, packId: packId.slice(), key: deriveKey(packsKey, packId, 'pack') };
  }
  return lastPackKey.key;
}
