import { z } from 'zod';
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
        wr_operations: count,
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

export interface AheadWork extends FreezeWork {
  /** Ends the backup that was begun, so that another can begin. */
  readonly undoBackup: () => Promise<void>;
  /** The counts of some moment ago: a guest that has written since then writes all the time. */
  readonly writesBefore: WriteCounts;
}

/**
 * Begins the backup while the guest runs, since libvirt takes a tenth of a second for it, and lets
 * it stand when the guest wrote nothing until it was stopped: the disks are then of that instant,
 * too (invariant 4). Otherwise the guest goes on at once, and the backup begins anew in a pause.
 */
export async function freezeWithDisksAhead(
  work: AheadWork,
  memory: MemoryListener,
): Promise<{ freeze: FreezeResult; watch: PauseWatch }> {
  const writes = await countWrites(work.domain.monitor);
  if (writes !== work.writesBefore) return await freezeOnce(work, memory);
  await work.beginBackup(new AbortController().signal);
  const ahead = await freezeOnce(
    {
      ...work,
      disksHold: async () => (await countWrites(work.domain.monitor)) === writes,
    },
    memory,
  );
  if (!ahead.freeze.missed) return ahead;
  await ahead.watch.stop();
  await work.undoBackup();
  const { freeze, watch } = await freezeOnce(work, memory);
  return { freeze: joinPauses(ahead.freeze, freeze), watch };
}

async function freezeOnce(
  work: FreezeWork,
  memory: MemoryListener,
): Promise<{ freeze: BackgroundFreeze; watch: PauseWatch }> {
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
