import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { buildDashboard } from './build-dashboard.ts';
import { runChecks } from './check.ts';
import { runScript, setUp } from './setup/setup.ts';

const ROOT = path.resolve(import.meta.dirname, '..');
/** Of one file as a whole, too: the conformance of libvirt takes minutes where guests are emulated. */
const TEST_TIMEOUT_MS = 20 * 60_000;

/** Tests beside the sources: quick, several files at once. */
export const UNIT_PATTERNS = ['scripts/**/*.test.ts', 'src/**/*.test.ts', 'test/*.test.ts'];
/** The product on real guests: one file at a time, because each emulated guest keeps a core busy. */
export const GUEST_PATTERNS = ['test/{support,integration,e2e}/**/*.test.ts'];

export interface TestPlan {
  /** Nothing was chosen: the checks run too. */
  readonly everything: boolean;
  /** Arguments of Node for one run of the test runner after the other. */
  readonly runs: readonly (readonly string[])[];
}

/** What is given after `--`: options go to the runner, and patterns stand in for all tests. */
export function planRun(args: readonly string[], cores: number): TestPlan {
  const options = args.filter((argument) => argument.startsWith('-'));
  const patterns = args.filter((argument) => !argument.startsWith('-'));
  const run = (concurrency: number, files: readonly string[]): string[] => [
    '--test',
    `--test-concurrency=${concurrency}`,
    `--test-timeout=${TEST_TIMEOUT_MS}`,
    '--test-reporter=spec',
    ...options,
    ...files,
  ];
  if (patterns.length > 0) return { everything: false, runs: [run(1, patterns)] };
  const atOnce = Math.min(Math.max(cores, 1), 4);
  return { everything: true, runs: [run(atOnce, UNIT_PATTERNS), run(1, GUEST_PATTERNS)] };
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
  if (plan.everything) await buildDashboard();
  let allPassed = checksPassed;
  for (const run of plan.runs) allPassed = (await runTests(run)) === 0 && allPassed;
  return allPassed ? 0 : 1;
}

if (import.meta.main) await runScript(main);
