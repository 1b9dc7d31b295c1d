import { argon2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { createWorkQueue } from './work-queue.ts';

export interface Argon2Parameters {
  readonly memoryKib: number;
  readonly passes: number;
  readonly lanes: number;
}

/** The second of the equally strong choices for argon2id in OWASP's Password Storage Cheat Sheet. */
export const ARGON2_PARAMETERS: Argon2Parameters = { memoryKib: 19_456, passes: 2, lanes: 1 };

/** Stored hashes are input: a damaged one must not make the server take all memory there is. */
const LIMITS = { memoryKib: 1024 * 1024, passes: 64, lanes: 16 };
const SALT_BYTES = 16;
const TAG_BYTES = 32;
const HASH_PATTERN =
  /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/;
/** Each runs on one of Node's four pool threads, which file access needs too. */
const QUEUE_LIMITS = { atOnce: 2, waitingMax: 20 };

export interface PasswordHasher {
  /** The PHC string format, with its parameters. */
  hash(password: string): Promise<string>;
  /** Takes as long for no hash at all as for one that does not match. */
  verify(password: string, storedHash: string | null): Promise<PasswordCheck>;
}

export interface PasswordCheck {
  readonly matches: boolean;
  /** Made with other parameters than one would take today. */
  readonly isOutdated: boolean;
}

interface StoredHash extends Argon2Parameters {
  readonly salt: Buffer;
  readonly tag: Buffer;
}

const derive = promisify(argon2);

export function createPasswordHasher(
  parameters: Argon2Parameters = ARGON2_PARAMETERS,
  limits: { atOnce: number; waitingMax: number } = QUEUE_LIMITS,
): PasswordHasher {
  const enqueue = createWorkQueue(limits);
  const compute = async (password: string, options: StoredHash): Promise<Buffer> =>
    await enqueue(
      async () =>
        await derive('argon2id', {
          message: normalizePassword(password),
          nonce: options.salt,
          parallelism: options.lanes,
          tagLength: options.tag.length,
          memory: options.memoryKib,
          passes: options.passes,
        }),
    );
  const fresh = (): StoredHash => ({
    ...parameters,
    salt: randomBytes(SALT_BYTES),
    tag: Buffer.alloc(TAG_BYTES),
  });
  return {
    hash: async (password) => {
      const options = fresh();
      return formatHash({ ...options, tag: await compute(password, options) });
    },
    verify: async (password, storedHash) => {
      const stored = storedHash === null ? undefined : parseHash(storedHash);
      const tag = await compute(password, stored ?? fresh());
      if (!stored) return { matches: false, isOutdated: false };
      return {
        matches: timingSafeEqual(tag, stored.tag),
        isOutdated:
          stored.memoryKib !== parameters.memoryKib ||
          stored.passes !== parameters.passes ||
          stored.lanes !== parameters.lanes ||
          stored.tag.length !== TAG_BYTES,
      };
    },
  };
}

/** The same password, however a keyboard or an input method composed it. */
export const normalizePassword = (password: string): string => password.normalize('NFKC');

function formatHash(hash: StoredHash): string {
  const base64 = (bytes: Buffer): string => bytes.toString('base64').replace(/=+$/, '');
  const { memoryKib, passes, lanes } = hash;
  return `$argon2id$v=19$m=${memoryKib},t=${passes},p=${lanes}$${base64(hash.salt)}$${base64(hash.tag)}`;
}

/** Undefined for what no version of this product wrote: nothing matches it. */
export function parseHash(text: string): StoredHash | undefined {
  const [, memory, passes, lanes, salt = '', tag = ''] = HASH_PATTERN.exec(text) ?? [];
  if (memory === undefined) return undefined;
  const parsed = {
    memoryKib: Number(memory),
    passes: Number(passes),
    lanes: Number(lanes),
    salt: Buffer.from(salt, 'base64'),
    tag: Buffer.from(tag, 'base64'),
  };
  const isSound =
    parsed.memoryKib <= LIMITS.memoryKib &&
    parsed.passes >= 1 &&
    parsed.passes <= LIMITS.passes &&
    parsed.lanes >= 1 &&
    parsed.lanes <= LIMITS.lanes &&
    parsed.memoryKib >= 8 * parsed.lanes;
  return isSound ? parsed : undefined;
}
