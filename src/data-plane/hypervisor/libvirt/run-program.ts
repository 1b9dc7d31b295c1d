import { spawn } from 'node:child_process';
import { OperationError } from '../../../shared/errors.ts';
import { abortReason } from '../../../shared/waiting.ts';

const STDERR_BYTES_MAX = 16 * 1024;
const STDOUT_BYTES_MAX = 4 * 1024 * 1024;

/**
 * Runs a program of the host without a shell and resolves with its standard output.
 * Throws `hypervisor_failed` with the end of its standard error when it fails.
 */
export async function runProgram(
  command: string,
  args: readonly string[],
  options: { timeoutMs: number; signal?: AbortSignal | undefined },
): Promise<string> {
  const limit = AbortSignal.timeout(options.timeoutMs);
  const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
  return await new Promise<string>((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      signal,
      killSignal: 'SIGKILL',
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (stdout.length < STDOUT_BYTES_MAX) stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-STDERR_BYTES_MAX);
    });
    child.on('error', (error) => {
      if (signal.aborted) reject(abortReason(signal));
      else
        reject(
          new OperationError('hypervisor_failed', `${command} could not be started.`, {
            cause: error,
          }),
        );
    });
    child.on('close', (exitCode) => {
      if (signal.aborted) reject(abortReason(signal));
      else if (exitCode === 0) resolve(stdout);
      else {
        const reason = stderr.trim() || `exit status ${exitCode ?? 'unknown'}`;
        reject(new OperationError('hypervisor_failed', `${command} failed: ${reason}`));
      }
    });
  });
}
