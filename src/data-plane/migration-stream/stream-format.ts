import { MIB } from '../../shared/byte-size.ts';

/** QEMU's migration stream as versions 7.2 to 10.x write it; every number is big-endian. */
export const STREAM_MAGIC = 0x5145564d;
export const STREAM_VERSION = 3;

export const SECTION = {
  eof: 0x00,
  start: 0x01,
  part: 0x02,
  end: 0x03,
  full: 0x04,
  subsection: 0x05,
  vmDescription: 0x06,
  configuration: 0x07,
  command: 0x08,
  footer: 0x7e,
} as const;

/** Flags in the low 12 bits of each 64-bit word of a RAM section. */
export const RAM_FLAG = {
  zero: 0x02,
  memSize: 0x04,
  page: 0x08,
  endOfSection: 0x10,
  /** The page is of the same block as the record before, so no name follows. */
  continue: 0x20,
  xbzrle: 0x40,
  hook: 0x80,
  compressed: 0x100,
  multifdFlush: 0x200,
} as const;

export const RAM_SECTION_NAME = 'ram';
export const RAM_SECTION_VERSION = 4;

export const PAGE_BYTES = 4096;
export const WINDOW_BYTES = MIB;
export const PAGES_PER_WINDOW = WINDOW_BYTES / PAGE_BYTES;

/** Offsets up to 2^53 fit a number; the word's flags are added by the caller. */
export function writeWord(target: Uint8Array, at: number, offset: number, flags: number): void {
  writeUint32(target, at, Math.floor(offset / 0x1_0000_0000));
  writeUint32(target, at + 4, (offset | flags) >>> 0);
}

export function writeUint32(target: Uint8Array, at: number, value: number): void {
  target[at] = value >>> 24;
  target[at + 1] = value >>> 16;
  target[at + 2] = value >>> 8;
  target[at + 3] = value;
}

export function readUint32(source: Uint8Array, at: number): number {
  return (
    (((source[at] ?? 0) << 24) |
      ((source[at + 1] ?? 0) << 16) |
      ((source[at + 2] ?? 0) << 8) |
      (source[at + 3] ?? 0)) >>>
    0
  );
}

/** A section's type and id, as parts and ends have them. */
export function sectionHeader(type: number, sectionId: number): Uint8Array {
  const bytes = new Uint8Array(5);
  bytes[0] = type;
  writeUint32(bytes, 1, sectionId);
  return bytes;
}

/** The words that end a RAM section, and its footer. */
export function ramSectionEnd(sectionId: number): Uint8Array {
  const bytes = new Uint8Array(13);
  writeWord(bytes, 0, 0, RAM_FLAG.endOfSection);
  bytes.set(sectionHeader(SECTION.footer, sectionId), 8);
  return bytes;
}

/** A page record's header that names its block, so that it depends on no record before it. */
export function namedRecordHeader(blockName: string, offset: number, flags: number): Uint8Array {
  const name = Buffer.from(blockName, 'latin1');
  const bytes = new Uint8Array(8 + 1 + name.length);
  writeWord(bytes, 0, offset, flags);
  bytes[8] = name.length;
  bytes.set(name, 9);
  return bytes;
}
