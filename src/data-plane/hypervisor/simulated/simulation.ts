import { statSync } from 'node:fs';
import { checkPattern } from './guest-pattern.ts';
import type { Faults } from './faults.ts';
import { createRandom, planFleet, randomUuid } from './fleet.ts';
import { patternFiles, patternPlace, runGuest, stopGuest } from './guest.ts';
import { readImage } from './image-file.ts';
import type { AgentBehaviour, SimulatedDiskSpec, SimulatedVmSpec } from './simulated-vm.ts';
import { imageFolderOf, type SimulationContext } from './simulation-context.ts';
import type { GuestEvent } from './simulation-store.ts';
import { addDisk, addVm, imagePathOf, renameVm, writeToVm } from './vm-registry.ts';

export interface FleetVm {
  readonly id: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** What only a test or a demonstration may do to the simulated host. */
export interface Simulation {
  readonly folder: string;
  /** Where images are made unless a path is given; also good as `imageFolder` of clones. */
  readonly imageFolder: string;
  addVm(spec: SimulatedVmSpec): string;
  /** Plausible VMs whose guests idle. */
  seedFleet(count: number): FleetVm[];
  /** Lets every running guest work for that long. */
  advance(durationMs: number): void;
  /** Lets guests work in the background, in steps of this length; of this process only. */
  startGuests(options?: { intervalMs?: number }): void;
  stopGuests(): void;
  /** A write as the guest does it, or offline; `memory` is a target too. */
  write(vmId: string, target: string, write: { offset: number; bytes: Uint8Array }): void;
  read(vmId: string, target: string, range?: { offset: number; lengthBytes: number }): Uint8Array;
  /** Number of the last pattern that the guest wrote. */
  tick(vmId: string): number;
  /** Throws unless memory and disks of the guest hold one and the same instant; returns it. */
  checkGuest(vmId: string): Promise<number>;
  /** The same for bytes that somebody restored or captured. */
  checkContent(target: string, content: Uint8Array): Promise<number>;
  setAgent(vmId: string, agent: AgentBehaviour): void;
  renameVm(vmId: string, name: string): void;
  addDisk(vmId: string, spec?: SimulatedDiskSpec): string;
  crashVm(vmId: string): void;
  checkpoints(vmId: string): readonly string[];
  readonly faults: Faults;
  /** Everything that happened to a guest (or to all), in order, also in other processes. */
  events(vmId?: string): GuestEvent[];
}

const DEFAULT_INTERVAL_MS = 20;

export function createSimulation(
  context: SimulationContext,
  options: { seed: number; vms?: readonly SimulatedVmSpec[] },
): Simulation {
  const { store, folder } = context;
  const random = createRandom(options.seed);
  const add = (spec: SimulatedVmSpec): string => {
    // Drawn in any case, so that a second process with this seed gives the same ids.
    const drawn = randomUuid(random);
    const vmId = spec.id ?? drawn;
    addVm(context, vmId, spec);
    return vmId;
  };
  for (const spec of options.vms ?? []) add(spec);
  return {
    folder,
    imageFolder: imageFolderOf(folder),
    addVm: add,
    seedFleet: (count) =>
      store.transaction(() =>
        planFleet(count, createRandom(options.seed + 1)).map((spec) => ({
          id: add(spec),
          name: spec.name,
          labels: spec.labels ?? {},
        })),
      ),
    ...createGuestControl(context),
    setAgent(vmId, agent) {
      store.transaction(() => {
        const vm = store.requireVm(vmId);
        const definition = { ...vm.definition, hasAgentChannel: agent !== 'absent' };
        store.saveVm({ ...vm, agent, definition });
        store.appendEvent(vmId, 'agent_changed', agent);
      });
    },
    renameVm: (vmId, name) => renameVm(context, vmId, name),
    addDisk: (vmId, spec) => addDisk(context, vmId, spec),
    crashVm: (vmId) => stopGuest(store, vmId, { state: 'crashed', reason: 'by a test' }),
    checkpoints: (vmId) => store.requireVm(vmId).checkpoints,
    faults: {
      arm: (fault, armOptions = {}) => store.armFault(fault, armOptions),
      clear: () => store.clearFaults(),
      armed: () => store.armedFaults(),
    },
    events: (vmId) => store.events(vmId),
  };
}

type GuestControl = Pick<
  Simulation,
  | 'advance'
  | 'startGuests'
  | 'stopGuests'
  | 'write'
  | 'read'
  | 'tick'
  | 'checkGuest'
  | 'checkContent'
>;

function createGuestControl(context: SimulationContext): GuestControl {
  const { store } = context;
  let ticker: NodeJS.Timeout | null = null;
  const advance = (durationMs: number): void => {
    for (const vm of store.listVms()) {
      if (vm.writeEveryMs !== null) runGuest(store, vm.definition.id, durationMs);
    }
  };
  return {
    advance,
    startGuests({ intervalMs = DEFAULT_INTERVAL_MS } = {}) {
      if (ticker !== null) return;
      ticker = setInterval(() => advance(intervalMs), intervalMs);
      ticker.unref();
    },
    stopGuests() {
      if (ticker !== null) clearInterval(ticker);
      ticker = null;
    },
    write: (vmId, target, write) => writeToVm(context, vmId, { target, ...write }),
    read(vmId, target, range) {
      const imagePath = imagePathOf(store.requireVm(vmId), target);
      const { offset, lengthBytes } = range ?? {
        offset: 0,
        lengthBytes: statSync(imagePath).size,
      };
      return readImage(imagePath, offset, lengthBytes);
    },
    tick: (vmId) => store.requireVm(vmId).tick,
    async checkGuest(vmId) {
      const vm = store.requireVm(vmId);
      const ticks: number[] = [];
      for (const { target, imagePath } of patternFiles(vm)) {
        if (target === 'memory' && vm.state !== 'running' && vm.state !== 'paused') continue;
        const place = patternPlace(target, statSync(imagePath).size);
        const read = (offset: number, lengthBytes: number): Uint8Array =>
          readImage(imagePath, offset, lengthBytes);
        ticks.push(await checkPattern(place, read));
      }
      if (new Set(ticks).size > 1) {
        throw new Error(`disks and memory of one guest are of the ticks ${ticks.join(', ')}`);
      }
      return ticks[0] ?? 0;
    },
    checkContent: async (target, content) =>
      await checkPattern(patternPlace(target, content.length), (offset, lengthBytes) =>
        content.subarray(offset, offset + lengthBytes),
      ),
  };
}
