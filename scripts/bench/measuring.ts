import { readFileSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';

export interface Cost {
  readonly wallMs: number;
  /** Of the contender's own processes and threads. */
  readonly cpuMs: number;
  /** Of the guest's QEMU, which answers the reads. */
  readonly emulatorCpuMs: number;
}

/** The kernel counts process times in these (sysconf(_SC_CLK_TCK) is 100 on every Linux). */
const TICK_MS = 10;

/**
 * Measures work done by this process, its threads and the programs that it runs. Nothing else may
 * run in this process meanwhile.
 */
export async function measure(emulatorPid: number, work: () => Promise<void>): Promise<Cost> {
  const ownBefore = process.cpuUsage();
  const childrenBefore = readTicks('self').childrenMs;
  const emulatorBefore = readTicks(emulatorPid).ownMs;
  const startedMs = performance.now();
  await work();
  const wallMs = performance.now() - startedMs;
  const own = process.cpuUsage(ownBefore);
  const childrenMs = readTicks('self').childrenMs - childrenBefore;
  return {
    wallMs,
    cpuMs: (own.user + own.system) / 1000 + childrenMs,
    emulatorCpuMs: readTicks(emulatorPid).ownMs - emulatorBefore,
  };
}

/** User and system time of a process and of the children it waited for; proc(5), /proc/pid/stat. */
function readTicks(pid: number | 'self'): { ownMs: number; childrenMs: number } {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The program's name may hold spaces and brackets; fields are counted from behind its last one.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const at = (field: number): number => Number(fields[field - 3]) * TICK_MS;
  return { ownMs: at(14) + at(15), childrenMs: at(16) + at(17) };
}

export function findEmulatorPid(name: string): number {
  for (const folder of ['/run/libvirt/qemu', '/var/run/libvirt/qemu']) {
    try {
      return Number(readFileSync(path.join(folder, `${name}.pid`), 'utf8'));
    } catch {
      // Some systems keep it in the other one.
    }
  }
  throw new Error(`libvirt keeps no process id of ${name}`);
}

/** Bytes of all files below a folder. */
export async function folderBytes(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) bytes += (await stat(path.join(entry.parentPath, entry.name))).size;
  }
  return bytes;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}

export interface MachineFacts {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  readonly qemu: string;
  readonly libvirt: string;
  readonly guests: string;
  readonly loadBefore: number;
}

export function readLoad(): number {
  return Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0]);
}

export function describeCpu(): string {
  const model = /^model name\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1];
  return model ?? 'unknown';
}
