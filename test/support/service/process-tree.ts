import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

export async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return text.split(' ').filter(Boolean).map(Number);
}

/** The child of `pid` whose command line names `script`. */
export async function findChild(pid: number, script: string): Promise<number | undefined> {
  for (const child of await childrenOf(pid)) {
    const commandLine = await readFile(`/proc/${child}/cmdline`, 'utf8').catch(() => '');
    if (commandLine.includes(script)) return child;
  }
  return undefined;
}

/** False also for a process that ended and that nobody has asked about yet. */
export async function processRuns(pid: number): Promise<boolean> {
  if (!existsSync(`/proc/${pid}`)) return false;
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return status !== '' && !/^State:\s*Z/m.test(status);
}
