import { setTimeout as delay } from 'node:timers/promises';
import { createTestGuest } from '../../test/support/guest/create-test-guest.ts';
import { folderBytes } from './measuring.ts';
import type { BenchOptions } from './options.ts';
import { capture, dropCheckpoint, type Workbench } from './workbench.ts';

export interface MemorySnapshot {
  /** Since the first one. */
  readonly afterMs: number;
  readonly readBytes: number;
  readonly addedBytes: number;
  readonly newPageBytes: number;
  readonly wallMs: number;
}

export interface MemoryResult {
  readonly mode: 'idle' | 'counter';
  readonly memoryMiB: number;
  readonly snapshots: readonly MemorySnapshot[];
}

/** Time between a snapshot and the one before it. */
const WAITS_MS = [0, 8000, 60_000];

/** What one full snapshot after the other adds to a repository. */
export async function benchMemory(
  workbench: Workbench,
  { quick }: BenchOptions,
): Promise<MemoryResult[]> {
  const results: MemoryResult[] = [];
  for (const mode of ['idle', 'counter'] as const) {
    const memoryMiB = quick ? 256 : 1024;
    const waitsMs = quick ? [0, 0] : [0, ...WAITS_MS];
    results.push({
      mode,
      memoryMiB,
      snapshots: await takeSeries(workbench, mode, memoryMiB, waitsMs),
    });
  }
  return results;
}

async function takeSeries(
  workbench: Workbench,
  mode: 'idle' | 'counter',
  memoryMiB: number,
  waitsMs: readonly number[],
): Promise<MemorySnapshot[]> {
  const guest = await createTestGuest({
    name: 'bench-memory',
    mode,
    memoryMiB,
    disks: [{ target: 'vda', format: 'qcow2', sizeMiB: 256 }],
  });
  const store = await workbench.openStore({ encrypted: true });
  try {
    const snapshots: MemorySnapshot[] = [];
    let firstMs: number | null = null;
    let storedBytes = await folderBytes(store.folder);
    for (const waitMs of waitsMs) {
      await delay(waitMs);
      const startedMs = performance.now();
      firstMs ??= startedMs;
      const taken = await capture(store, guest, { kind: 'full', disks: ['vda'] });
      const wallMs = performance.now() - startedMs;
      await dropCheckpoint(workbench, guest, taken);
      const nowStored = await folderBytes(store.folder);
      snapshots.push({
        afterMs: startedMs - firstMs,
        readBytes: taken.readBytes,
        addedBytes: nowStored - storedBytes,
        newPageBytes: taken.written.bytesNew,
        wallMs,
      });
      storedBytes = nowStored;
    }
    return snapshots;
  } finally {
    await store.close();
    await guest.destroy();
  }
}
