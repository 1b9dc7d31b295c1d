import { setTimeout as delay } from 'node:timers/promises';
import path from 'node:path';
import { createTestGuest, type TestGuest } from '../../test/support/guest/create-test-guest.ts';
import { runVirsh, tryVirsh } from '../../test/support/guest/virsh.ts';
import {
  followHeartbeat,
  longestGapMs,
  watchStandstills,
  type Heartbeat,
  type StandstillWatch,
  type TimeRange,
} from './guest-watch.ts';
import { median } from './measuring.ts';
import type { BenchOptions } from './options.ts';
import { capture, dropCheckpoint, type Workbench } from './workbench.ts';

export interface PauseSample {
  /** Between QEMU's STOP and RESUME; null when the guest did not come to stand still, or not again. */
  readonly pauseMs: number | null;
  /** Longest time between two beats that the pause was part of: what the guest's users saw. */
  readonly gapAtPauseMs: number | null;
  readonly gapWhileStreamingMs: number | null;
  readonly wallMs: number;
}

export interface OurPauseSample extends PauseSample {
  /** What the snapshot itself says. */
  readonly storedPauseMs: number;
  readonly phases: readonly { readonly name: string; readonly durationMs: number }[];
}

export interface PauseResult {
  readonly memoryMiB: number;
  readonly dirtyMiB: number;
  /** Longest time between two beats when nobody takes snapshots. */
  readonly quietGapMs: number | null;
  readonly ours: readonly OurPauseSample[];
  readonly libvirt: readonly PauseSample[];
}

const QUIET_MS = 5000;
const BETWEEN_MS = 1500;
const BEAT_LIMIT_MS = 1000;
const LIBVIRT_LIMIT_MS = 180_000;
const TARGET = 'vda';

export async function benchPause(
  workbench: Workbench,
  { quick, runs }: BenchOptions,
): Promise<PauseResult[]> {
  const results: PauseResult[] = [];
  for (const memoryMiB of quick ? [512] : [512, 1024, 2048]) {
    const result = await benchSize(workbench, memoryMiB, quick ? 1 : Math.max(runs, 5));
    results.push(result);
    const show = (samples: readonly PauseSample[]): string =>
      samples.map(({ pauseMs }) => pauseMs?.toFixed(0) ?? '-').join(' ');
    process.stderr.write(
      `bench: pause at ${memoryMiB} MiB: Komadori ${show(result.ours)} ms, libvirt ${show(result.libvirt)} ms\n`,
    );
  }
  return results;
}

async function benchSize(
  workbench: Workbench,
  memoryMiB: number,
  runs: number,
): Promise<PauseResult> {
  const dirtyMiB = memoryMiB / 2;
  const guest = await createTestGuest({
    name: 'bench-pause',
    mode: 'dirty',
    memoryMiB,
    dirtyMiB,
    disks: [{ target: TARGET, format: 'qcow2', sizeMiB: 256, content: 'random' }],
  });
  const heartbeat = await followHeartbeat(guest);
  const standstills = await watchStandstills(guest);
  const watched = { guest, heartbeat, standstills };
  try {
    // Until its whole memory was written once.
    await guest.waitForLine(/pass 2\b/, { timeoutMs: 180_000 });
    const fromMs = Date.now();
    await delay(QUIET_MS);
    const quietGapMs = longestGapMs(await heartbeat.beats(), { fromMs, toMs: Date.now() });
    const ours: OurPauseSample[] = [];
    const libvirt: PauseSample[] = [];
    for (let round = 0; round < runs; round += 1) {
      const order = [
        async () => void ours.push(await pauseOurs(workbench, watched)),
        async () => void libvirt.push(await pauseLibvirt(watched, round)),
      ];
      for (const contender of round % 2 === 0 ? order : order.toReversed()) {
        await contender();
        await delay(BETWEEN_MS);
      }
    }
    return { memoryMiB, dirtyMiB, quietGapMs, ours, libvirt };
  } finally {
    await standstills.close();
    await heartbeat.close();
    await guest.destroy();
  }
}

interface Watched {
  readonly guest: TestGuest;
  readonly heartbeat: Heartbeat;
  readonly standstills: StandstillWatch;
}

async function pauseOurs(workbench: Workbench, watched: Watched): Promise<OurPauseSample> {
  const store = await workbench.openStore({ encrypted: true });
  try {
    const fromMs = Date.now();
    const taken = await capture(store, watched.guest, { kind: 'full', disks: [TARGET] });
    const wallMs = Date.now() - fromMs;
    await dropCheckpoint(workbench, watched.guest, taken);
    const { session, streamEndedAtMs } = taken;
    return {
      ...(await judge(watched, { fromMs, toMs: streamEndedAtMs })),
      wallMs,
      storedPauseMs: session.pauseMs,
      phases: session.pausePhases,
    };
  } finally {
    await store.close();
  }
}

/** libvirt's own live snapshot of memory and disk; the disk goes back to one file afterwards. */
async function pauseLibvirt(watched: Watched, round: number): Promise<PauseSample> {
  const { guest } = watched;
  const at = (name: string): string => path.join(guest.folder, `${name}-${round}`);
  const fromMs = Date.now();
  const memory = `file=${at('memory')},snapshot=external`;
  const disk = `${TARGET},snapshot=external,file=${at('overlay')}`;
  const args = ['--live', '--memspec', memory, '--diskspec', disk];
  const taken = await tryVirsh(
    ['snapshot-create-as', guest.name, `bench-${round}`, ...args],
    LIBVIRT_LIMIT_MS,
  );
  const toMs = Date.now();
  if (taken.exitCode !== 0) {
    process.stderr.write(`bench: libvirt's snapshot failed: ${taken.stderr}\n`);
    await tryVirsh(['domjobabort', guest.name]);
  } else {
    await runVirsh(['blockcommit', guest.name, TARGET, '--active', '--pivot', '--wait'], 120_000);
    await runVirsh(['snapshot-delete', guest.name, `bench-${round}`, '--metadata']);
  }
  return { ...(await judge(watched, { fromMs, toMs })), wallMs: toMs - fromMs };
}

/** `during`: while memory was being taken; the guest runs freely again afterwards. */
async function judge(
  { heartbeat, standstills }: Watched,
  during: TimeRange,
): Promise<Omit<PauseSample, 'wallMs'>> {
  const longest = (await standstills.take()).toSorted(
    (left, right) => right.toMs - right.fromMs - (left.toMs - left.fromMs),
  )[0];
  // The beat that ends the last gap may still be on its way.
  await delay(BEAT_LIMIT_MS);
  const beats = await heartbeat.beats();
  return {
    pauseMs: longest ? longest.toMs - longest.fromMs : null,
    gapAtPauseMs: longest ? longestGapMs(beats, longest) : null,
    gapWhileStreamingMs: longestGapMs(beats, during, longest),
  };
}

export const medianOf = (values: readonly (number | null)[]): number | null => {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : median(known);
};

export const maxOf = (values: readonly (number | null)[]): number | null => {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : Math.max(...known);
};
