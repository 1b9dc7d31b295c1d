import { z } from 'zod';
import { throwIfAborted } from '../../../shared/waiting.ts';
import {
  freezeForBackgroundSnapshot,
  watchPause,
  type BackgroundFreeze,
  type FreezeResult,
  type FreezeWork,
  type PauseWatch,
} from './freeze.ts';
import type { MemoryListener } from './memory-listener.ts';
import { runQmp, type MonitorCommand } from './qmp.ts';

const count = z.number().optional();
const blockStatsSchema = z
  .array(
    z.looseObject({
      qdev: z.string().optional(),
      stats: z.looseObject({
        wr_bytes: count,
        // Without it equal counts would tell nothing.
        wr_operations: z.number(),
        failed_wr_operations: count,
        invalid_wr_operations: count,
        unmap_bytes: count,
        unmap_operations: count,
        failed_unmap_operations: count,
        zone_append_operations: count,
      }),
    }),
  )
  .max(10_000);

/** What the guest has written and discarded so far, as QEMU counts it at each request's end. */
export type WriteCounts = string;

/**
 * Equal counts at two moments, the second with the guest stopped and its requests drained, mean
 * that no disk has changed in between (`query-blockstats`, QEMU's QMP reference).
 */
export async function countWrites(monitor: MonitorCommand): Promise<WriteCounts> {
  const devices = await runQmp(monitor, 'query-blockstats', {}, blockStatsSchema);
  return JSON.stringify(
    devices.map(({ qdev, stats }) => [
      qdev,
      stats.wr_bytes,
      stats.wr_operations,
      stats.failed_wr_operations,
      stats.invalid_wr_operations,
      stats.unmap_bytes,
      stats.unmap_operations,
      stats.failed_unmap_operations,
      stats.zone_append_operations,
    ]),
  );
}

/** A guest that never leaves such a gap is not waited for any longer. */
const QUIET_WAIT_MS = 1500;
/** No write for so long: the guest is idle, or writes seldom. */
const IDLE_MS = 300;
/** libvirt takes 50 to 150 ms to begin a backup: a gap between two writes that it fits in. */
const GAP_MS = 150;
/** No further write for so long after some: the burst of writes that ended the gap is over. */
const BURST_END_MS = 25;
const POLL_MS = 5;

/**
 * The counts of a moment in which the guest is likely to write nothing for a while; null when there
 * is none. Many guests write in bursts, at a timer's pace: after a gap that was long enough the
 * end of the next burst is waited for. QEMU tells nobody of writes, so it is asked.
 */
async function waitForQuiet({ domain, clock, signal }: AheadWork): Promise<WriteCounts | null> {
  const startedMs = clock.monotonicMs();
  let counts = await countWrites(domain.monitor);
  let changedMs = startedMs;
  let gapSeen = false;
  for (let nowMs = startedMs; nowMs - startedMs < QUIET_WAIT_MS; nowMs = clock.monotonicMs()) {
    throwIfAborted(signal);
    await new Promise<void>((resolve) => setTimeout(resolve, POLL_MS));
    const next = await countWrites(domain.monitor);
    const quietMs = clock.monotonicMs() - changedMs;
    if (next !== counts) {
      counts = next;
      changedMs += quietMs;
      gapSeen ||= quietMs >= GAP_MS;
    } else if (quietMs >= (gapSeen ? BURST_END_MS : IDLE_MS)) return counts;
  }
  return null;
}

export interface Frozen {
  readonly freeze: FreezeResult;
  readonly watch: PauseWatch;
}

export interface AheadWork extends FreezeWork {
  /** Ends the backup that was begun, so that another can begin. */
  readonly undoBackup: () => Promise<void>;
}

/**
 * Begins the backup while the guest runs, since libvirt takes a tenth of a second for it, and lets
 * it stand when the guest wrote nothing until it was stopped: the disks are then of that instant,
 * too (invariant 4). Otherwise the backup begins anew inside the pause.
 */
export async function freezeWithDisksAhead(
  work: AheadWork,
  memory: MemoryListener,
): Promise<Frozen> {
  const writes = await waitForQuiet(work);
  if (writes === null) return await freezeOnce(work, memory);
  await work.beginBackup(new AbortController().signal);
  const disksHold = async (): Promise<boolean> =>
    (await countWrites(work.domain.monitor)) === writes;
  // Most writes are found before the guest would be stopped in vain.
  const ahead = (await disksHold()) ? await freezeOnce({ ...work, disksHold }, memory) : null;
  if (ahead && !ahead.freeze.missed) return ahead;
  await ahead?.watch.stop();
  await work.undoBackup();
  const { freeze, watch } = await freezeOnce(work, memory);
  return { freeze: ahead ? joinPauses(ahead.freeze, freeze) : freeze, watch };
}

async function freezeOnce(
  work: FreezeWork,
  memory: MemoryListener,
): Promise<Frozen & { freeze: BackgroundFreeze }> {
  const watch = await watchPause(work.domain);
  try {
    return { freeze: await freezeForBackgroundSnapshot(work, memory, watch), watch };
  } catch (error) {
    await watch.stop();
    throw error;
  }
}

const joinPauses = (first: FreezeResult, second: FreezeResult): FreezeResult => ({
  ...second,
  pauseMs: first.pauseMs + second.pauseMs,
  phases: [{ name: 'first attempt', durationMs: first.pauseMs }, ...second.phases],
});
