import { rmSync, statSync } from 'node:fs';
import { describeThrown } from '../../../shared/errors.ts';
import { formatRecord, placeOfTick, readTick, RECORD_BYTES } from './guest-pattern.ts';
import { createImage, overwriteImage, readImage } from './image-file.ts';
import { isActive, type SimulatedVm } from './simulated-vm.ts';
import type { SimulationStore } from './simulation-store.ts';

/** Longer absences of the clock are not made up for write by write. */
const TICKS_AT_ONCE_MAX = 1000;

export type PowerState = 'running' | 'paused';

/** Copies of a restore hold the pattern of the VM that wrote them, so the seed is not the VM's id. */
const PATTERN_SEED = 'guest';

interface PatternFile {
  readonly target: string;
  readonly imagePath: string;
}

export const patternFiles = (vm: SimulatedVm): PatternFile[] => [
  ...vm.definition.disks.map(({ target, path }) => ({ target, imagePath: path })),
  { target: 'memory', imagePath: vm.memoryPath },
];

export const patternPlace = (
  target: string,
  sizeBytes: number,
): { seed: string; target: string; sizeBytes: number } => ({
  seed: PATTERN_SEED,
  target,
  sizeBytes,
});

/**
 * A write by the guest. It fails like a real one when a capture has no room for what it
 * overwrites, which is recorded as an I/O error of the guest.
 */
export function writeAsGuest(
  store: SimulationStore,
  vm: SimulatedVm,
  write: { imagePath: string; offset: number; bytes: Uint8Array },
): void {
  const protectedBy = vm.captures.flatMap(({ files }) =>
    files.filter((file) => file.imagePath === write.imagePath),
  );
  const { id } = vm.definition;
  if (protectedBy.length > 0 && store.takeFault('scratch_full', id)) {
    store.appendEvent(id, 'io_error', `${write.imagePath}: no room to keep the old block`);
    return;
  }
  try {
    overwriteImage(store, { ...write, protectedBy });
  } catch (error) {
    store.appendEvent(id, 'io_error', `${write.imagePath}: ${describeThrown(error)}`);
  }
}

/** Lets a running guest work for some time; everything of one tick is one instant. */
export function runGuest(store: SimulationStore, vmId: string, durationMs: number): void {
  store.transaction(() => {
    const vm = store.findVm(vmId);
    if (vm?.state !== 'running' || vm.isFrozen || vm.writeEveryMs === null) return;
    const total = vm.pendingMs + durationMs;
    const ticks = Math.min(Math.floor(total / vm.writeEveryMs), TICKS_AT_ONCE_MAX);
    for (let count = 1; count <= ticks; count += 1) writeTick(store, vm, vm.tick + count);
    store.saveVm({
      ...vm,
      tick: vm.tick + ticks,
      pendingMs: total % vm.writeEveryMs,
    });
  });
}

function writeTick(store: SimulationStore, vm: SimulatedVm, tick: number): void {
  for (const { target, imagePath } of patternFiles(vm)) {
    const status = statSync(imagePath, { throwIfNoEntry: false });
    if (status === undefined) {
      store.appendEvent(vm.definition.id, 'io_error', `${imagePath} is gone`);
      continue;
    }
    const place = patternPlace(target, status.size);
    const bytes = formatRecord(place, tick);
    writeAsGuest(store, vm, { imagePath, offset: 0, bytes });
    writeAsGuest(store, vm, { imagePath, offset: placeOfTick(status.size, tick), bytes });
  }
}

/** Boots: the memory is new, and the guest goes on from what its first disk holds. */
export function bootGuest(store: SimulationStore, vmId: string, state: PowerState): void {
  store.transaction(() => {
    const vm = store.requireVm(vmId);
    if (isActive(vm)) return;
    rmSync(vm.memoryPath, { force: true });
    createImage(store, vm.memoryPath, vm.definition.memoryBytes);
    const [disk] = vm.definition.disks;
    const tick = disk ? (readTick(readImage(disk.path, 0, RECORD_BYTES)) ?? 0) : 0;
    const booted = { ...vm, state, tick, pendingMs: 0, isFrozen: false };
    // From here on memory and disks tell the same instant, as they must after every write.
    if (tick > 0) writeBootRecords(store, booted, tick);
    store.saveVm(booted);
    store.appendEvent(vmId, 'started', state);
  });
}

function writeBootRecords(store: SimulationStore, vm: SimulatedVm, tick: number): void {
  const place = patternPlace('memory', vm.definition.memoryBytes);
  const oldest = Math.max(1, tick - 64);
  for (let earlier = oldest; earlier <= tick; earlier += 1) {
    const bytes = formatRecord(place, earlier);
    const imagePath = vm.memoryPath;
    writeAsGuest(store, vm, { imagePath, offset: placeOfTick(place.sizeBytes, earlier), bytes });
    if (earlier === tick) writeAsGuest(store, vm, { imagePath, offset: 0, bytes });
  }
}

/** The memory is lost, and captures of it with it; the disks stay. */
export function stopGuest(
  store: SimulationStore,
  vmId: string,
  options: { state: 'off' | 'crashed'; reason: string },
): void {
  store.transaction(() => {
    const vm = store.requireVm(vmId);
    if (!isActive(vm)) return;
    const captures = vm.captures.map((capture) => ({
      ...capture,
      hasPaused: false,
      hasFrozen: false,
      isOver: true,
      files: [],
    }));
    store.saveVm({ ...vm, state: options.state, isFrozen: false, captures });
    store.appendEvent(vmId, options.state === 'off' ? 'stopped' : 'crashed', options.reason);
    rmSync(vm.memoryPath, { force: true });
  });
}
