import { PassThrough } from 'node:stream';
import { runCli } from './run-cli.ts';
import { TABLE_TOKEN } from '../client/table-server.test-suite.ts';

export interface CliRun {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/** An answer, or one made out of what stands on the terminal. */
export type Typed = string | ((errors: string) => string);

export interface CliRunOptions {
  readonly url?: string | undefined;
  readonly env?: Readonly<Record<string, string>>;
  /** A terminal of this width; without it, pipes. */
  readonly columns?: number;
  /** Typed once a question was asked. */
  readonly typed?: string | readonly Typed[];
  readonly piped?: string;
  readonly signal?: AbortSignal;
}

/** Runs the CLI in this process with streams that a test can read. */
export async function runInProcess(
  argv: readonly string[],
  options: CliRunOptions = {},
): Promise<CliRun> {
  const tty = options.columns === undefined ? {} : { isTTY: true, columns: options.columns };
  const input = Object.assign(new PassThrough(), tty);
  const output = Object.assign(new PassThrough(), tty);
  const errors = Object.assign(new PassThrough(), tty);
  const read = (stream: PassThrough): (() => string) => {
    let all = '';
    stream.setEncoding('utf8').on('data', (part: string) => {
      all += part;
    });
    return () => all;
  };
  const textOf = (typed: Typed = ''): string =>
    typeof typed === 'string' ? typed : typed(readErrors());
  const answers = [options.typed ?? []].flat();
  const readOutput = read(output);
  const readErrors = read(errors);
  if (options.piped !== undefined) input.end(options.piped);
  errors.on('data', (part: string) => {
    if (answers.length > 0 && part.endsWith(': '))
      input.write(textOf(typeof options.typed === 'string' ? options.typed : answers.shift()));
  });
  const code = await runCli({
    argv,
    version: '0.0.0-test',
    terminal: {
      env: {
        HOME: '/nonexistent',
        ...(options.url ? { KOMADORI_URL: options.url, KOMADORI_TOKEN: TABLE_TOKEN } : {}),
        ...options.env,
      },
      input,
      output,
      errors,
      now: () => new Date('2026-03-01T00:00:00.000Z'),
      signal: options.signal ?? new AbortController().signal,
    },
  });
  return { code, output: readOutput(), errors: readErrors() };
}
