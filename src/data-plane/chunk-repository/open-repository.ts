import { randomBytes, randomUUID } from 'node:crypto';
import { type Clock, systemClock } from '../../shared/clock.ts';
import { OperationError } from '../../shared/errors.ts';
import { type Logger, silentLogger } from '../../shared/logger.ts';
import type { BlobStorage } from '../blob-storage/blob-storage.ts';
import { openChunkIndex } from './chunk-index.ts';
import { createChunkSource } from './chunk-source.ts';
import { collectGarbage } from './collect.ts';
import { compareTrees } from './compare-trees.ts';
import { createComputePool } from './compute-pool.ts';
import { createDigester } from './digest.ts';
import { createFrameCache } from './frame-cache.ts';
import { syncIndex } from './index-sync.ts';
import {
  readKeyFileIfAny,
  removeKeyFile,
  type RepositoryKey,
  unwrapMasterKey,
  wrapForKeyFile,
  wrapForPassphrase,
  writeKeyFile,
} from './key-slots.ts';
import { DEFAULT_LAYOUT, type RepositoryLayout } from './layout.ts';
import { listManifestIds, manifestName, readManifest } from './manifest-file.ts';
import { createReadNode } from './node-reader.ts';
import { createPackBuilder, type PackBuilder } from './pack-builder.ts';
import { recoverySheetText } from './recovery-sheet.ts';
import type { Repository } from './repository.ts';
import {
  boundBytes,
  CONFIG_COPY_NAME,
  CONFIG_NAME,
  decodeConfig,
  encodeConfig,
  FORMAT_VERSION,
  readConfig,
  type RepositoryConfig,
} from './repository-config.ts';
import type { RepositoryContext } from './repository-context.ts';
import {
  deriveRepositoryKeys,
  makeSigningKeys,
  MASTER_KEY_BYTES,
  readSigningKeys,
  sealWithNonce,
  unsealWithNonce,
} from './repository-keys.ts';
import { openRepositoryWriter } from './repository-writer.ts';
import { openTreeReader } from './tree-reader.ts';
import { verifySnapshot } from './verify-snapshot.ts';

