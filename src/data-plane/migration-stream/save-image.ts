import { MIB } from '../../shared/byte-size.ts';
import { OperationError } from '../../shared/errors.ts';

/** libvirt's src/qemu/qemu_saveimage.h: 16 bytes of magic, 19 numbers of 32 bits in the host's order. */
export const SAVE_IMAGE_HEADER_BYTES = 92;
const MAGIC = 'LibvirtQemudSave';
const MAGIC_INCOMPLETE = 'LibvirtQemudPart';
const VERSION = 2;
const STREAM_ALIGNMENT_BYTES = 4096;
const DATA_LIMIT_BYTES = 64 * MIB;

export type SaveImageFormat = 'raw' | 'gzip' | 'bzip2' | 'xz' | 'lzop' | 'zstd' | 'sparse';
const FORMATS: readonly SaveImageFormat[] = [
  'raw',
  'gzip',
  'bzip2',
  'xz',
  'lzop',
  'zstd',
  'sparse',
];

export interface SaveImageHeader {
  readonly wasRunning: boolean;
  readonly format: SaveImageFormat;
  /** Length of the XML, cookie and padding between header and stream. */
  readonly dataBytes: number;
  /** Offset of libvirt's cookie within the data; 0 when there is none. */
  readonly cookieOffset: number;
  readonly bigEndian: boolean;
}

/** Everything of a libvirt save image that comes before the uncompressed migration stream. */
export function buildSaveImageHead(xml: string, options: { wasRunning: boolean }): Uint8Array {
  const xmlBytes = Buffer.from(xml);
  if (xmlBytes.includes(0)) throw invalid('the XML has a zero byte');
  const usedBytes = SAVE_IMAGE_HEADER_BYTES + xmlBytes.length + 1;
  const totalBytes = Math.ceil(usedBytes / STREAM_ALIGNMENT_BYTES) * STREAM_ALIGNMENT_BYTES;
  const dataBytes = totalBytes - SAVE_IMAGE_HEADER_BYTES;
  if (dataBytes > DATA_LIMIT_BYTES) throw invalid('the XML is too long');
  const head = Buffer.alloc(totalBytes);
  head.write(MAGIC, 0, 'latin1');
  head.writeUInt32LE(VERSION, 16);
  head.writeUInt32LE(dataBytes, 20);
  head.writeUInt32LE(options.wasRunning ? 1 : 0, 24);
  xmlBytes.copy(head, SAVE_IMAGE_HEADER_BYTES);
  return head;
}

/** Reads the first 92 bytes of a save image. */
export function parseSaveImageHeader(bytes: Uint8Array): SaveImageHeader {
  if (bytes.length < SAVE_IMAGE_HEADER_BYTES) throw invalid('it is shorter than its header');
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, SAVE_IMAGE_HEADER_BYTES);
  const magic = head.toString('latin1', 0, 16);
  if (magic === MAGIC_INCOMPLETE) throw invalid('libvirt did not finish writing it');
  if (magic !== MAGIC) throw invalid('it does not begin like one');
  const bigEndian = head.readUInt32LE(16) !== VERSION;
  const read = (at: number): number => (bigEndian ? head.readUInt32BE(at) : head.readUInt32LE(at));
  if (read(16) !== VERSION) throw invalid(`its version ${read(16)} is unknown`);
  const dataBytes = read(20);
  const format = FORMATS[read(28)];
  const cookieOffset = read(32);
  if (format === undefined) throw invalid(`its format ${read(28)} is unknown`);
  if (dataBytes === 0 || dataBytes > DATA_LIMIT_BYTES)
    throw invalid('the length of its XML is wrong');
  if (cookieOffset >= dataBytes) throw invalid('its cookie lies outside');
  return { wasRunning: read(24) !== 0, format, dataBytes, cookieOffset, bigEndian };
}

/** Reads the XML from the `dataBytes` that follow the header. */
export function parseSaveImageXml(header: SaveImageHeader, data: Uint8Array): string {
  if (data.length < header.dataBytes) throw invalid('it ends within its XML');
  const end = data.indexOf(0);
  if (end < 0 || end >= header.dataBytes) throw invalid('its XML has no end');
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data.subarray(0, end));
  } catch (error) {
    throw invalid('its XML is no UTF-8', error);
  }
}

function invalid(why: string, cause?: unknown): OperationError {
  return new OperationError(
    'protocol_error',
    `This is no usable libvirt save image: ${why}.`,
    cause === undefined ? {} : { cause },
  );
}
