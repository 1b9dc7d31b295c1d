import { open, readdir, stat } from 'node:fs/promises';
import path from 'node:path';

/** Turns one bit in the middle of the largest pack (since a time), as a disk that forgets does. */
export async function damageLargestPack(repositoryFolder: string, since?: Date): Promise<string> {
  const folder = path.join(repositoryFolder, 'packs');
  let largest = { path: '', sizeBytes: 0 };
  for (const name of await readdir(folder, { recursive: true })) {
    const file = path.join(folder, name);
    const status = await stat(file);
    const isWanted = status.isFile() && (since === undefined || status.mtime >= since);
    if (isWanted && status.size > largest.sizeBytes) {
      largest = { path: file, sizeBytes: status.size };
    }
  }
  const file = await open(largest.path, 'r+');
  try {
    const offset = Math.floor(largest.sizeBytes / 2);
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, offset);
    byte[0] = (byte[0] ?? 0) ^ 1;
    await file.write(byte, 0, 1, offset);
    await file.sync();
  } finally {
    await file.close();
  }
  return largest.path;
}
