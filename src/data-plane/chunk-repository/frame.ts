import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { StoredDataError } from './damage.ts';
import { packSeal, seal, unseal } from './sealing.ts';

export type FrameEncoding = 'raw' | 'zstd';

export interface FramePlace {
  readonly packId: Uint8Array;
  readonly frameNumber: number;
  /** Null when the repository is not encrypted. */
  readonly packsKey: Uint8Array | null;
}

/** What a stored frame takes at most, more than its plain bytes. */
export const FRAME_OVERHEAD_BYTES = 64;

/** The stored bytes are in the beginning of `target` when there is one. */
export function encodeFrame(
  plain: Uint8Array,
  options: FramePlace & { compressionLevel: number; target?: Uint8Array },
): { stored: Uint8Array; encoding: FrameEncoding } {
  const compressed = zstdCompressSync(plain, {
    // One allocation: zlib grows its output by chunkSize.
    chunkSize: plain.length + 1024,
    params: {
      [constants.ZSTD_c_compressionLevel]: options.compressionLevel,
      [constants.ZSTD_c_checksumFlag]: 1,
    },
  });
  const encoding = compressed.length < plain.length ? 'zstd' : 'raw';
  const body = encoding === 'zstd' ? compressed : plain;
  const { target } = options;
  if (options.packsKey === null) {
    target?.set(body);
    return { stored: target?.subarray(0, body.length) ?? body, encoding };
  }
  const sealOptions = packSeal(options.packsKey, options.packId, options.frameNumber);
  return { stored: seal(body, sealOptions, target), encoding };
}

/** Throws StoredDataError; never allocates more than the frame's plain length. */
export function decodeFrame(
  stored: Uint8Array,
  options: FramePlace & { encoding: FrameEncoding; plainLength: number },
): Uint8Array {
  const body =
    options.packsKey === null
      ? stored
      : unseal(stored, packSeal(options.packsKey, options.packId, options.frameNumber));
  const plain = options.encoding === 'raw' ? body : decompress(body, options.plainLength);
  if (plain.length !== options.plainLength) {
    throw new StoredDataError(
      `a frame has ${plain.length} bytes instead of ${options.plainLength}`,
    );
  }
  return plain;
}

function decompress(body: Uint8Array, plainLength: number): Uint8Array {
  try {
    return zstdDecompressSync(body, {
      // One more than is needed: zlib asks for another buffer whenever one is exactly full.
      chunkSize: plainLength + 64,
      maxOutputLength: plainLength,
    });
  } catch (error) {
    throw new StoredDataError('a frame does not decompress', { cause: error });
  }
}
