import { randomBytes } from 'node:crypto';
import type { BlobStorage } from '../blob-storage/blob-storage.ts';
import { OperationError } from '../../shared/errors.ts';
import { wrapForKeyFile, writeKeyFile } from './key-slots.ts';
import { openRepository } from './open-repository.ts';
import { keyFromRecoverySheet } from './recovery-sheet.ts';
import {
  boundBytes,
  CONFIG_COPY_NAME,
  CONFIG_NAME,
  encodeConfig,
  readConfig,
} from './repository-config.ts';
import { MASTER_KEY_BYTES } from './repository-keys.ts';

/**
 * Makes a new key file from a recovery sheet. Earlier key files of the repository open it no more;
 * passphrases stay. Throws `repository_key_wrong` for a sheet that is mistyped or of another one.
 */
export async function restoreKeyFile(options: {
  storage: BlobStorage;
  indexPath: string;
  sheet: string;
  keyPath: string;
}): Promise<{ repositoryId: string }> {
  const { storage, indexPath, sheet, keyPath } = options;
  const { repositoryId, masterKey } = keyFromRecoverySheet(sheet);
  const { config } = await readConfig(storage);
  if (config.id !== repositoryId) {
    throw new OperationError(
      'repository_key_wrong',
      `The sheet is of repository ${repositoryId}, not of ${config.id}.`,
    );
  }
  // Opens only if the key is right: it has to unseal the signing key.
  await (
    await openRepository({ storage, indexPath, key: { kind: 'master-key', masterKey } })
  ).close();
  const key = randomBytes(MASTER_KEY_BYTES);
  const { check: _check, ...core } = config;
  const keySlots = [
    ...core.keySlots.filter((slot) => slot.kind !== 'key-file'),
    wrapForKeyFile(masterKey, key, boundBytes(config)),
  ];
  await writeKeyFile(keyPath, { repositoryId, key });
  const bytes = encodeConfig({ ...core, keySlots });
  // The copy first: whichever the crash leaves, one of the two opens with a key that exists.
  await storage.put(CONFIG_COPY_NAME, [bytes], { replace: true });
  await storage.put(CONFIG_NAME, [bytes], { replace: true });
  return { repositoryId };
}
