import { hash } from 'node:crypto';
import { z } from 'zod';
import { OperationError } from '../../shared/errors.ts';
import { MIB } from '../../shared/byte-size.ts';
import type { BlobStorage } from '../blob-storage/blob-storage.ts';
import { canonicalJson, parseJson } from './canonical-json.ts';
import { keySlotSchema } from './key-slots.ts';
import {
  BLOCK_SIZE_MAX_BYTES,
  BLOCK_SIZE_MIN_BYTES,
  FRAME_SIZE_MAX_BYTES,
  PACK_SIZE_MAX_BYTES,
} from './layout.ts';

export const CONFIG_NAME = 'repository.json';
/** Losing the configuration would lose everything, so there are two. */
export const CONFIG_COPY_NAME = 'repository-copy.json';
export const FORMAT_VERSION = 1 as const;

const powerOfTwo = (low: number, high: number): z.ZodNumber =>
  z
    .int()
    .min(low)
    .max(high)
    .refine((value) => Number.isInteger(Math.log2(value)), 'not a power of two');

const blockLayoutSchema = z.strictObject({
  blockSizeBytes: powerOfTwo(BLOCK_SIZE_MIN_BYTES, BLOCK_SIZE_MAX_BYTES),
  leafEntries: z.int().min(1).max(1024),
});

const layoutSchema = z.strictObject({
  trees: z.strictObject({
    disk: blockLayoutSchema,
    memory: blockLayoutSchema,
    blob: blockLayoutSchema,
  }),
  fanOut: z.int().min(2).max(1024),
  frameSizeBytes: powerOfTwo(BLOCK_SIZE_MAX_BYTES, FRAME_SIZE_MAX_BYTES),
  packSizeBytes: z
    .int()
    .min(4096)
    .max(PACK_SIZE_MAX_BYTES / 2),
  compressionLevel: z.int().min(-7).max(19),
});

/** What the key vouches for: everything but the key slots themselves. */
const coreSchema = z.strictObject({
  format: z.literal('komadori-repository'),
  version: z.literal(FORMAT_VERSION),
  id: z.uuid(),
  createdAt: z.iso.datetime(),
  encrypted: z.boolean(),
  digest: z.enum(['sha256', 'sha256-prefix']),
  layout: layoutSchema,
  publicKey: z.base64().max(4096),
  /** The private key, sealed under the master key. */
  privateKey: z.base64().max(4096),
});

const configSchema = z.strictObject({
  ...coreSchema.shape,
  keySlots: z.array(keySlotSchema).min(1).max(16),
  check: z.string(),
});

export type ConfigCore = z.infer<typeof coreSchema>;
export type RepositoryConfig = z.infer<typeof configSchema>;

/** The master key in every slot is bound to these bytes, so a changed configuration opens nothing. */
export function boundBytes(core: Omit<ConfigCore, 'privateKey'>): Uint8Array {
  const { format, version, id, createdAt, encrypted, digest, layout, publicKey } = core;
  const bound = { format, version, id, createdAt, encrypted, digest, layout, publicKey };
  return Buffer.from(canonicalJson(bound));
}

export function encodeConfig(config: Omit<RepositoryConfig, 'check'>): Uint8Array {
  const check = hash('sha256', canonicalJson(config));
  return Buffer.from(`${JSON.stringify({ ...config, check }, null, 2)}\n`);
}

export function decodeConfig(bytes: Uint8Array): RepositoryConfig {
  const parsed = parseJson(bytes);
  const head = z.looseObject({ format: z.string(), version: z.int() }).safeParse(parsed);
  if (head.success && head.data.version > FORMAT_VERSION) {
    throw new OperationError(
      'repository_damaged',
      `The repository has format version ${head.data.version}; this Komadori reads version ${FORMAT_VERSION}. Use a newer one.`,
      { details: { formatVersion: head.data.version } },
    );
  }
  const result = configSchema.safeParse(parsed);
  if (result.success) {
    const { check, ...config } = result.data;
    if (check === hash('sha256', canonicalJson(config))) return result.data;
  }
  throw new OperationError(
    'repository_damaged',
    `The repository's configuration (${CONFIG_NAME}) is damaged.`,
  );
}

/** Reads the configuration, or its copy when it is missing or damaged. */
export async function readConfig(
  storage: BlobStorage,
): Promise<{ config: RepositoryConfig; usedCopy: boolean }> {
  try {
    return { config: decodeConfig(await getLimited(storage, CONFIG_NAME)), usedCopy: false };
  } catch (error) {
    if (!(error instanceof OperationError)) throw error;
    if (error.code !== 'not_found' && error.code !== 'repository_damaged') throw error;
    try {
      return { config: decodeConfig(await getLimited(storage, CONFIG_COPY_NAME)), usedCopy: true };
    } catch {
      // The first error tells what is wrong with the configuration itself.
      if (error.code === 'repository_damaged') throw error;
      throw new OperationError('repository_not_found', 'There is no repository in this storage.', {
        cause: error,
      });
    }
  }
}

async function getLimited(storage: BlobStorage, name: string): Promise<Uint8Array> {
  return await storage.get(name, { offset: 0, lengthBytes: MIB });
}
