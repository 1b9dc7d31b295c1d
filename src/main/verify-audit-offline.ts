import { createReadStream } from 'node:fs';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { OfflineAuditSource, VerifyAuditOffline } from '../cli/offline-audit.ts';
import {
  checkChain,
  type ChainVerification,
  type KnownHead,
} from '../control-plane/audit/audit-chain.ts';
import { parseExport } from '../control-plane/audit/audit-export.ts';
import { verifyAuditChain } from '../control-plane/audit/audit-trail.ts';
import { headOfManifest } from '../control-plane/audit/manifest-heads.ts';
import { openCatalogCopy } from '../control-plane/database/catalog.ts';
import { createDirectoryStorage } from '../data-plane/blob-storage/directory/directory-storage.ts';
import type { RepositoryKey } from '../data-plane/chunk-repository/key-slots.ts';
import { openRepository } from '../data-plane/chunk-repository/open-repository.ts';
import { describeThrown, OperationError } from '../shared/errors.ts';
import { throwIfAborted } from '../shared/waiting.ts';

export const verifyAuditOffline: VerifyAuditOffline = async (source, signal) => {
  const heads = [...givenHead(source.head), ...(await headsOfRepository(source, signal))];
  if (source.export !== undefined) return await verifyExport(source.export, heads, signal);
  return await verifyDatabase(source.database ?? '', heads);
};

async function verifyExport(
  file: string,
  heads: readonly KnownHead[],
  signal: AbortSignal,
): Promise<ChainVerification> {
  await refuseMissing(file);
  const stream = createReadStream(file, { encoding: 'utf8', signal });
  return await checkChain(parseExport(stream), heads);
}

async function verifyDatabase(
  file: string,
  heads: readonly KnownHead[],
): Promise<ChainVerification> {
  await refuseMissing(file);
  const copy = openCatalogCopy(file);
  try {
    const tables = await copy.read.introspection.getTables();
    if (!tables.some((table) => table.name === 'audit_events'))
      throw new OperationError('invalid_input', `${file} holds no audit trail.`);
    return await verifyAuditChain(copy.read, heads);
  } finally {
    await copy.close();
  }
}

async function refuseMissing(file: string): Promise<void> {
  try {
    if ((await stat(file)).isFile()) return;
  } catch (error) {
    throw new OperationError(
      'invalid_input',
      `${file} cannot be read: ${describeThrown(error)}. Check the path and who may read it.`,
      { cause: error },
    );
  }
  throw new OperationError('invalid_input', `${file} is not a file.`);
}

function givenHead(text: string | undefined): KnownHead[] {
  if (text === undefined) return [];
  const [, sequence, hash] = /^(\d{1,15}):([0-9a-f]{64})$/.exec(text) ?? [];
  if (sequence === undefined || hash === undefined)
    throw new OperationError(
      'invalid_input',
      'A head is the number of a record, a colon and its hash of 64 hexadecimal digits.',
    );
  return [{ hash, sequence: Number(sequence), at: null, where: 'What you gave as head' }];
}

/** Only signed manifests count, so the key of the repository is needed. */
async function headsOfRepository(
  source: OfflineAuditSource,
  signal: AbortSignal,
): Promise<KnownHead[]> {
  if (source.repository === undefined) return [];
  const scratch = await mkdtemp(path.join(tmpdir(), 'komadori-verify-'));
  try {
    const repository = await openRepository({
      storage: await createDirectoryStorage(source.repository),
      indexPath: path.join(scratch, 'index.sqlite'),
      key: await readKey(source),
    });
    try {
      const heads: KnownHead[] = [];
      for (const snapshotId of await repository.listManifestIds()) {
        throwIfAborted(signal);
        heads.push(...headOfManifest(await repository.readManifest(snapshotId)));
      }
      return heads;
    } finally {
      await repository.close();
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function readKey(source: OfflineAuditSource): Promise<RepositoryKey> {
  if (source.keyFile !== undefined) return { kind: 'key-file', path: source.keyFile };
  if (source.passphraseFile !== undefined) {
    const text = await readFile(source.passphraseFile, 'utf8');
    return { kind: 'passphrase', passphrase: text.replace(/\r?\n$/, '') };
  }
  throw new OperationError(
    'invalid_input',
    'Manifests are signed: give --key-file or --passphrase-file of the repository.',
  );
}
