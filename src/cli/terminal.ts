import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { OperationError } from '../shared/errors.ts';

/** Everything the CLI has of its process. */
export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly input: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly output: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };
  readonly errors: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };
  readonly now: () => Date;
  /** Aborts at Ctrl-C. */
  readonly signal: AbortSignal;
}

export const canAsk = (terminal: Terminal): boolean =>
  terminal.input.isTTY === true && terminal.errors.isTTY === true;

/** Null: nothing may be cut. */
export const tableWidth = (terminal: Terminal): number | null =>
  terminal.output.isTTY ? (terminal.output.columns ?? 80) : null;

/** Asks on stderr, so that stdout stays for the answer. */
export async function ask(
  terminal: Terminal,
  question: string,
  options: { hidden?: boolean } = {},
): Promise<string> {
  const silence = new Writable({ write: (_chunk, _encoding, done) => done() });
  if (options.hidden) terminal.errors.write(question);
  const reader = createInterface({
    input: terminal.input,
    output: options.hidden ? silence : terminal.errors,
    terminal: true,
  });
  // Raw mode turns Ctrl-C into a key press.
  const interrupted = new AbortController();
  reader.on('SIGINT', () => interrupted.abort());
  const closed = new Promise<never>((_, reject) => {
    reader.on('close', () => reject(new OperationError('cancelled', 'No answer was given.')));
  });
  closed.catch(() => undefined /* closing after an answer is no failure */);
  try {
    const signal = AbortSignal.any([terminal.signal, interrupted.signal]);
    return await Promise.race([
      reader.question(options.hidden ? '' : question, { signal }),
      closed,
    ]);
  } finally {
    reader.close();
    if (options.hidden) terminal.errors.write('\n');
  }
}

const INPUT_CHARACTERS_MAX = 8192;

export async function readPipedLine(terminal: Terminal): Promise<string> {
  const decoder = new TextDecoder();
  let all = '';
  for await (const part of terminal.input) {
    all += typeof part === 'string' ? part : decoder.decode(part, { stream: true });
    if (all.length > INPUT_CHARACTERS_MAX)
      throw new OperationError('payload_too_large', 'The input is too long for a token.');
  }
  return all.trim();
}
