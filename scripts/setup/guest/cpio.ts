export interface ArchiveEntry {
  /** Without a leading slash. */
  readonly path: string;
  readonly kind: 'file' | 'folder' | 'link';
  /** A file's bytes or a link's target; empty for folders. */
  readonly content: Uint8Array;
  readonly executable?: boolean;
}

const TYPE_BITS = { file: 0o100000, folder: 0o040000, link: 0o120000 } as const;

/**
 * A cpio archive in the "newc" form that Linux unpacks as its first file system
 * (Documentation/driver-api/early-userspace/buffer-format.rst). Folders have to come before what
 * is in them. Everything belongs to root and carries no time, so equal input gives equal bytes.
 */
export function buildArchive(entries: readonly ArchiveEntry[]): Buffer {
  const parts: Buffer[] = [];
  let inode = 1;
  for (const entry of entries) {
    parts.push(...formatEntry(entry, inode));
    inode += 1;
  }
  parts.push(...formatEntry({ path: 'TRAILER!!!', kind: 'file', content: new Uint8Array() }, 0, 0));
  return Buffer.concat(parts);
}

function formatEntry(entry: ArchiveEntry, inode: number, mode = modeOf(entry)): Buffer[] {
  const name = Buffer.from(`${entry.path}\0`, 'utf8');
  const fields = [
    inode,
    mode,
    0, // uid
    0, // gid
    entry.kind === 'folder' ? 2 : 1, // links
    0, // time
    entry.content.length,
    0, // device, major and minor
    0,
    0, // device of a device node, major and minor
    0,
    name.length,
    0, // checksum, unused in this form
  ];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
  return [
    padToFour(Buffer.concat([Buffer.from(header, 'latin1'), name])),
    padToFour(Buffer.from(entry.content)),
  ];
}

function modeOf(entry: ArchiveEntry): number {
  const permissions =
    entry.kind === 'link' ? 0o777 : entry.kind === 'folder' || entry.executable ? 0o755 : 0o644;
  return TYPE_BITS[entry.kind] | permissions;
}

function padToFour(bytes: Buffer): Buffer {
  const padding = (4 - (bytes.length % 4)) % 4;
  return padding === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(padding)]);
}
