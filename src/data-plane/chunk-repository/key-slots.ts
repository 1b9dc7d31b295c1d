import { argon2, hash, randomBytes } from 'node:crypto';
import { open, readFile, unlink } from 'node:fs/promises';
import { promisify } from 'node:util';
import { z } from 'zod';
import { describeThrown, OperationError } from '../../shared/errors.ts';
import { StoredDataError } from './damage.ts';
import { MASTER_KEY_BYTES, sealWithNonce, unsealWithNonce } from './repository-keys.ts';

/** How the caller gives the key of a repository. */
export type RepositoryKey =
  | { readonly kind: 'key-file'; readonly path: string }
  | { readonly kind: 'passphrase'; readonly passphrase: string }
  /** From a recovery sheet; opens a repository, cannot create one. */
  | { readonly kind: 'master-key'; readonly masterKey: Uint8Array };

const base64Schema = z.base64().max(4096);

export const keySlotSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('key-file'), wrapped: base64Schema }),
  z.strictObject({
    kind: z.literal('passphrase'),
    algorithm: z.literal('argon2id'),
    salt: base64Schema,
    // The limits keep a forged configuration from taking all memory or time.
    memoryKib: z.int().min(8).max(1_048_576),
    passes: z.int().min(1).max(16),
    parallelism: z.int().min(1).max(16),
    wrapped: base64Schema,
  }),
]);

export type KeySlot = z.infer<typeof keySlotSchema>;

const ARGON2_COST = { memoryKib: 64 * 1024, passes: 3, parallelism: 1 };
const SALT_BYTES = 16;
const KEY_FILE_PATTERN =
  /^komadori repository key, version 1\nrepository ([0-9a-f-]{36})\nkey ([0-9a-f]{64})\ncheck ([0-9a-f]{8})\n$/;

const argon2Async = promisify(argon2);

export interface KeyFile {
  readonly repositoryId: string;
  readonly key: Uint8Array;
}

/** Wraps the master key under a key file's key. `boundTo` is what the key vouches for. */
export function wrapForKeyFile(
  masterKey: Uint8Array,
  key: Uint8Array,
  boundTo: Uint8Array,
): KeySlot {
  const wrapped = sealWithNonce(masterKey, { key, boundTo });
  return { kind: 'key-file', wrapped: Buffer.from(wrapped).toString('base64') };
}

export async function wrapForPassphrase(
  masterKey: Uint8Array,
  passphrase: string,
  boundTo: Uint8Array,
): Promise<KeySlot> {
  const salt = randomBytes(SALT_BYTES);
  const key = await stretch(passphrase, { salt, ...ARGON2_COST });
  return {
    kind: 'passphrase',
    algorithm: 'argon2id',
    salt: salt.toString('base64'),
    ...ARGON2_COST,
    wrapped: Buffer.from(sealWithNonce(masterKey, { key, boundTo })).toString('base64'),
  };
}

/** The master key, from whichever slot the given key opens; throws `repository_key_wrong`. */
export async function unwrapMasterKey(
  key: RepositoryKey,
  repository: { id: string; keySlots: readonly KeySlot[]; boundTo: Uint8Array },
): Promise<Uint8Array> {
  if (key.kind === 'master-key') return key.masterKey;
  const file = key.kind === 'key-file' ? await readKeyFile(key.path) : null;
  if (file !== null && file.repositoryId !== repository.id) {
    throw wrongKey(`The key file is for repository ${file.repositoryId}, not ${repository.id}.`);
  }
  for (const slot of repository.keySlots) {
    let secret: Uint8Array | null = null;
    if (slot.kind === 'key-file') secret = file?.key ?? null;
    else if (key.kind === 'passphrase') {
      secret = await stretch(key.passphrase, { ...slot, salt: Buffer.from(slot.salt, 'base64') });
    }
    if (secret === null) continue;
    const opened = tryUnwrap(slot, secret, repository.boundTo);
    if (opened !== null) return opened;
  }
  throw wrongKey(
    key.kind === 'passphrase'
      ? 'The passphrase does not open this repository.'
      : `The key file ${key.path} does not open this repository.`,
  );
}

const wrongKey = (message: string): OperationError =>
  new OperationError(
    'repository_key_wrong',
    `${message} Use the right one, or the recovery sheet.`,
  );

function tryUnwrap(slot: KeySlot, key: Uint8Array, boundTo: Uint8Array): Uint8Array | null {
  try {
    const opened = unsealWithNonce(Buffer.from(slot.wrapped, 'base64'), { key, boundTo });
    return opened.length === MASTER_KEY_BYTES ? opened : null;
  } catch (error) {
    // Another slot may be the right one; the caller reports when none is.
    if (error instanceof StoredDataError) return null;
    throw error;
  }
}

async function stretch(
  passphrase: string,
  cost: { salt: Uint8Array; memoryKib: number; passes: number; parallelism: number },
): Promise<Uint8Array> {
  return await argon2Async('argon2id', {
    message: Buffer.from(passphrase.normalize('NFC')),
    nonce: cost.salt,
    memory: cost.memoryKib,
    passes: cost.passes,
    parallelism: cost.parallelism,
    tagLength: MASTER_KEY_BYTES,
  });
}

const keyCheck = (repositoryId: string, keyHex: string): string =>
  hash('sha256', `${repositoryId} ${keyHex}`).slice(0, 8);

/**
 * Makes the key file, durable and readable by its owner only. A file of a creation that was cut
 * off is taken up again by the caller, which reads it first.
 */
export async function writeKeyFile(path: string, { repositoryId, key }: KeyFile): Promise<void> {
  const keyHex = Buffer.from(key).toString('hex');
  const text = [
    'komadori repository key, version 1',
    `repository ${repositoryId}`,
    `key ${keyHex}`,
    `check ${keyCheck(repositoryId, keyHex)}`,
    '',
  ].join('\n');
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isErrno(error, 'EEXIST')) {
      throw new OperationError(
        'name_taken',
        `There is a file at ${path} already; the key needs a new one.`,
      );
    }
    throw new OperationError(
      'permission_denied',
      `The key file ${path} cannot be written: ${describeThrown(error)}`,
      {
        cause: error,
      },
    );
  }
}

export async function removeKeyFile(path: string): Promise<void> {
  await unlink(path);
}

/** Null when there is no file. */
export async function readKeyFileIfAny(path: string): Promise<KeyFile | null> {
  try {
    return await readKeyFile(path);
  } catch (error) {
    if (error instanceof OperationError && isErrno(error.cause, 'ENOENT')) return null;
    throw error;
  }
}

async function readKeyFile(path: string): Promise<KeyFile> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new OperationError(
      'repository_key_wrong',
      `The key file ${path} cannot be read: ${describeThrown(error)}`,
      { cause: error },
    );
  }
  const [, repositoryId, keyHex, check] = KEY_FILE_PATTERN.exec(text) ?? [];
  if (!repositoryId || !keyHex || check !== keyCheck(repositoryId, keyHex)) {
    throw new OperationError(
      'repository_key_wrong',
      `The file ${path} is not a key file, or it is damaged. Use a copy, or the recovery sheet.`,
    );
  }
  return { repositoryId, key: Buffer.from(keyHex, 'hex') };
}

const isErrno = (thrown: unknown, code: string): boolean =>
  thrown instanceof Error && 'code' in thrown && thrown.code === code;
