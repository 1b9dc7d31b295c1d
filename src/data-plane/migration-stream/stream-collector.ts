import type { ParsedStream } from './stream-parser.ts';
import { createStreamParser } from './stream-parser.ts';
import type { ContentReader, SynthesisInput } from './stream-synthesis.ts';

/** Keeps a parsed stream in memory, for tests. */
export interface CollectedStream {
  readonly result: ParsedStream;
  readonly memory: Map<string, Buffer>;
  readonly remainder: Buffer;
  readonly windows: number;
}

export function collectStream(
  pieces: Iterable<Uint8Array>,
  options: { pagedBlockMinBytes?: number; buffers?: number } = {},
): CollectedStream {
  const memory = new Map<string, Buffer>();
  const remainder: Buffer[] = [];
  const pool: { bytes: Uint8Array }[] = [];
  const used: typeof pool = [];
  let unmade = options.buffers ?? 8;
  const takeBuffer = (): { bytes: Uint8Array } | null => {
    const buffer = pool.pop();
    if (buffer !== undefined || unmade === 0) return buffer ?? null;
    unmade -= 1;
    return { bytes: new Uint8Array(new SharedArrayBuffer(1 << 20)).fill(0xee) };
  };
  let windows = 0;
  const parser = createStreamParser<{ bytes: Uint8Array }>(
    {
      takeBuffer,
      onPages({ block, windowOffset, buffer, runs }) {
        windows += 1;
        for (const { startBytes, lengthBytes } of runs) {
          const end = windowOffset + startBytes + lengthBytes;
          let target = memory.get(block) ?? Buffer.alloc(0);
          if (target.length < end) {
            const grown = Buffer.alloc(Math.max(end, target.length * 2));
            target.copy(grown);
            target = grown;
            memory.set(block, target);
          }
          target.set(
            buffer.bytes.subarray(startBytes, startBytes + lengthBytes),
            windowOffset + startBytes,
          );
        }
        buffer.bytes.fill(0xee);
        used.push(buffer);
      },
      onRemainder: (bytes) => remainder.push(Buffer.from(bytes)),
    },
    options.pagedBlockMinBytes === undefined
      ? {}
      : { pagedBlockMinBytes: options.pagedBlockMinBytes },
  );
  for (const piece of pieces) {
    let rest = piece;
    while (rest.length > 0) {
      const count = parser.push(rest);
      rest = rest.subarray(count);
      if (rest.length > 0 && used.length === 0) throw new Error('the parser keeps its buffers');
      pool.push(...used.splice(0));
    }
  }
  const result = parser.finish();
  if (result.understood) {
    for (const { name, lengthBytes, paged } of result.blocks) {
      if (!paged) continue;
      const whole = Buffer.alloc(lengthBytes);
      memory.get(name)?.copy(whole);
      memory.set(name, whole);
    }
  }
  return { result, memory, remainder: Buffer.concat(remainder), windows };
}

export function bufferReader(content: Buffer): ContentReader {
  const zeroPage = Buffer.alloc(4096);
  return {
    lengthBytes: content.length,
    readInto(offset, target) {
      content.copy(target, 0, offset, offset + target.length);
      return Promise.resolve();
    },
    extents(offset, lengthBytes) {
      const extents: { offset: number; lengthBytes: number; zero: boolean }[] = [];
      for (let at = offset; at < offset + lengthBytes; at += 4096) {
        const zero = content.subarray(at, at + 4096).equals(zeroPage);
        const last = extents.at(-1);
        if (last?.zero === zero) last.lengthBytes += 4096;
        else extents.push({ offset: at, lengthBytes: 4096, zero });
      }
      return Promise.resolve(extents);
    },
  };
}

export function synthesisInput(collected: CollectedStream): SynthesisInput {
  const { result, memory, remainder } = collected;
  if (!result.understood) throw new Error(result.reason);
  return {
    remainder: bufferReader(remainder),
    pagesAtRemainderOffset: result.pagesAtRemainderOffset,
    ramSectionId: result.ramSectionId,
    blocks: result.blocks
      .filter((block) => block.paged)
      .map(({ name }) => ({ name, pages: bufferReader(memory.get(name) ?? Buffer.alloc(0)) })),
  };
}
