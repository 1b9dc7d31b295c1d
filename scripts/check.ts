import path from 'node:path';
import { runScript } from './setup/setup.ts';
import { tryCommand } from './setup/run-command.ts';

const ROOT = path.resolve(import.meta.dirname, '..');
const CHECK_TIMEOUT_MS = 5 * 60_000;
const FOLDERS = ['src', 'test', 'scripts'];

const CHECKS = [
  { name: 'format', program: 'oxfmt', args: ['--check', ...FOLDERS] },
  { name: 'lint', program: 'oxlint', args: ['--type-aware', '--deny-warnings', ...FOLDERS] },
  { name: 'types', program: 'tsc', args: [] },
  { name: 'dashboard types', program: 'tsc', args: ['-p', 'src/dashboard/tsconfig.json'] },
  { name: 'unused', program: 'knip', args: ['--no-progress'] },
] as const;

/** Runs every static check and shows what the failing ones say; returns whether all passed. */
export async function runChecks(): Promise<boolean> {
  const outcomes = await Promise.all(
    CHECKS.map(async (check) => {
      const startedMs = performance.now();
      const program = path.join(ROOT, 'node_modules', '.bin', check.program);
      const result = await tryCommand(program, check.args, {
        cwd: ROOT,
        timeoutMs: CHECK_TIMEOUT_MS,
      });
      const passed = result.exitCode === 0;
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
      const verdict = passed ? 'ok' : `FAILED\n${result.stdout}${result.stderr}`;
      process.stdout.write(`check ${check.name} (${check.program}, ${seconds} s): ${verdict}\n`);
      return passed;
    }),
  );
  return outcomes.every(Boolean);
}

if (import.meta.main) await runScript(async () => ((await runChecks()) ? 0 : 1));
