import { chown, mkdir, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { MIB } from '../../../shared/byte-size.ts';
import { OperationError } from '../../../shared/errors.ts';

/** swtpm keeps a few small files per VM; anything larger is not TPM state. */
const STATE_BYTES_MAX = 8 * MIB;
const STATE_FILES_MAX = 64;

const archiveSchema = z.strictObject({
  format: z.literal('komadori-tpm-state'),
  version: z.literal(1),
  files: z
    .array(
      z.strictObject({
        /** Relative path such as `tpm2/tpm2-00.permall`. */
        name: z.string().regex(/^[\w.-]+(\/[\w.-]+)*$/),
        mode: z.int().min(0).max(0o777),
        content: z.base64(),
      }),
    )
    .max(STATE_FILES_MAX),
});

/** libvirt's place for the state of an emulated TPM (swtpm). */
export const tpmStateFolder = (vmId: string): string => path.join('/var/lib/libvirt/swtpm', vmId);

/** Reads a TPM state folder into an archive; null when there is no folder. */
export async function readTpmState(folder: string): Promise<Uint8Array | null> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw error;
    },
  );
  if (!entries) return null;
  const files = [];
  let totalBytes = 0;
  for (const entry of entries) {
    // Lock files and sockets of a running swtpm are not state.
    if (!entry.isFile() || entry.name === '.lock') continue;
    const absolute = path.join(entry.parentPath, entry.name);
    const content = await readFile(absolute);
    totalBytes += content.length;
    if (totalBytes > STATE_BYTES_MAX || files.length >= STATE_FILES_MAX) {
      throw new OperationError(
        'unsupported_vm',
        `The TPM state in ${folder} is unexpectedly large.`,
      );
    }
    const { mode } = await stat(absolute);
    files.push({
      name: path.relative(folder, absolute),
      mode: mode & 0o777,
      content: content.toString('base64'),
    });
  }
  files.sort((a, b) => (a.name < b.name ? -1 : 1));
  return Buffer.from(JSON.stringify({ format: 'komadori-tpm-state', version: 1, files }));
}

/** Unpacks an archive into a new folder. Throws `snapshot_damaged` for anything malformed. */
export async function unpackTpmState(
  archive: Uint8Array,
  folder: string,
  owner: { uid: number; gid: number },
): Promise<void> {
  const parsed = parseArchive(archive);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true, mode: 0o711 });
  for (const file of parsed.files) {
    if (file.name.split('/').includes('..')) {
      throw new OperationError(
        'snapshot_damaged',
        'The TPM state names a file outside its folder.',
      );
    }
    const absolute = path.join(folder, file.name);
    await mkdir(path.dirname(absolute), { recursive: true, mode: 0o700 });
    await writeFile(absolute, Buffer.from(file.content, 'base64'), {
      mode: file.mode,
      flush: true,
    });
    await chown(path.dirname(absolute), owner.uid, owner.gid);
    await chown(absolute, owner.uid, owner.gid);
  }
}

function parseArchive(archive: Uint8Array): z.infer<typeof archiveSchema> {
  try {
    return archiveSchema.parse(JSON.parse(Buffer.from(archive).toString('utf8')));
  } catch (error) {
    throw new OperationError('snapshot_damaged', 'The TPM state of the snapshot cannot be read.', {
      cause: error,
    });
  }
}

/** Moves a folder, if it is there; the parent folders exist. */
export async function moveFolder(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}
