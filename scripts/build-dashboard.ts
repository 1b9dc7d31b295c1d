import { existsSync } from 'node:fs';
import path from 'node:path';
import { build } from 'vite';

const ROOT = path.resolve(import.meta.dirname, '..');
const CONFIG = path.join(ROOT, 'src/dashboard/vite.config.ts');

/** Builds the dashboard into dist/dashboard, from where the server gives it out. */
export async function buildDashboard(): Promise<void> {
  if (!existsSync(CONFIG)) return;
  process.stderr.write('setup: building the dashboard\n');
  await build({ configFile: CONFIG, logLevel: 'warn' });
}

if (import.meta.main) await buildDashboard();
