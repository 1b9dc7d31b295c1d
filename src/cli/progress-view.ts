import { SingleBar } from 'cli-progress';
import type { Job } from '../contract/jobs.ts';
import { formatBytes, formatDuration } from '../shared/byte-size.ts';
import type { CommandContext } from './command.ts';
import { fitText, plainText } from './text-width.ts';

export interface ProgressView {
  show(job: Job): void;
  close(): void;
}

const LINE_GAP_MS = 2000;
const SILENT: ProgressView = { show: () => undefined, close: () => undefined };

/** A bar on a terminal, plain lines elsewhere, nothing beside JSON. Always on stderr. */
export function createProgressView(
  context: CommandContext,
  monotonicMs: () => number = () => performance.now(),
): ProgressView {
  if (context.json) return SILENT;
  return context.terminal.errors.isTTY ? createBar(context) : createLines(context, monotonicMs);
}

function createLines(context: CommandContext, monotonicMs: () => number): ProgressView {
  let lastAt = Number.NEGATIVE_INFINITY;
  let lastLine = '';
  let waiting = '';
  const write = (line: string): void => {
    context.remark(line);
    lastLine = line;
    lastAt = monotonicMs();
    waiting = '';
  };
  return {
    show: (job) => {
      const line = describeProgress(context, job);
      if (line === '' || line === lastLine) return;
      if (monotonicMs() - lastAt >= LINE_GAP_MS) write(line);
      else waiting = line;
    },
    close: () => {
      if (waiting !== '') write(waiting);
    },
  };
}

export function describeProgress(context: CommandContext, job: Job): string {
  const { text } = context;
  const progress = job.progress;
  if (!progress) return job.steps.find((step) => step.state === 'running')?.name ?? job.state;
  const done = formatBytes(progress.doneBytes);
  const parts = [
    progress.totalBytes > 0
      ? text('progress.of', {
          phase: plainText(progress.phase),
          percent: percentOf(progress),
          done,
          total: formatBytes(progress.totalBytes),
        })
      : text('progress.some', { phase: plainText(progress.phase), done }),
  ];
  if (progress.ratePerSecond !== null)
    parts.push(text('progress.rate', { rate: formatBytes(progress.ratePerSecond) }));
  if (progress.secondsLeft !== null)
    parts.push(text('progress.left', { time: formatDuration(progress.secondsLeft * 1000) }));
  return parts.join(', ');
}

const percentOf = (progress: { doneBytes: number; totalBytes: number }): number =>
  progress.totalBytes > 0
    ? Math.min(100, Math.floor((progress.doneBytes / progress.totalBytes) * 100))
    : 0;

const BAR_COLUMNS = 24;

function createBar(context: CommandContext): ProgressView {
  const columns = context.terminal.errors.columns ?? 80;
  const bar = new SingleBar({
    format: '[{bar}] {line}',
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: BAR_COLUMNS,
    stream: context.terminal.errors,
    hideCursor: true,
    clearOnComplete: true,
    fps: 5,
    // Its own handler of signals would come before ours; the cursor comes back in close().
    gracefulExit: false,
  });
  let open = false;
  return {
    show: (job) => {
      const line = fitText(describeProgress(context, job), Math.max(10, columns - BAR_COLUMNS - 4));
      const percent = job.progress ? percentOf(job.progress) : 0;
      if (open) bar.update(percent, { line });
      else bar.start(100, percent, { line });
      open = true;
    },
    close: () => {
      if (open) bar.stop();
      open = false;
    },
  };
}
