import { open, readFile } from 'node:fs/promises';
import { OperationError, describeThrown } from '../../../shared/errors.ts';
import type { VmDescription } from '../../../shared/inventory.ts';
import type { Logger } from '../../../shared/logger.ts';
import { throwIfAborted } from '../../../shared/waiting.ts';
import { runProgram } from './run-program.ts';

const HUGE_PAGE_FOLDER = '/sys/kernel/mm/transparent_hugepage';
const JOIN_TIMEOUT_MS = 30_000;
/** Joining may take what the guest has not touched yet; more than this part of free memory not. */
const FREE_MEMORY_SHARE = 0.25;
const MAPPINGS_MAX = 256;

/**
 * process_madvise(2) with MADV_COLLAPSE (Linux 6.1), which no library of Node reaches. perl-base is
 * part of every Debian and Ubuntu; both system call numbers are the same on all architectures.
 */
const JOIN_PROGRAM = `
use strict;
my ($pid, $step, @ranges) = @ARGV;
my $process = syscall(434, $pid + 0, 0);
die "pidfd_open: $!" if $process < 0;
while (my ($start, $end) = splice(@ranges, 0, 2)) {
  for (my $at = $start; $at < $end; $at += $step) {
    my $length = $end - $at < $step ? $end - $at : $step;
    syscall(440, $process, pack('QQ', $at, $length), 1, 25, 0);
  }
}
`;
/** One call holds up the guest's page faults for as long as it takes. */
const JOIN_STEP_BYTES = 4 * 1024 * 1024;

export interface Mapping {
  readonly start: number;
  readonly end: number;
  readonly residentBytes: number;
  readonly hugeBytes: number;
}

/**
 * Puts a guest's memory into huge pages, as QEMU asked of the kernel. A background snapshot splits
 * it into 4 KiB pages, and in the pause of the next one QEMU reads a byte of every page: seconds
 * per gigabyte where page tables are nested, milliseconds when the pages are huge. Makes nothing
 * worse when it cannot be done, so that is only logged.
 */
export async function joinHugePages(
  vm: Pick<VmDescription, 'id' | 'name'>,
  { logger, signal }: { logger: Logger; signal?: AbortSignal | undefined },
): Promise<void> {
  try {
    if ((await readFile(`${HUGE_PAGE_FOLDER}/enabled`, 'utf8')).includes('[never]')) return;
    const pageBytes = Number(await readFile(`${HUGE_PAGE_FOLDER}/hpage_pmd_size`, 'utf8'));
    const pid = await findEmulator(vm);
    const mappings = findGuestMemory(await readFile(`/proc/${pid}/smaps`, 'utf8'), pageBytes);
    const apart = mappings.filter((one) => one.hugeBytes < one.end - one.start);
    if (apart.length === 0) return;
    await requireRoom(apart);
    await touchPages(pid, apart, { pageBytes, signal });
    const ranges = apart.flatMap(({ start, end }) => [String(start), String(end)]);
    const step = Math.max(pageBytes, JOIN_STEP_BYTES);
    await runProgram('perl', ['-e', JOIN_PROGRAM, String(pid), String(step), ...ranges], {
      timeoutMs: JOIN_TIMEOUT_MS,
      signal,
    });
  } catch (error) {
    throwIfAborted(signal);
    logger.debug({ vm: vm.name, reason: describeThrown(error) }, 'memory stays in small pages');
  }
}

/** The process that libvirt wrote down, when it still is the VM's. */
async function findEmulator({ id, name }: Pick<VmDescription, 'id' | 'name'>): Promise<number> {
  const pid = Number(await readFile(`/run/libvirt/qemu/${name}.pid`, 'utf8'));
  if (Number.isSafeInteger(pid) && pid > 1) {
    if ((await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0').includes(id)) return pid;
  }
  throw new OperationError('not_found', `The process of ${name} was not found.`);
}

/**
 * Private anonymous memory that QEMU marked for huge pages (`hg` of proc_pid_smaps(5)), cut to
 * whole huge pages. Shared and file-backed memory is not among it.
 */
export function findGuestMemory(smaps: string, pageBytes: number): Mapping[] {
  const found: Mapping[] = [];
  for (const text of smaps.split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) rw-p 0+ 00:00 0\s*$/m.exec(text);
    if (!head || !/^VmFlags:.* hg( |$)/m.test(text)) continue;
    const start = Math.ceil(Number.parseInt(head[1] ?? '', 16) / pageBytes) * pageBytes;
    const end = Math.floor(Number.parseInt(head[2] ?? '', 16) / pageBytes) * pageBytes;
    if (end <= start) continue;
    found.push({
      start,
      end,
      residentBytes: kibibytesOf(text, 'Rss') * 1024,
      hugeBytes: kibibytesOf(text, 'AnonHugePages') * 1024,
    });
    if (found.length === MAPPINGS_MAX) break;
  }
  return found;
}

const kibibytesOf = (text: string, field: string): number =>
  Number(new RegExp(String.raw`^${field}:\s+(\d+) kB`, 'm').exec(text)?.[1] ?? 0);

async function requireRoom(mappings: readonly Mapping[]): Promise<void> {
  const missing = mappings.reduce(
    (sum, { start, end, residentBytes }) => sum + Math.max(0, end - start - residentBytes),
    0,
  );
  const available = kibibytesOf(await readFile('/proc/meminfo', 'utf8'), 'MemAvailable') * 1024;
  if (missing <= available * FREE_MEMORY_SHARE) return;
  throw new OperationError('insufficient_space', 'The host has too little free memory for it.');
}

/** What the guest never touched has no page yet, and cannot be joined before it has one. */
async function touchPages(
  pid: number,
  mappings: readonly Mapping[],
  { pageBytes, signal }: { pageBytes: number; signal: AbortSignal | undefined },
): Promise<void> {
  const memory = await open(`/proc/${pid}/mem`, 'r');
  try {
    const byte = Buffer.alloc(1);
    for (const { start, end } of mappings) {
      for (let at = start; at < end; at += pageBytes) {
        throwIfAborted(signal);
        await memory.read(byte, 0, 1, at);
      }
    }
  } finally {
    await memory.close();
  }
}
