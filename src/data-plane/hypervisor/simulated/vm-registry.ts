import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { KIB, MIB } from '../../../shared/byte-size.ts';
import { OperationError } from '../../../shared/errors.ts';
import { TPM_STATE_FILE } from './capture.ts';
import type { VmChange } from './faults.ts';
import { bootGuest, stopGuest, writeAsGuest } from './guest.ts';
import { createImage } from './image-file.ts';
import { macFor } from './plan-restore.ts';
import {
  vmDefinitionSchema,
  type SimulatedDiskSpec,
  type SimulatedVm,
  type SimulatedVmSpec,
  type VmDefinition,
} from './simulated-vm.ts';
import {
  imageFolderOf,
  memoryFolderOf,
  nvramFolderOf,
  tpmFolderOf,
  type SimulationContext,
} from './simulation-context.ts';

const DEFAULT_MEMORY_BYTES = 16 * MIB;
const DEFAULT_DISK_BYTES = 8 * MIB;
const DEFAULT_WRITE_EVERY_MS = 10;
const NVRAM_BYTES = 64 * KIB;
const LETTERS = 'abcdefghijklmnopqrstuvwxyz';

const targetAt = (index: number): string => `vd${LETTERS[index] ?? 'z'}`;

/** Makes a VM with its images; a VM with this id that is there already stays as it is. */
export function addVm(context: SimulationContext, vmId: string, spec: SimulatedVmSpec): void {
  const { store } = context;
  store.transaction(() => {
    if (store.findVm(vmId)) return;
    const definition = definitionFor(context, vmId, spec);
    const disks = spec.disks ?? [{}];
    for (const [index, disk] of definition.disks.entries()) {
      createImage(store, disk.path, disks[index]?.sizeBytes ?? DEFAULT_DISK_BYTES);
    }
    writeStateFiles(context, definition);
    store.saveVm({
      ...newVm(context, definition),
      agent: spec.agent ?? 'connected',
      labels: { ...spec.labels },
      writeEveryMs: spec.writeEveryMs === undefined ? DEFAULT_WRITE_EVERY_MS : spec.writeEveryMs,
      hypervisorSnapshots: spec.hypervisorSnapshots ?? { internal: 0, external: 0 },
      memoryObstacles: [...(spec.memoryObstacles ?? [])],
    });
    store.appendEvent(vmId, 'defined');
    if (spec.state !== 'off') bootGuest(store, vmId, spec.state ?? 'running');
  });
}

function definitionFor(
  context: SimulationContext,
  vmId: string,
  spec: SimulatedVmSpec,
): VmDefinition {
  const imageFolder = imageFolderOf(context.folder);
  const disks = (spec.disks ?? [{}]).map((disk: SimulatedDiskSpec, index) => {
    const target = disk.target ?? targetAt(index);
    const format = disk.format ?? 'qcow2';
    const extension = format === 'qcow2' ? 'qcow2' : 'img';
    const imagePath = disk.path ?? path.join(imageFolder, `${spec.name}-${target}.${extension}`);
    return { target, format, path: imagePath };
  });
  return vmDefinitionSchema.parse({
    id: vmId,
    name: spec.name,
    memoryBytes: spec.memoryBytes ?? DEFAULT_MEMORY_BYTES,
    vcpus: spec.vcpus ?? 1,
    machineType: 'pc-q35-7.2',
    firmware: spec.firmware ?? 'bios',
    nvramPath:
      spec.firmware === 'uefi' ? path.join(nvramFolderOf(context.folder), `${vmId}.fd`) : null,
    hasTpm: spec.tpm ?? false,
    hasAgentChannel: spec.agent !== 'absent',
    graphicsPassword: spec.graphicsPassword ?? null,
    disks,
    interfaces: [{ mac: macFor(vmId, 0), linkUp: true }],
  });
}

function writeStateFiles(context: SimulationContext, definition: VmDefinition): void {
  if (definition.nvramPath !== null) {
    mkdirSync(path.dirname(definition.nvramPath), { recursive: true });
    writeFileSync(definition.nvramPath, randomBytes(NVRAM_BYTES));
  }
  if (definition.hasTpm) {
    const folder = tpmFolderOf(context.folder, definition.id);
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, TPM_STATE_FILE), randomBytes(KIB).toString('base64'));
  }
}

