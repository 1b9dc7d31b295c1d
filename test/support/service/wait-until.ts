const POLL_MS = 100;

export interface WaitUntilOptions {
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 120_000;

/** Looks again and again until the answer is there: what is looked at lives in other processes. */
export async function waitUntil<T>(
  what: string,
  look: () => Promise<T | undefined>,
  options: WaitUntilOptions = {},
): Promise<T> {
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) {
      throw new Error(`${what} did not happen within ${timeoutMs / 1000} s`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
