import path from 'node:path';
import { randomUUID } from 'node:crypto';
import { waitFor } from '../../../shared/waiting.ts';
import { buildSaveImageHead } from '../../migration-stream/save-image.ts';
import { makeCaptureFolder, type EmulatorOwner } from './capture-folder.ts';
import { createMemoryFifo } from './memory-fifo.ts';
import type { LibvirtCaller } from './rpc/connection.ts';
import { SAVE_FLAG, restoreDomain } from './rpc/save-calls.ts';
import { rm } from 'node:fs/promises';

/** Reading memory of hundreds of gigabytes over a slow repository still fits. */
const RESTORE_TIMEOUT_MS = 12 * 3600 * 1000;

/**
 * Starts a VM from a memory stream: libvirt restores a save image that it reads from a named pipe,
 * so no copy of the memory touches a disk.
 */
export async function resumeFromMemory(
  libvirt: LibvirtCaller,
  owner: EmulatorOwner,
  request: { vmId: string; memoryXml: string; paused: boolean },
  writeStream: (write: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  const stop = new AbortController();
  const combined = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  const folder = await makeCaptureFolder(`resume-${randomUUID()}`, owner);
  const fifo = await createMemoryFifo(path.join(folder.path, 'memory.fifo'), owner, combined);
  try {
    const feed = async (): Promise<void> => {
      await fifo.write(buildSaveImageHead(request.memoryXml, { wasRunning: !request.paused }));
      await writeStream(async (bytes) => await fifo.write(bytes));
      await fifo.end();
    };
    const restored = restoreDomain(
      libvirt,
      { path: fifo.path, xml: null, flags: request.paused ? SAVE_FLAG.paused : SAVE_FLAG.running },
      { timeoutMs: RESTORE_TIMEOUT_MS, signal },
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
  } finally {
    stop.abort();
    await fifo.destroy();
    await rm(folder.path, { recursive: true, force: true });
  }
}
