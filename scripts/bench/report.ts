import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { formatBytes } from '../../src/shared/byte-size.ts';
import { median, type MachineFacts } from './measuring.ts';
import type { Part } from './options.ts';
import type { CaptureResults } from './part-capture.ts';
import type { CatalogResult } from './part-catalog.ts';
import type { MemoryResult } from './part-memory.ts';
import { maxOf, medianOf, type PauseResult } from './part-pause.ts';
import type { RestoreResult } from './part-restore.ts';

export interface PartResults {
  capture?: CaptureResults;
  pause?: readonly PauseResult[];
  memory?: readonly MemoryResult[];
  restore?: RestoreResult;
  catalog?: CatalogResult;
}

const DOCS = path.resolve(import.meta.dirname, '../../docs');
const PAGE = path.join(DOCS, 'benchmarks.md');
const DATA = path.join(DOCS, 'benchmarks.json');

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
const milliseconds = (ms: number | null): string => (ms === null ? '-' : `${ms.toFixed(0)} ms`);
const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function describeMachine(facts: MachineFacts, measuredAt: string): string {
  return `Measured on ${measuredAt}: ${facts.cores} cores (${facts.cpu}), ${facts.memoryGiB} GiB, Linux ${facts.kernel}, Node.js ${facts.node}, QEMU ${facts.qemu}, libvirt ${facts.libvirt}, guests by ${facts.guests}. Load average before the start: ${facts.loadBefore.toFixed(2)}.`;
}

function formatCapture({ dataBytes, contenders }: CaptureResults): string {
  const first = contenders.find(({ kind }) => kind === 'ours');
  const rows = contenders.map((contender) => [
    contender.name,
    contender.live ? 'yes' : 'no',
    seconds(contender.wallMs),
    first ? `${(contender.wallMs / first.wallMs).toFixed(2)} ×` : '-',
    seconds(contender.cpuMs),
    seconds(contender.emulatorCpuMs),
    contender.storedBytes === null ? '-' : gigabytes(contender.storedBytes),
    contender.storedBytes === null || !first?.storedBytes
      ? '-'
      : `${(contender.storedBytes / first.storedBytes).toFixed(2)} ×`,
    contender.wallMsOfRuns.map((ms) => (ms / 1000).toFixed(1)).join(', '),
  ]);
  const head = [
    'what',
    'live',
    'time',
    'to ours',
    'CPU',
    'CPU of QEMU',
    'stored',
    'to ours',
    'runs (s)',
  ];
  return `The disk of a running, idle guest holds ${gigabytes(dataBytes)} of files.\n\n${table(head, rows)}`;
}

function formatPause(results: readonly PauseResult[]): string {
  const rows = results.flatMap((result) => {
    const ours = medianOf(result.ours.map(({ pauseMs }) => pauseMs));
    const theirs = medianOf(result.libvirt.map(({ pauseMs }) => pauseMs));
    return (['ours', 'libvirt'] as const).map((who) => {
      const samples = result[who];
      const pauses = samples.map(({ pauseMs }) => pauseMs);
      const longest = (key: 'gapAtPauseMs' | 'gapWhileStreamingMs'): string =>
        `${milliseconds(medianOf(samples.map((sample) => sample[key])))} / ${milliseconds(maxOf(samples.map((sample) => sample[key])))}`;
      return [
        `${result.memoryMiB} MiB, ${result.dirtyMiB} rewritten`,
        who === 'ours' ? 'Komadori' : 'libvirt --live',
        milliseconds(medianOf(pauses)),
        milliseconds(maxOf(pauses)),
        who === 'ours' && ours && theirs ? `${(theirs / ours).toFixed(1)} × shorter` : '',
        longest('gapAtPauseMs'),
        longest('gapWhileStreamingMs'),
        milliseconds(result.quietGapMs),
        seconds(median(samples.map(({ wallMs }) => wallMs))),
      ];
    });
  });
  const head = [
    'guest',
    'snapshot',
    'pause, median',
    'longest',
    'ratio',
    'beat missing at the pause (median / longest)',
    'beat missing while memory is taken',
    'without snapshot',
    'whole time',
  ];
  const phases = results.map((result) => {
    const names = result.ours[0]?.phases.map(({ name }) => name) ?? [];
    const parts = names.map((name, index) => {
      const value = median(result.ours.map(({ phases: own }) => own[index]?.durationMs ?? 0));
      return `${name} ${value.toFixed(1)} ms`;
    });
    const stored = median(result.ours.map(({ storedPauseMs }) => storedPauseMs));
    return `- ${result.memoryMiB} MiB: ${parts.join(', ')}; the snapshots record ${milliseconds(stored)}.`;
  });
  return `${table(head, rows)}\n\nWhat our pause is made of (medians):\n\n${phases.join('\n')}`;
}

