import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { runChecks } from './check.ts';
import { runScript, setUp } from './setup/setup.ts';

const ROOT = path.resolve(import.meta.dirname, '..');
const TEST_TIMEOUT_MS = 5 * 60_000;

/** Unit tests lie beside the sources; the runner starts files in the order of their paths. */
export const TEST_PATTERNS = [
  'scripts/**/*.test.ts',
  'src/**/*.test.ts',
  'test/*.test.ts',
  'test/{support,integration,end-to-end}/**/*.test.ts',
];

/** What is given after `--`: options go to the runner, and patterns stand in for all tests. */
export function planRun(
  args: readonly string[],
  cores: number,
): { runnerArguments: string[]; everything: boolean } {
  const options = args.filter((argument) => argument.startsWith('-'));
  const patterns = args.filter((argument) => !argument.startsWith('-'));
  return {
    everything: patterns.length === 0,
    runnerArguments: [
      '--test',
      // Each emulated guest keeps a core busy: more files at once would only time each other out.
      `--test-concurrency=${Math.min(Math.max(cores, 1), 4)}`,
      `--test-timeout=${TEST_TIMEOUT_MS}`,
      '--test-reporter=spec',
      ...options,
      ...(patterns.length === 0 ? TEST_PATTERNS : patterns),
    ],
  };
}

async function runTests(args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // A terminal sends Ctrl-C to the runner too.
    process.on(signal, () => {
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  return await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 1));
  });
}

async function main(): Promise<number> {
  const plan = planRun(process.argv.slice(2), availableParallelism());
  const checksPassed = plan.everything ? await runChecks() : true;
  await setUp(['test']);
  const exitCode = await runTests(plan.runnerArguments);
  // The checks spoke first; the last lines stay those of the test runner.
  return exitCode === 0 && !checksPassed ? 1 : exitCode;
}

if (import.meta.main) await runScript(main);
