import { spawn } from 'node:child_process';

export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string | Uint8Array;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

const DEFAULT_TIMEOUT_MS = 60_000;
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;

/** A program that did not do what it was asked; the message carries its last words. */
export class CommandError extends Error {
  readonly result: CommandResult;

  constructor(commandLine: string, result: CommandResult) {
    const words = (result.stderr.trim() || result.stdout.trim()).slice(-2000);
    super(`${commandLine} ended with ${result.exitCode}: ${words}`);
    this.name = 'CommandError';
    this.result = result;
  }
}

/** Runs a program to its end and returns what it said, whatever its exit code. */
export async function tryCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { stdout, exitCode, stderr } = await collect(program, args, options);
  return { exitCode, stdout: stdout.toString('utf8'), stderr };
}

/** Runs a program and returns its standard output; anything but exit code 0 is a CommandError. */
export async function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  return (await runForBytes(program, args, options)).toString('utf8');
}

export async function runForBytes(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<Buffer> {
  const { stdout, exitCode, stderr } = await collect(program, args, options);
  if (exitCode === 0) return stdout;
  throw new CommandError([program, ...args].join(' ').slice(0, 300), {
    exitCode,
    stderr,
    stdout: stdout.toString('utf8'),
  });
}

async function collect(
  program: string,
  args: readonly string[],
  options: CommandOptions,
): Promise<{ exitCode: number; stdout: Buffer; stderr: string }> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  return await new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { ...process.env, LC_ALL: 'C', ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      signal: options.signal,
    });
    const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    let bytes = 0;
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > MAX_OUTPUT_BYTES) child.kill('SIGKILL');
        else output[stream].push(chunk);
      });
    }
    // A program that does not read its input closes the pipe early; its exit code tells the rest.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const stderr = Buffer.concat(output.stderr).toString('utf8');
      if (code !== null) {
        resolve({ exitCode: code, stdout: Buffer.concat(output.stdout), stderr });
      } else {
        reject(
          new Error(
            `${program} was ended by ${signal ?? 'a signal'} (limits: ${timeoutMs} ms, ${MAX_OUTPUT_BYTES} bytes of output): ${stderr.slice(-2000)}`,
          ),
        );
      }
    });
  });
}

/** Whether a program of that name is on the PATH. */
export async function hasProgram(program: string): Promise<boolean> {
  const found = await tryCommand('sh', ['-c', 'command -v "$0"', program]);
  return found.exitCode === 0;
}

/** One line for the person who waits, kept out of standard output. */
export function say(line: string): void {
  process.stderr.write(`setup: ${line}\n`);
}

/** A condition of this machine that a person has to change; shown without a stack. */
export class SetupError extends Error {
  override readonly name = 'SetupError';
}