function formatMemory(results: readonly MemoryResult[]): string {
  const rows = results.flatMap(({ mode, memoryMiB, snapshots }) => {
    const first = snapshots[0]?.addedBytes ?? Number.NaN;
    return snapshots.map((snapshot, index) => [
      `${memoryMiB} MiB, ${mode}`,
      index === 0 ? 'first' : `+${(snapshot.afterMs / 1000).toFixed(0)} s`,
      formatBytes(snapshot.readBytes),
      formatBytes(snapshot.newPageBytes),
      formatBytes(snapshot.addedBytes),
      `${((snapshot.addedBytes / first) * 100).toFixed(1)} %`,
      seconds(snapshot.wallMs),
    ]);
  });
  return table(
    ['guest', 'snapshot', 'read', 'new content', 'added to the repository', 'of the first', 'time'],
    rows,
  );
}

function formatRestore(result: RestoreResult): string {
  const rows = result.phases.map(({ name, durationMs }) => [name, seconds(durationMs)]);
  const rate = result.verifiedBytes / 1e6 / (result.verifyMs / 1000);
  return `Roll-back of a running guest with ${result.memoryMiB} MiB of memory and a disk with ${gigabytes(result.diskBytes)} of files.\n\n${table(['phase', 'time'], rows)}\n\nVerifying the whole snapshot (read, decrypt, decompress, digest): ${gigabytes(result.verifiedBytes)} in ${seconds(result.verifyMs)}, ${rate.toFixed(0)} MB/s.`;
}

function formatCatalog({ size, catalogBytes, calls, residentBytes }: CatalogResult): string {
  const rows = calls.map(({ what, medianMs, p99Ms }) => [
    what,
    `${medianMs.toFixed(1)} ms`,
    `${p99Ms.toFixed(1)} ms`,
  ]);
  const snapshots = size.vms * size.snapshotsPerVm;
  return `${size.vms} VMs, ${snapshots} snapshots, ${size.auditEvents} audit events; the catalog takes ${formatBytes(catalogBytes)}, the server ${formatBytes(residentBytes)} of memory after these calls.\n\n${table(['call', 'median', '99th of 100'], rows)}`;
}

export function formatPart(part: Part, results: PartResults): string | null {
  if (part === 'capture') return results.capture ? formatCapture(results.capture) : null;
  if (part === 'pause') return results.pause ? formatPause(results.pause) : null;
  if (part === 'memory') return results.memory ? formatMemory(results.memory) : null;
  if (part === 'restore') return results.restore ? formatRestore(results.restore) : null;
  return results.catalog ? formatCatalog(results.catalog) : null;
}

/** Replaces the tables of the parts that were measured; the text around them is written by hand. */
export async function writeReport(
  parts: readonly Part[],
  results: PartResults,
  measured: { facts: MachineFacts; at: string },
): Promise<void> {
  const known = JSON.parse(await readFile(DATA, 'utf8').catch(() => '{}')) as Record<
    string,
    unknown
  >;
  let page = await readFile(PAGE, 'utf8');
  for (const part of parts) {
    const text = formatPart(part, results);
    if (text === null) continue;
    known[part] = { measuredAt: measured.at, machine: measured.facts, results: results[part] };
    page = replaceBetween(page, part, `${describeMachine(measured.facts, measured.at)}\n\n${text}`);
  }
  await writeFile(DATA, `${JSON.stringify(known, null, 2)}\n`);
  await writeFile(PAGE, page);
}

function replaceBetween(page: string, part: Part, text: string): string {
  const [begin, end] = [`<!-- bench ${part} -->`, `<!-- end of bench ${part} -->`];
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < from) throw new Error(`docs/benchmarks.md has lost its marks of ${part}`);
  return `${page.slice(0, from + begin.length)}\n\n${text}\n\n${page.slice(to)}`;
}
