import { hash, sign, verify } from 'node:crypto';
import { describeThrown, OperationError } from '../../shared/errors.ts';
import { MIB } from '../../shared/byte-size.ts';
import { isUuid } from '../../shared/ids.ts';
import type { BlobStorage } from '../blob-storage/blob-storage.ts';
import { canonicalJson, parseJson } from './canonical-json.ts';
import { StoredDataError } from './damage.ts';
import { type Manifest, manifestSchema } from './manifest.ts';
import type { TreeRef } from './repository.ts';
import { sealWithNonce, type SigningKeys, unsealWithNonce } from './repository-keys.ts';

/** magic (8), flags (1: bit 0 sealed), then [nonce, sealed] or plain: signature (64), canonical JSON. */
const MAGIC = Buffer.from('KOMAMFT1');
const HEAD_BYTES = MAGIC.length + 1;
const SIGNATURE_BYTES = 64;
const MANIFEST_MAX_BYTES = 64 * MIB;

export interface ManifestContext {
  readonly storage: BlobStorage;
  readonly repositoryId: string;
  readonly signingKeys: SigningKeys;
  readonly manifestsKey: Uint8Array | null;
}

export const manifestName = (snapshotId: string): string => `manifests/${snapshotId}`;

/** What vouches for a manifest in the catalog: SHA-256 of its canonical JSON, in hexadecimal. */
export const digestOfManifest = (manifest: Manifest): string =>
  hash('sha256', Buffer.from(canonicalJson(manifest)));

/** A signature counts for one snapshot of one repository only. */
const boundTo = (context: ManifestContext, snapshotId: string): Uint8Array =>
  Buffer.from(`komadori manifest ${context.repositoryId} ${snapshotId}\n`);

export function encodeManifest(
  context: ManifestContext,
  manifest: Manifest,
): { bytes: Uint8Array; digest: string } {
  const json = Buffer.from(canonicalJson(manifest));
  const bound = boundTo(context, manifest.snapshotId);
  const signature = sign(null, Buffer.concat([bound, json]), context.signingKeys.privateKey);
  const payload = Buffer.concat([signature, json]);
  const { manifestsKey } = context;
  const head = Buffer.concat([MAGIC, Buffer.from([manifestsKey === null ? 0 : 1])]);
  const body =
    manifestsKey === null
      ? payload
      : sealWithNonce(payload, { key: manifestsKey, boundTo: Buffer.concat([head, bound]) });
  return { bytes: Buffer.concat([head, body]), digest: hash('sha256', json) };
}

/** Throws StoredDataError. */
export function decodeManifest(
  context: ManifestContext,
  snapshotId: string,
  stored: Uint8Array,
): Manifest {
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
  const { manifestsKey } = context;
  const head = bytes.subarray(0, HEAD_BYTES);
  if (head.length < HEAD_BYTES || !head.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw new StoredDataError('it is no manifest');
  }
  if (head.readUInt8(MAGIC.length) !== (manifestsKey === null ? 0 : 1)) {
    throw new StoredDataError('its encryption is not that of the repository');
  }
  const bound = boundTo(context, snapshotId);
  const body = bytes.subarray(HEAD_BYTES);
  const payload =
    manifestsKey === null
      ? body
      : unsealWithNonce(body, { key: manifestsKey, boundTo: Buffer.concat([head, bound]) });
  const signature = payload.subarray(0, SIGNATURE_BYTES);
  const json = payload.subarray(SIGNATURE_BYTES);
  if (!verify(null, Buffer.concat([bound, json]), context.signingKeys.publicKey, signature)) {
    throw new StoredDataError('its signature is wrong');
  }
  const parsed = manifestSchema.safeParse(parseJson(json));
  if (!parsed.success) throw new StoredDataError('its contents are of another format');
  if (parsed.data.snapshotId !== snapshotId) throw new StoredDataError('it is of another snapshot');
  return parsed.data;
}

export async function readManifest(
  context: ManifestContext,
  snapshotId: string,
): Promise<Manifest> {
  if (!isUuid(snapshotId)) {
    throw new OperationError('not_found', 'There is no snapshot with this id in the repository.');
  }
  let stored: Uint8Array;
  try {
    const range = { offset: 0, lengthBytes: MANIFEST_MAX_BYTES };
    stored = await context.storage.get(manifestName(snapshotId), range);
  } catch (error) {
    if (!(error instanceof OperationError) || error.code !== 'not_found') throw error;
    throw new OperationError('not_found', `The repository has no snapshot ${snapshotId}.`, {
      cause: error,
    });
  }
  try {
    return decodeManifest(context, snapshotId, stored);
  } catch (error) {
    if (!(error instanceof StoredDataError)) throw error;
    throw new OperationError(
      'snapshot_damaged',
      `The manifest of snapshot ${snapshotId} is damaged: ${describeThrown(error)}.`,
      { cause: error, details: { part: 'manifest' } },
    );
  }
}

export async function listManifestIds(storage: BlobStorage): Promise<string[]> {
  const ids: string[] = [];
  for (const { name } of await storage.list('manifests')) {
    const id = name.slice('manifests/'.length);
    if (isUuid(id)) ids.push(id);
  }
  return ids;
}

export interface ManifestTree {
  /** As damage reports name it: `disk vda`. */
  readonly part: string;
  readonly tree: TreeRef;
}

/** Every tree that a manifest refers to: what must be kept, read and verified. */
export function treesOfManifest(manifest: Manifest): ManifestTree[] {
  const trees: ManifestTree[] = manifest.disks.map(({ target, tree }) => ({
    part: `disk ${target}`,
    tree,
  }));
  const content = manifest.memory?.content;
  if (content?.form === 'pages') {
    for (const { name, tree } of content.blocks) trees.push({ part: `memory ${name}`, tree });
    addParts(trees, 'memory remainder', content.remainder);
  } else if (content) addParts(trees, 'memory stream', content.stream);
  for (const [name, tree] of Object.entries(manifest.configuration)) {
    if (tree !== null) trees.push({ part: `configuration ${name}`, tree });
  }
  return trees;
}

function addParts(trees: ManifestTree[], name: string, parts: readonly TreeRef[]): void {
  for (const [index, tree] of parts.entries()) {
    trees.push({ part: parts.length === 1 ? name : `${name} ${index + 1}`, tree });
  }
}
