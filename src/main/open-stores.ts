import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createDirectoryStorage } from '../data-plane/blob-storage/directory/directory-storage.ts';
import type { RepositoryKey } from '../data-plane/chunk-repository/key-slots.ts';
import {
  createRepository,
  openRepository,
  type OpenedRepository,
} from '../data-plane/chunk-repository/open-repository.ts';
import { OperationError } from '../shared/errors.ts';
import { isUuid } from '../shared/ids.ts';
import type { Logger } from '../shared/logger.ts';
import type { Settings } from './settings.ts';

/**
 * Makes the folders of the data folder. Others may pass through (QEMU's user must reach its scratch
 * files) but not look around.
 */
export async function makeFolders(settings: Settings): Promise<void> {
  for (const folder of [settings.dataFolder, settings.scratchFolder, settings.runtimeFolder]) {
    await mkdir(folder, { recursive: true });
    await chmod(folder, 0o711);
  }
  for (const folder of [settings.repository.folder, ...settings.exportFolders]) {
    await mkdir(folder, { recursive: true, mode: 0o700 });
  }
}

/** This host's identity in the catalog: made once, kept in the data folder. */
export async function readHostId(settings: Settings): Promise<string> {
  try {
    const text = (await readFile(settings.hostIdPath, 'utf8')).trim();
    if (isUuid(text)) return text;
    throw new OperationError(
      'invalid_input',
      `${settings.hostIdPath} does not hold a UUID; restore it or remove it.`,
    );
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error) || error.code !== 'ENOENT') throw error;
  }
  const id = randomUUID();
  await writeFile(settings.hostIdPath, `${id}\n`, { flag: 'wx', mode: 0o600, flush: true });
  return id;
}

async function readKey(settings: Settings): Promise<RepositoryKey> {
  const { passphraseFile, keyFile } = settings.repository;
  if (passphraseFile === null) return { kind: 'key-file', path: keyFile };
  const status = await stat(passphraseFile);
  if (status.mode & 0o077) {
    throw new OperationError(
      'invalid_input',
      `${passphraseFile} can be read by others; run: chmod 600 ${passphraseFile}`,
    );
  }
  return {
    kind: 'passphrase',
    passphrase: (await readFile(passphraseFile, 'utf8')).replace(/\r?\n$/, ''),
  };
}

export interface OpenedStore {
  readonly repository: OpenedRepository;
  /** True at the very first start: the owner must be told of the key. */
  readonly isNew: boolean;
}

/** Opens the repository, or makes it at the first start. */
export async function openStore(settings: Settings, logger: Logger): Promise<OpenedStore> {
  try {
    return { repository: await openExistingStore(settings, logger), isNew: false };
  } catch (error) {
    if (!(error instanceof OperationError) || error.code !== 'repository_not_found') throw error;
    // The repository is made before the catalog: one without the other is a mount that is missing.
    if (existsSync(settings.databasePath)) throw error;
  }
  const { encrypted } = settings.repository;
  const options = await storeOptions(settings, logger);
  return { repository: await createRepository({ ...options, encrypted }), isNew: true };
}

/** Throws `repository_not_found` when there is none. */
export async function openExistingStore(
  settings: Settings,
  logger: Logger,
): Promise<OpenedRepository> {
  return await openRepository(await storeOptions(settings, logger));
}

const storeOptions = async (settings: Settings, logger: Logger) => ({
  storage: await createDirectoryStorage(settings.repository.folder),
  indexPath: settings.indexPath,
  key: await readKey(settings),
  logger,
});