export interface OpenOptions {
  readonly storage: BlobStorage;
  /** Where the local index is kept; several processes may use one. */
  readonly indexPath: string;
  readonly key: RepositoryKey;
  /** Computing threads; with 0 the caller's thread computes. */
  readonly threads?: number;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

export interface CreateOptions extends OpenOptions {
  readonly encrypted: boolean;
  readonly layout?: RepositoryLayout;
}

/** A repository whose key is at hand. */
export interface OpenedRepository extends Repository {
  /** The text of the recovery sheet; it holds the key, so it must go nowhere but to the owner. */
  recoverySheet(): string;
}

const DEFAULT_THREADS = 2;

/** Makes a repository and opens it; throws `name_taken` when the storage has one. */
export async function createRepository(options: CreateOptions): Promise<OpenedRepository> {
  const { storage, encrypted, key } = options;
  const clock = options.clock ?? systemClock;
  if (key.kind === 'master-key') {
    throw new OperationError('invalid_input', 'A new repository needs a key file or a passphrase.');
  }
  if ((await storage.stat(CONFIG_NAME)) !== null) throw alreadyThere();
  // A key file without a repository is left of a creation that was cut off: its key is taken up.
  const leftOver = key.kind === 'key-file' ? await readKeyFileIfAny(key.path) : null;
  const id = leftOver?.repositoryId ?? randomUUID();
  const masterKey = randomBytes(MASTER_KEY_BYTES);
  const { publicDer, privateDer } = makeSigningKeys();
  const bound = {
    format: 'komadori-repository' as const,
    version: FORMAT_VERSION,
    id,
    createdAt: clock.now().toISOString(),
    encrypted,
    digest: encrypted ? ('sha256-prefix' as const) : ('sha256' as const),
    layout: options.layout ?? DEFAULT_LAYOUT,
    publicKey: Buffer.from(publicDer).toString('base64'),
  };
  const boundTo = boundBytes(bound);
  const privateKey = Buffer.from(sealWithNonce(privateDer, { key: masterKey, boundTo }));
  const fileKey = leftOver?.key ?? randomBytes(MASTER_KEY_BYTES);
  const keySlots = [
    key.kind === 'key-file'
      ? wrapForKeyFile(masterKey, fileKey, boundTo)
      : await wrapForPassphrase(masterKey, key.passphrase, boundTo),
  ];
  const config = encodeConfig({ ...bound, privateKey: privateKey.toString('base64'), keySlots });
  decodeConfig(config);
  if (key.kind === 'key-file' && leftOver === null) {
    await writeKeyFile(key.path, { repositoryId: id, key: fileKey });
  }
  try {
    await storage.put(CONFIG_NAME, [config]);
  } catch (error) {
    if (key.kind === 'key-file' && leftOver === null) await removeKeyFile(key.path);
    if (error instanceof OperationError && error.code === 'name_taken') throw alreadyThere();
    throw error;
  }
  await storage.put(CONFIG_COPY_NAME, [config], { replace: true });
  return await openRepository(options);
}

const alreadyThere = (): OperationError =>
  new OperationError('name_taken', 'There is a repository in this storage already; open it.');

/** Opens a repository; throws `repository_not_found`, `repository_key_wrong` or `repository_damaged`. */
export async function openRepository(options: OpenOptions): Promise<OpenedRepository> {
  const { storage, key } = options;
  const logger = options.logger ?? silentLogger;
  const { config, usedCopy } = await readConfig(storage);
  if (usedCopy)
    logger.warn({ repository: config.id }, `${CONFIG_NAME} is damaged; using its copy.`);
  const boundTo = boundBytes(config);
  const { id, keySlots } = config;
  const masterKey = await unwrapMasterKey(key, { id, keySlots, boundTo });
  const context = createContext(options, config, masterKey);
  return createFacade(context, config, masterKey);
}

function openSigningKeys(
  config: RepositoryConfig,
  masterKey: Uint8Array,
): ReturnType<typeof readSigningKeys> {
  try {
    const sealed = Buffer.from(config.privateKey, 'base64');
    const options = { key: masterKey, boundTo: boundBytes(config) };
    const privateDer = unsealWithNonce(sealed, options);
    return readSigningKeys(Buffer.from(config.publicKey, 'base64'), privateDer);
  } catch (error) {
    throw new OperationError(
      'repository_key_wrong',
      'The key does not open this repository. Check that it belongs to it.',
      { cause: error },
    );
  }
}

function createContext(
  options: OpenOptions,
  config: RepositoryConfig,
  masterKey: Uint8Array,
): RepositoryContext {
  const { storage } = options;
  const { id, encrypted, layout } = config;
  const clock = options.clock ?? systemClock;
  const logger = options.logger ?? silentLogger;
  const signingKeys = openSigningKeys(config, masterKey);
  const { digestKeys, packsKey, manifestsKey } = deriveRepositoryKeys(masterKey, id, encrypted);
  const index = openChunkIndex(options.indexPath, id);
  const pool = createComputePool({
    threads: options.threads ?? DEFAULT_THREADS,
    frameSizeBytes: layout.frameSizeBytes,
    compressionLevel: layout.compressionLevel,
    digestKeys,
    packsKey,
  });
  let syncing: Promise<void> | undefined;
  const synchronize = async (): Promise<void> => {
    syncing ??= syncIndex({ storage, index, packsKey, logger }).finally(() => {
      syncing = undefined;
    });
    await syncing;
  };
  const cache = createFrameCache(pool);
  const source = createChunkSource({ storage, index, pool, cache, synchronize, clock });
  let builder: PackBuilder | undefined;
  return {
    id,
    encrypted,
    storage,
    index,
    pool,
    layout,
    packsKey,
    cache,
    source,
    clock,
    logger,
    synchronize,
    digester: createDigester(digestKeys),
    readNode: createReadNode(source),
    manifests: { storage, repositoryId: id, signingKeys, manifestsKey },
    builder() {
      if (builder === undefined || builder.failure() !== null) {
        builder = createPackBuilder({ storage, pool, index, layout, packsKey, clock });
      }
      return builder;
    },
  };
}

function createFacade(
  context: RepositoryContext,
  config: RepositoryConfig,
  masterKey: Uint8Array,
): OpenedRepository {
  const { storage, index, pool } = context;
  return {
    id: context.id,
    recoverySheet: () =>
      recoverySheetText({ repositoryId: config.id, masterKey, createdAt: config.createdAt }),
    openWriter: async (options) => await openRepositoryWriter(context, options),
    openTree: (tree, name) => openTreeReader(context, tree, name),
    listManifestIds: async () => await listManifestIds(storage),
    readManifest: async (snapshotId) => await readManifest(context.manifests, snapshotId),
    deleteManifest: async (snapshotId) => await storage.delete(manifestName(snapshotId)),
    compareTrees: async (before, after) => await compareTrees(context, before, after),
    verifySnapshot: async (snapshotId, onProgress, signal) =>
      await verifySnapshot(context, snapshotId, onProgress, signal),
    collect: async (onProgress, signal) => await collectGarbage(context, onProgress, signal),
    async status() {
      await context.synchronize();
      const totals = index.totals();
      return {
        id: context.id,
        formatVersion: config.version,
        encrypted: context.encrypted,
        snapshots: (await listManifestIds(storage)).length,
        packs: totals.packs,
        chunks: totals.chunks,
        storedBytes: totals.storedBytes,
        uniqueBytes: totals.plainBytes,
        freeBytes: await storage.freeBytes(),
      };
    },
    async close() {
      await pool.close();
      index.close();
    },
  };
}
