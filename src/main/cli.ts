import { readFileSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { homedir } from 'node:os';
import path from 'node:path';
import { z } from 'zod';

// Saves a third of the start; where the folder cannot be written, Node goes on without it.
enableCompileCache(
  path.join(process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'), 'komadori'),
);
const { INTERRUPTED_EXIT_CODE, runCli } = await import('../cli/run-cli.ts');
const { addHostCommands } = await import('./serve-command.ts');

const packageFile = new URL('../../package.json', import.meta.url);
const { version } = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(packageFile, 'utf8')));

const interrupted = new AbortController();
process.on('SIGINT', () => {
  if (interrupted.signal.aborted) process.exit(INTERRUPTED_EXIT_CODE);
  interrupted.abort();
});
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // Whoever read us has seen enough, as in `komadori vm list | head`.
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});
process.stderr.on('error', () => {
  // Nobody reads our remarks; the exit code still tells how it ended.
});

process.exitCode = await runCli({
  argv: process.argv.slice(2),
  version,
  extraCommands: [addHostCommands],
  // Loaded only when asked for: most commands need neither catalog nor repository.
  verifyAuditOffline: async (source, signal) =>
    await (await import('./verify-audit-offline.ts')).verifyAuditOffline(source, signal),
  terminal: {
    env: process.env,
    input: process.stdin,
    output: process.stdout,
    errors: process.stderr,
    now: () => new Date(),
    signal: interrupted.signal,
  },
});
