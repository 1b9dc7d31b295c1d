/** Memory for replies, kept warm: fresh pages from the kernel cost more than the copy they hold. */
export interface BufferCache {
  use<T>(lengthBytes: number, work: (buffer: Uint8Array) => Promise<T>): Promise<T>;
}

const KEPT_BUFFER_BYTES = 1024 * 1024;

export function createBufferCache(maxKept: number): BufferCache {
  const kept: Uint8Array[] = [];
  return {
    async use(lengthBytes, work) {
      if (lengthBytes > KEPT_BUFFER_BYTES) return await work(new Uint8Array(lengthBytes));
      const whole = kept.pop() ?? new Uint8Array(KEPT_BUFFER_BYTES);
      try {
        return await work(whole.subarray(0, lengthBytes));
      } finally {
        if (kept.length < maxKept) kept.push(whole);
      }
    },
  };
}
