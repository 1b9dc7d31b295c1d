import { StoredDataError } from './damage.ts';
import { FRAME_CHUNKS_MAX } from './layout.ts';

/** Tree nodes vary in length: in a frame each has its length in front (u32, big-endian). */
export const NODE_LENGTH_BYTES = 4;

export interface NodeSpan {
  readonly start: number;
  readonly end: number;
}

/** Start and end of each node in the plain bytes of a frame. */
export function parseNodeFrame(plain: Uint8Array): NodeSpan[] {
  const bytes = Buffer.from(plain.buffer, plain.byteOffset, plain.byteLength);
  const nodes: NodeSpan[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (at + NODE_LENGTH_BYTES > bytes.length) throw new StoredDataError('a node is cut off');
    const start = at + NODE_LENGTH_BYTES;
    const end = start + bytes.readUInt32BE(at);
    if (end > bytes.length || nodes.length >= FRAME_CHUNKS_MAX) {
      throw new StoredDataError('a frame of nodes is wrong');
    }
    nodes.push({ start, end });
    at = end;
  }
  return nodes;
}
