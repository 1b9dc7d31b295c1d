import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { parseUuid } from '../../shared/ids.ts';
import type { DigestKeys } from './digest.ts';
import { deriveKey, seal, type SealOptions, unseal } from './sealing.ts';

export const MASTER_KEY_BYTES = 32;
const NONCE_BYTES = 12;

/** Everything that follows from the master key. */
export interface RepositoryKeys {
  readonly digestKeys: DigestKeys;
  /** Null when the repository is not encrypted, as is the next. */
  readonly packsKey: Uint8Array | null;
  readonly manifestsKey: Uint8Array | null;
}

/** Fixed and public: it only keeps names of nodes apart from names of blocks. */
const PUBLIC_NODE_KEY = Buffer.from('komadori tree node v1');

export function deriveRepositoryKeys(
  masterKey: Uint8Array,
  repositoryId: string,
  encrypted: boolean,
): RepositoryKeys {
  if (!encrypted) {
    const digestKeys = { chunk: null, node: PUBLIC_NODE_KEY };
    return { digestKeys, packsKey: null, manifestsKey: null };
  }
  const derive = (purpose: string): Uint8Array =>
    deriveKey(masterKey, parseUuid(repositoryId), purpose);
  return {
    digestKeys: { chunk: derive('chunk digests'), node: derive('node digests') },
    packsKey: derive('packs'),
    manifestsKey: derive('manifests'),
  };
}

export interface SigningKeys {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

export function makeSigningKeys(): { publicDer: Uint8Array; privateDer: Uint8Array } {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  return {
    publicDer: publicKey.export({ type: 'spki', format: 'der' }),
    privateDer: privateKey.export({ type: 'pkcs8', format: 'der' }),
  };
}

export function readSigningKeys(publicDer: Uint8Array, privateDer: Uint8Array): SigningKeys {
  return {
    publicKey: createPublicKey({ key: Buffer.from(publicDer), format: 'der', type: 'spki' }),
    privateKey: createPrivateKey({ key: Buffer.from(privateDer), format: 'der', type: 'pkcs8' }),
  };
}

/** A nonce of 12 random bytes, then the sealed bytes: for the few things that are sealed one by one. */
export function sealWithNonce(plain: Uint8Array, options: Omit<SealOptions, 'nonce'>): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES);
  return Buffer.concat([nonce, seal(plain, { ...options, nonce })]);
}

/** Throws StoredDataError. */
export function unsealWithNonce(
  sealed: Uint8Array,
  options: Omit<SealOptions, 'nonce'>,
): Uint8Array {
  const nonce = sealed.subarray(0, NONCE_BYTES);
  if (nonce.length < NONCE_BYTES) return unseal(new Uint8Array(), { ...options, nonce });
  return unseal(sealed.subarray(NONCE_BYTES), { ...options, nonce });
}
