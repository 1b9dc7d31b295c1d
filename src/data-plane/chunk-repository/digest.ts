import { createHmac, createSecretKey, hash } from 'node:crypto';

export const DIGEST_BYTES = 32;
/** One block of SHA-256, so that what follows keeps its alignment. */
const PREFIX_BYTES = 64;

/**
 * Names of chunks and of tree nodes. Nodes have their own keyed function, so that no block a guest
 * can write has the name of a node.
 */
export interface Digester {
  /** Names `count` blocks that lie one after the other; an all-zero block gets 32 zero bytes. */
  chunks(blocks: BlockRun, digests: Buffer, digestsStart: number): void;
  node(encoded: Uint8Array): Uint8Array;
}

export interface BlockRun {
  readonly bytes: Buffer;
  readonly start: number;
  readonly count: number;
  readonly blockSizeBytes: number;
}

export interface DigestKeys {
  /** Null: chunks are named by plain SHA-256. */
  readonly chunk: Uint8Array | null;
  readonly node: Uint8Array;
}

export function createDigester(keys: DigestKeys): Digester {
  const nodeKey = createSecretKey(keys.node);
  const tools = new Map<number, BlockTools>();
  const toolsFor = (blockSizeBytes: number): BlockTools => {
    let found = tools.get(blockSizeBytes);
    if (found === undefined) {
      found = makeBlockTools(keys.chunk, blockSizeBytes);
      tools.set(blockSizeBytes, found);
    }
    return found;
  };
  return {
    chunks({ bytes, start, count, blockSizeBytes }, digests, digestsStart) {
      const { zeroes, message } = toolsFor(blockSizeBytes);
      for (let index = 0; index < count; index += 1) {
        const from = start + index * blockSizeBytes;
        const to = from + blockSizeBytes;
        const at = digestsStart + index * DIGEST_BYTES;
        if (bytes.compare(zeroes, 0, blockSizeBytes, from, to) === 0) {
          digests.fill(0, at, at + DIGEST_BYTES);
          continue;
        }
        let input = message;
        if (input === null) input = bytes.subarray(from, to);
        else bytes.copy(input, PREFIX_BYTES, from, to);
        // A string costs a third less than a buffer of its own for every digest.
        digests.write(hash('sha256', input, 'binary'), at, DIGEST_BYTES, 'latin1');
      }
    },
    node: (encoded) => createHmac('sha256', nodeKey).update(encoded).digest(),
  };
}

interface BlockTools {
  readonly zeroes: Buffer;
  /** Prefix and room for a block; null when names are not keyed. */
  readonly message: Buffer | null;
}

/**
 * The key stands in front of the block. That is a sound keyed function only because no message is
 * the beginning of another: the prefix also holds the length (docs/repository-format.md).
 */
function makeBlockTools(key: Uint8Array | null, blockSizeBytes: number): BlockTools {
  const zeroes = Buffer.alloc(blockSizeBytes);
  if (key === null) return { zeroes, message: null };
  const message = Buffer.alloc(PREFIX_BYTES + blockSizeBytes);
  message.set(key);
  message.writeUInt32BE(blockSizeBytes, key.length);
  return { zeroes, message };
}

/** A digest as a map key: one latin1 character per byte is the cheapest string there is. */
export function digestKey(digest: Uint8Array): string {
  return Buffer.from(digest.buffer, digest.byteOffset, digest.byteLength).toString('latin1');
}

export const digestHex = (digest: Uint8Array): string =>
  Buffer.from(digest.buffer, digest.byteOffset, digest.byteLength).toString('hex');

export const digestFromHex = (hex: string): Uint8Array => Buffer.from(hex, 'hex');

export function isZeroDigest(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte !== 0) return false;
  return true;
}
