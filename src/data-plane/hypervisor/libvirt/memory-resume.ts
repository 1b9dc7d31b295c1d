import { rm } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { waitFor } from '../../../shared/waiting.ts';
import { buildSaveImageHead } from '../../migration-stream/save-image.ts';
import { captureFolderFor, makeCaptureFolder, type EmulatorOwner } from './capture-folder.ts';
import { childElements, findElement, parseXml, readAttribute } from './domain-xml/xml-tree.ts';
import { lookupVm } from './libvirt-domain.ts';
import { createMemoryFifo, type MemoryFifo } from './memory-fifo.ts';
import { runQmp } from './qmp.ts';
import type { LibvirtCaller } from './rpc/connection.ts';
import { getDomainXml, resumeDomain } from './rpc/domain-calls.ts';
import { qemuMonitorCommand } from './rpc/qemu-calls.ts';
import { SAVE_FLAG, restoreDomain } from './rpc/save-calls.ts';

const END_TIMEOUT_MS = 60_000;
const END_LOOK_MS = 100;
/** Reading memory of hundreds of gigabytes over a slow repository still fits. */
const RESTORE_TIMEOUT_MS = 12 * 3600 * 1000;

/**
 * Starts a VM from a memory stream: libvirt restores a save image that it reads from a named pipe,
 * so no copy of the memory touches a disk.
 */
export async function resumeFromMemory(
  libvirt: LibvirtCaller,
  owner: EmulatorOwner,
  request: { vmId: string; memoryXml: string; paused: boolean; linksDown: boolean },
  writeStream: (write: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  const comesUpPaused = request.paused || request.linksDown;
  const stop = new AbortController();
  const combined = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  const folder = await makeCaptureFolder(resumeFolderName(request.vmId), owner);
  const fifo = await createMemoryFifo(path.join(folder.path, 'memory.fifo'), owner, combined);
  let restored: Promise<void> = Promise.resolve();
  try {
    const feed = async (): Promise<void> => {
      await fifo.write(buildSaveImageHead(request.memoryXml, { wasRunning: !comesUpPaused }));
      await writeStream(async (bytes) => await fifo.write(bytes));
      await fifo.end();
    };
    // Not given the signal: an abort ends the pipe, and libvirt's call then ends by itself.
    restored = restoreDomain(
      libvirt,
      { path: fifo.path, xml: null, flags: comesUpPaused ? SAVE_FLAG.paused : SAVE_FLAG.running },
      { timeoutMs: RESTORE_TIMEOUT_MS },
    );
    const feeding = feed();
    // Whichever side fails first ends the other: a reader that is gone would leave the writer waiting.
    const abortBoth = (error: unknown): never => {
      stop.abort(error);
      throw error;
    };
    await waitFor(Promise.all([restored.catch(abortBoth), feeding.catch(abortBoth)]), {
      timeoutMs: RESTORE_TIMEOUT_MS,
      what: 'Resuming the VM from its memory',
      signal,
    });
    if (request.linksDown) await pullCables(libvirt, request.vmId);
    if (comesUpPaused && !request.paused)
      await resumeDomain(libvirt, await lookupVm(libvirt, request.vmId));
  } finally {
    stop.abort();
    await fifo.close();
    await waitUntilLibvirtIsDone(restored, fifo);
    await rm(folder.path, { recursive: true, force: true });
  }
}

/** After this nothing of the restore can happen any more: what the caller undoes stays undone. */
async function waitUntilLibvirtIsDone(restored: Promise<void>, fifo: MemoryFifo): Promise<void> {
  // How it ended was told to the caller already.
  const over = restored.then(
    () => true,
    () => true,
  );
  const deadlineMs = performance.now() + END_TIMEOUT_MS;
  while (performance.now() < deadlineMs) {
    const pause = new Promise<false>((resolve) => setTimeout(() => resolve(false), END_LOOK_MS));
    if (await Promise.race([over, pause])) return;
    fifo.letReaderSeeTheEnd();
  }
}

/** One per VM, so that whoever undoes the restore of a process that died finds it. */
const resumeFolderName = (vmId: string): string => `resume-${vmId}`;

export async function removeResumeFolder(vmId: string): Promise<void> {
  await rm(captureFolderFor(resumeFolderName(vmId)).path, { recursive: true, force: true });
}

/** Tells QEMU itself: libvirt's own record says that the links are down already. */
async function pullCables(libvirt: LibvirtCaller, vmId: string): Promise<void> {
  const domain = await lookupVm(libvirt, vmId);
  const { root } = parseXml(await getDomainXml(libvirt, domain));
  for (const element of childElements(findElement(root, 'devices'), 'interface')) {
    const name = readAttribute(findElement(element, 'alias'), 'name');
    if (name === null) continue;
    const monitor = async (command: string): Promise<string> =>
      await qemuMonitorCommand(libvirt, domain, command);
    await runQmp(monitor, 'set_link', { name, up: false }, z.unknown());
  }
}