function newVm(context: SimulationContext, definition: VmDefinition): SimulatedVm {
  return {
    definition,
    state: 'off',
    isFrozen: false,
    agent: definition.hasAgentChannel ? 'connected' : 'absent',
    labels: {},
    writeEveryMs: DEFAULT_WRITE_EVERY_MS,
    pendingMs: 0,
    tick: 0,
    memoryPath: path.join(memoryFolderOf(context.folder), definition.id),
    captures: [],
    checkpoints: [],
    hypervisorSnapshots: { internal: 0, external: 0 },
    memoryObstacles: [],
  };
}

/** Gives a VM its definition, as libvirt does: new, or in place of the one with this id. */
export function defineVm(context: SimulationContext, definition: VmDefinition): void {
  const { store } = context;
  store.transaction(() => {
    const sameName = store.findVmByName(definition.name);
    if (sameName && sameName.definition.id !== definition.id) {
      throw new OperationError(
        'name_taken',
        `A VM called ${definition.name} exists already; choose another name.`,
      );
    }
    const current = store.findVm(definition.id) ?? newVm(context, definition);
    store.saveVm({ ...current, definition, checkpoints: [] });
    store.appendEvent(definition.id, 'defined');
  });
}

/** Images stay. No error when the VM is gone. */
export function removeDefinition(context: SimulationContext, vmId: string): void {
  const { store } = context;
  store.transaction(() => {
    if (!store.findVm(vmId)) return;
    stopGuest(store, vmId, { state: 'off', reason: 'removed' });
    store.deleteVm(vmId);
    store.appendEvent(vmId, 'removed');
  });
}

export function renameVm(context: SimulationContext, vmId: string, name: string): void {
  const { store } = context;
  store.transaction(() => {
    const vm = store.requireVm(vmId);
    store.saveVm({ ...vm, definition: { ...vm.definition, name } });
    store.appendEvent(vmId, 'renamed', name);
  });
}

/** Plugs a new disk in, also while the VM runs; returns its target. */
export function addDisk(
  context: SimulationContext,
  vmId: string,
  spec: SimulatedDiskSpec = {},
): string {
  const { store } = context;
  return store.transaction(() => {
    const vm = store.requireVm(vmId);
    const { definition } = vm;
    const target = spec.target ?? targetAt(definition.disks.length);
    const imagePath =
      spec.path ?? path.join(imageFolderOf(context.folder), `${vmId}-${target}.qcow2`);
    createImage(store, imagePath, spec.sizeBytes ?? DEFAULT_DISK_BYTES);
    const disk = { target, path: imagePath, format: spec.format ?? 'qcow2' };
    store.saveVm({ ...vm, definition: { ...definition, disks: [...definition.disks, disk] } });
    store.appendEvent(vmId, 'disk_added', target);
    return target;
  });
}

export function changeVm(context: SimulationContext, vmId: string, change: VmChange): void {
  const { store } = context;
  switch (change) {
    case 'start':
      bootGuest(store, vmId, 'running');
      break;
    case 'stop':
      stopGuest(store, vmId, { state: 'off', reason: 'by a fault' });
      break;
    case 'remove':
      removeDefinition(context, vmId);
      break;
    case 'rename':
      renameVm(context, vmId, `${store.requireVm(vmId).definition.name}-renamed`);
      break;
    case 'add_disk':
      addDisk(context, vmId);
      break;
  }
}

/** Writes to a disk or the memory, as the guest does when it runs, or offline. */
export function writeToVm(
  context: SimulationContext,
  vmId: string,
  write: { target: string; offset: number; bytes: Uint8Array },
): void {
  const { store } = context;
  store.transaction(() => {
    const vm = store.requireVm(vmId);
    const imagePath = imagePathOf(vm, write.target);
    writeAsGuest(store, vm, { imagePath, offset: write.offset, bytes: write.bytes });
  });
}

export function imagePathOf(vm: SimulatedVm, target: string): string {
  if (target === 'memory') return vm.memoryPath;
  const disk = vm.definition.disks.find((candidate) => candidate.target === target);
  if (disk) return disk.path;
  throw new OperationError('not_found', `${vm.definition.name} has no disk ${target}.`);
}
