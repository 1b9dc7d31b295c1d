import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { describeThrown, OperationError } from '../shared/errors.ts';
import type { Terminal } from './terminal.ts';
import type { Translate } from './translate.ts';

const settingsSchema = z.object({
  url: z.url({ protocol: /^https?$/ }),
  token: z.string().min(1),
  tokenId: z.string().optional(),
});
export type Settings = z.infer<typeof settingsSchema>;

export function settingsFile(env: Terminal['env']): string {
  const base = env['XDG_CONFIG_HOME'];
  // Relative values are to be ignored (XDG Base Directory specification).
  const folder =
    base && path.isAbsolute(base) ? base : path.join(env['HOME'] ?? homedir(), '.config');
  return path.join(folder, 'komadori', 'cli.json');
}

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code;

/** Null when nobody has signed in yet. */
export async function readSettings(terminal: Terminal, text: Translate): Promise<Settings | null> {
  const file = settingsFile(terminal.env);
  try {
    const { mode } = await stat(file);
    if ((mode & 0o077) !== 0) terminal.errors.write(`${text('login.openFile', { file })}\n`);
    return settingsSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    const reason = error instanceof z.ZodError ? z.prettifyError(error) : describeThrown(error);
    throw new OperationError('invalid_input', text('error.settings', { file, reason }), {
      cause: error,
      details: { whatToDo: text('error.settingsHow') },
    });
  }
}

export async function writeSettings(env: Terminal['env'], settings: Settings): Promise<string> {
  const file = settingsFile(env);
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  const fresh = `${file}.${randomUUID()}`;
  try {
    const handle = await open(fresh, 'wx', 0o600);
    try {
      await handle.writeFile(`${JSON.stringify(settings, null, 2)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(fresh, file);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
  return file;
}

export async function removeSettings(env: Terminal['env']): Promise<void> {
  await rm(settingsFile(env), { force: true });
}
