import { rm } from 'node:fs/promises';
import type { TestGuest } from '../../test/support/guest/create-test-guest.ts';
import { runCommand } from '../setup/run-command.ts';
import { ensureBigDisk, type BigDisk } from './big-disk.ts';
import { BIG_TARGET, bootBigGuest } from './big-guest.ts';
import { findEmulatorPid, folderBytes, measure, median, type Cost } from './measuring.ts';
import type { BenchOptions } from './options.ts';
import { listPeers, type Contender } from './peers.ts';
import { capture, dropCheckpoint, type Capture, type Store, type Workbench } from './workbench.ts';

export interface ContenderResult extends Cost {
  readonly name: string;
  readonly kind: Contender['kind'];
  readonly live: boolean;
  readonly storedBytes: number | null;
  /** Of each run, in the order of running. */
  readonly wallMsOfRuns: readonly number[];
}

export interface CaptureResults {
  readonly diskBytes: number;
  readonly dataBytes: number;
  readonly contenders: readonly ContenderResult[];
}

const CONTENDERS = {
  encrypted: 'Komadori, first capture (encrypted)',
  plain: 'Komadori, first capture (not encrypted)',
  again: 'Komadori, unchanged disk read again',
  dirtyMap: 'Komadori, unchanged disk by dirty map',
} as const;

/** Everybody takes the same disk of the same running, idle guest; the order alternates. */
export async function benchCapture(
  workbench: Workbench,
  options: BenchOptions,
): Promise<CaptureResults> {
  const disk = await ensureBigDisk(options.quick);
  const guest = await bootBigGuest(disk, { mode: 'idle', memoryMiB: 256 });
  try {
    const peers = await listPeers({
      guest,
      rawPath: disk.rawPath,
      makeFolder: async (label) => await workbench.makeFolder(label),
      removeFolder: async (folder) => await rm(folder, { recursive: true, force: true }),
    });
    const contenders = [...listOurs(workbench, guest), ...peers].filter(
      ({ name, kind }) =>
        options.only.length === 0 ||
        options.only.some((part) => name.includes(part) || part === kind),
    );
    const samples = new Map<string, { cost: Cost; storedBytes: number | null }[]>();
    for (let round = 0; round < options.runs; round += 1) {
      const order = round % 2 === 0 ? contenders : contenders.toReversed();
      for (const contender of order) {
        const sample = await runOnce(contender, guest, disk);
        samples.set(contender.name, [...(samples.get(contender.name) ?? []), sample]);
        process.stderr.write(
          `bench: ${contender.name}: ${(sample.cost.wallMs / 1000).toFixed(1)} s, CPU ${(sample.cost.cpuMs / 1000).toFixed(1)} s, stored ${sample.storedBytes ?? '-'}\n`,
        );
      }
    }
    return {
      diskBytes: disk.sizeBytes,
      dataBytes: disk.allocatedBytes,
      contenders: contenders.map((contender) => summarize(contender, samples)),
    };
  } finally {
    await guest.destroy();
  }
}

async function runOnce(
  contender: Contender,
  guest: TestGuest,
  disk: BigDisk,
): Promise<{ cost: Cost; storedBytes: number | null }> {
  await warm(guest.diskPath(BIG_TARGET));
  await warm(disk.rawPath);
  try {
    await contender.prepare?.();
    // What earlier contenders wrote must not be waited for by the next.
    await runCommand('sync', [], { timeoutMs: 300_000 });
    const pid = findEmulatorPid(guest.name);
    const cost = await measure(pid, async () => await contender.work());
    return { cost, storedBytes: await contender.storedBytes() };
  } finally {
    await contender.cleanUp?.();
  }
}

const warm = async (file: string): Promise<void> =>
  void (await runCommand('sh', ['-c', 'cat "$0" >/dev/null', file], { timeoutMs: 300_000 }));

function summarize(
  { name, kind, live }: Contender,
  samples: ReadonlyMap<string, readonly { cost: Cost; storedBytes: number | null }[]>,
): ContenderResult {
  const own = samples.get(name) ?? [];
  const stored = own.flatMap(({ storedBytes }) => (storedBytes === null ? [] : [storedBytes]));
  const of = (key: keyof Cost): number => median(own.map(({ cost }) => cost[key]));
  return {
    name,
    kind,
    live,
    wallMs: of('wallMs'),
    cpuMs: of('cpuMs'),
    emulatorCpuMs: of('emulatorCpuMs'),
    storedBytes: stored.length === 0 ? null : median(stored),
    wallMsOfRuns: own.map(({ cost }) => Math.round(cost.wallMs)),
  };
}

function listOurs(workbench: Workbench, guest: TestGuest): Contender[] {
  return [
    captureOurs({ workbench, guest, name: CONTENDERS.encrypted, encrypted: true, before: 'none' }),
    captureOurs({ workbench, guest, name: CONTENDERS.plain, encrypted: false, before: 'none' }),
    captureOurs({ workbench, guest, name: CONTENDERS.again, encrypted: true, before: 'chunks' }),
    captureOurs({ workbench, guest, name: CONTENDERS.dirtyMap, encrypted: true, before: 'map' }),
  ];
}

/** From the call to the durable snapshot: the beginning of the backup job is part of it, as is its end. */
function captureOurs(setting: {
  workbench: Workbench;
  guest: TestGuest;
  name: string;
  encrypted: boolean;
  /** What an earlier capture left: nothing, its chunks, or its chunks and a checkpoint. */
  before: 'none' | 'chunks' | 'map';
}): Contender {
  const { workbench, guest, encrypted, before } = setting;
  let store: Store | undefined;
  let first: Capture | undefined;
  let last: Capture | undefined;
  let storedBefore = 0;
  const use = (): Store => {
    if (!store) throw new Error('the store is not open');
    return store;
  };
  const wish = { kind: 'disk' as const, disks: [BIG_TARGET] };
  return {
    name: setting.name,
    kind: 'ours',
    live: true,
    async prepare() {
      store = await workbench.openStore({ encrypted });
      first = before === 'none' ? undefined : await capture(store, guest, wish);
      if (first && before === 'chunks') await dropCheckpoint(workbench, guest, first);
      storedBefore = await folderBytes(store.folder);
    },
    async work() {
      const parent = before === 'map' ? (first?.manifest ?? null) : null;
      last = await capture(use(), guest, { ...wish, parent });
    },
    storedBytes: async () => (await folderBytes(use().folder)) - storedBefore,
    async cleanUp() {
      if (last) await dropCheckpoint(workbench, guest, last);
      if (first && before === 'map') await dropCheckpoint(workbench, guest, first);
      first = undefined;
      last = undefined;
      await store?.close();
    },
  };
}
