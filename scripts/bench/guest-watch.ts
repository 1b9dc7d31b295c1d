import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { TestGuest } from '../../test/support/guest/create-test-guest.ts';

/** When the guest printed its beats, in milliseconds of the wall clock of this machine. */
export interface Heartbeat {
  beats(): Promise<readonly number[]>;
  close(): Promise<void>;
}

export async function followHeartbeat({ serialPath }: TestGuest): Promise<Heartbeat> {
  const thread = new Worker(new URL('heartbeat-thread.ts', import.meta.url), {
    workerData: { serialPath },
  });
  await once(thread, 'message');
  return {
    async beats() {
      const answer = once(thread, 'message');
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
      thread.postMessage('beats');
      const [beats] = (await answer) as [number[]];
      return beats;
    },
    close: async () => void (await thread.terminate()),
  };
}

export interface TimeRange {
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * The longest time between two beats that touches the range, leaving out what touches `except`;
 * null without any.
 */
export function longestGapMs(
  beats: readonly number[],
  range: TimeRange,
  except?: TimeRange,
): number | null {
  const touches = (before: number, beat: number, { fromMs, toMs }: TimeRange): boolean =>
    beat >= fromMs && before <= toMs;
  let longest: number | null = null;
  for (const [index, beat] of beats.entries()) {
    const before = beats[index - 1];
    if (before === undefined || !touches(before, beat, range)) continue;
    if (except && touches(before, beat, except)) continue;
    longest = Math.max(longest ?? 0, beat - before);
  }
  return longest;
}

/** The times between QEMU's own STOP and RESUME events, as libvirt's client prints them. */
export interface StandstillWatch {
  /** Those since the last call. */
  take(): Promise<readonly TimeRange[]>;
  close(): Promise<void>;
}

const EVENT = /^event (STOP|RESUME) at (\d+)\.(\d+)/;
const SETTLE_LIMIT_MS = 10_000;

export async function watchStandstills({ name }: TestGuest): Promise<StandstillWatch> {
  const args = ['--connect', 'qemu:///system', 'qemu-monitor-event', name, '--loop'];
  const watcher = spawn('stdbuf', ['-oL', 'virsh', ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await once(watcher, 'spawn');
  const found: TimeRange[] = [];
  const open: { stoppedAtMs: number | null } = { stoppedAtMs: null };
  let taken = 0;
  let rest = '';
  watcher.stdout.on('data', (bytes: Buffer) => {
    const lines = (rest + bytes.toString('utf8')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const event = EVENT.exec(line);
      if (!event) continue;
      const atMs = Number(event[2]) * 1000 + Number(event[3]?.padEnd(6, '0')) / 1000;
      if (event[1] === 'STOP') open.stoppedAtMs = atMs;
      else if (open.stoppedAtMs !== null) {
        found.push({ fromMs: open.stoppedAtMs, toMs: atMs });
        open.stoppedAtMs = null;
      }
    }
  });
  return {
    async take() {
      // The events reach us through two more processes.
      const deadline = performance.now() + SETTLE_LIMIT_MS;
      while (
        (found.length === taken || open.stoppedAtMs !== null) &&
        performance.now() < deadline
      ) {
        await Promise.race([once(watcher.stdout, 'data'), waitMs(200)]);
      }
      const fresh = found.slice(taken);
      taken = found.length;
      return fresh;
    },
    async close() {
      const closed = once(watcher, 'close');
      watcher.kill();
      await closed;
    },
  };
}

const waitMs = async (ms: number): Promise<void> =>
  await new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
