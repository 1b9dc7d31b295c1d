import { newId } from '../../src/shared/ids.ts';
import { createRestoreRun } from '../../src/worker/restore-run.ts';
import { ensureBigDisk } from './big-disk.ts';
import { BIG_TARGET, bootBigGuest } from './big-guest.ts';
import { median } from './measuring.ts';
import type { BenchOptions } from './options.ts';
import { capture, dropCheckpoint, type Capture, type Store, type Workbench } from './workbench.ts';

export interface Phase {
  readonly name: string;
  readonly durationMs: number;
}

export interface RestoreResult {
  readonly diskBytes: number;
  readonly memoryMiB: number;
  readonly verifiedBytes: number;
  readonly verifyMs: number;
  /** Medians; the guest stands still from `stop` on. */
  readonly phases: readonly Phase[];
}

const MEMORY_MIB = 512;
const FIRST_LINE_LIMIT_MS = 60_000;

/** Rolls a running VM with the big disk back to a full snapshot, as the worker's job does. */
export async function benchRestore(
  workbench: Workbench,
  { quick, runs }: BenchOptions,
): Promise<RestoreResult> {
  const disk = await ensureBigDisk(quick);
  const guest = await bootBigGuest(disk, { mode: 'dirty', memoryMiB: MEMORY_MIB });
  const store = await workbench.openStore({ encrypted: true });
  try {
    const taken = await capture(store, guest, { kind: 'full', disks: [BIG_TARGET] });
    await dropCheckpoint(workbench, guest, taken);
    const startedMs = performance.now();
    const { bytesChecked, damages } = await store.repository.verifySnapshot(
      taken.manifest.snapshotId,
    );
    const verifyMs = performance.now() - startedMs;
    if (damages.length > 0) throw new Error(`the snapshot is damaged: ${JSON.stringify(damages)}`);
    const rounds: Phase[][] = [];
    for (let round = 0; round < runs; round += 1) rounds.push(await rollBack(store, guest, taken));
    return {
      diskBytes: disk.allocatedBytes,
      memoryMiB: MEMORY_MIB,
      verifiedBytes: bytesChecked,
      verifyMs,
      phases: (rounds[0] ?? []).map(({ name }, index) => ({
        name,
        durationMs: median(rounds.map((phases) => phases[index]?.durationMs ?? Number.NaN)),
      })),
    };
  } finally {
    await store.close();
    await guest.destroy();
  }
}

async function rollBack(
  { environment }: Store,
  guest: Awaited<ReturnType<typeof bootBigGuest>>,
  { manifest }: Capture,
): Promise<Phase[]> {
  const { driver } = environment;
  const { signal } = new AbortController();
  const phases: Phase[] = [];
  const timed = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    const startedMs = performance.now();
    try {
      return await work();
    } finally {
      phases.push({ name, durationMs: performance.now() - startedMs });
    }
  };
  const ignore = { onPlanned: async () => await Promise.resolve(), onBytes: () => undefined };
  const target = { restoreId: newId(Date.now()), vmId: guest.id, newVm: null };
  const run = createRestoreRun(environment, manifest, target);
  try {
    await timed('check the memory', async () => await run.checkMemory(ignore.onBytes, signal));
    const staged = await timed(
      'write the disks beside the old',
      async () => await run.stage(ignore, signal),
    );
    await timed('stop the VM', async () => await driver.stopVm(guest.id));
    const since = guest.nextLine;
    await timed('put the disks in place', async () => await driver.commitRestore(staged));
    await timed(
      'resume from memory',
      async () => await run.resumeMemory({ paused: false, onBytes: ignore.onBytes }, signal),
    );
    await timed(
      'until the guest’s first line',
      async () => void (await guest.waitForLine('beat', { timeoutMs: FIRST_LINE_LIMIT_MS, since })),
    );
    await timed('remove the old disks', async () => await driver.discardReplaced(staged));
    return phases;
  } finally {
    await run.close();
  }
}
