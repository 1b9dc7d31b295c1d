import { rmSync } from 'node:fs';
import { OperationError } from '../../../shared/errors.ts';
import { throwIfAborted } from '../../../shared/waiting.ts';
import { parseDomainXml } from './domain-xml.ts';
import { bootGuest, type PowerState } from './guest.ts';
import { BLOCK_BYTES, createImage, readInode } from './image-file.ts';
import { readMemoryStream } from './memory-stream.ts';
import { findDisks } from './capture.ts';
import { isActive, type SimulatedVm } from './simulated-vm.ts';
import type { SimulationContext } from './simulation-context.ts';

function refuseStart(context: SimulationContext, vm: SimulatedVm): void {
  // A VM whose disk is not in place cannot start: restores rely on it.
  findDisks(
    vm,
    vm.definition.disks.map(({ target }) => target),
  );
  if (context.store.takeFault('start_fails', vm.definition.id)) {
    throw new OperationError('hypervisor_failed', `${vm.definition.name} could not be started.`);
  }
}

/** No error when the VM is started already. */
export function startVm(context: SimulationContext, vmId: string, state: PowerState): void {
  const { store } = context;
  store.transaction(() => {
    const vm = store.requireVm(vmId);
    if (isActive(vm)) return;
    refuseStart(context, vm);
    bootGuest(store, vmId, state);
  });
}

/** Fills the memory of a VM that is off from a migration stream and lets it go on from there. */
export async function resumeFromMemory(
  context: SimulationContext,
  request: { vmId: string; memoryXml: string; paused: boolean; linksDown: boolean },
  writeStream: (write: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  const { store } = context;
  const vm = store.requireVm(request.vmId);
  const { memoryBytes } = checkMemoryXml(vm, request.memoryXml);
  refuseStart(context, vm);
  rmSync(vm.memoryPath, { force: true });
  createImage(store, vm.memoryPath, memoryBytes);
  const inode = readInode(vm.memoryPath) ?? '';
  const reader = readMemoryStream({
    memoryPath: vm.memoryPath,
    memoryBytes,
    onWritten: (offset, lengthBytes) =>
      store.markWritten(
        inode,
        Math.floor(offset / BLOCK_BYTES),
        Math.floor((offset + lengthBytes - 1) / BLOCK_BYTES),
      ),
  });
  try {
    await writeStream(async (bytes) => {
      throwIfAborted(signal);
      store.transaction(() => reader.push(bytes));
      await Promise.resolve();
    });
    throwIfAborted(signal);
    const { tick } = reader.finish();
    const state = request.paused ? 'paused' : 'running';
    store.transaction(() => {
      const now = store.requireVm(request.vmId);
      const interfaces = request.linksDown
        ? now.definition.interfaces.map(({ mac }) => ({ mac, linkUp: false }))
        : now.definition.interfaces;
      const definition = { ...now.definition, interfaces };
      store.saveVm({ ...now, definition, state, tick, pendingMs: 0, isFrozen: false });
      store.appendEvent(request.vmId, 'started', `${state}, from its memory`);
    });
  } catch (error) {
    rmSync(vm.memoryPath, { force: true });
    throw error;
  } finally {
    reader.close();
  }
}

/** A memory fits only the machine that it was taken from. */
function checkMemoryXml(vm: SimulatedVm, memoryXml: string): { memoryBytes: number } {
  if (isActive(vm)) {
    throw new OperationError('wrong_state', `${vm.definition.name} is running already.`);
  }
  const wanted = parseDomainXml(memoryXml);
  if (wanted.id !== vm.definition.id || wanted.memoryBytes !== vm.definition.memoryBytes) {
    throw new OperationError(
      'invalid_input',
      `The memory belongs to another machine than ${vm.definition.name}.`,
    );
  }
  return { memoryBytes: wanted.memoryBytes };
}
