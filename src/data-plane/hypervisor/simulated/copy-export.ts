import { execFile } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { promisify } from 'node:util';
import { OperationError, describeThrown } from '../../../shared/errors.ts';
import { abortReason } from '../../../shared/waiting.ts';
import { openNbdClient, type NbdClient } from '../../nbd/client.ts';
import type { NbdEndpoint } from '../driver.ts';
import { createImage, overwriteImage } from './image-file.ts';
import type { ImageFormat } from './simulated-vm.ts';
import type { SimulationContext } from './simulation-context.ts';

const STEP_BYTES = 1024 * 1024;
const ALLOCATION = 'base:allocation';
/** `base:allocation` bit 1. */
const READS_AS_ZERO = 2;
const CONVERT_TIMEOUT_MS = 3600 * 1000;
const execute = promisify(execFile);

/** Copies what an NBD export holds into an image of zeroes. */
export async function copyExport(
  context: SimulationContext,
  copy: { source: NbdEndpoint; imagePath: string; sizeBytes: number },
  options: { signal?: AbortSignal | undefined; onCopied?: (lengthBytes: number) => void } = {},
): Promise<void> {
  const { signal, onCopied } = options;
  await withExport(copy.source, signal, async (client) => {
    for await (const { offset, lengthBytes, flags } of extentsOf(client, signal)) {
      if ((flags & READS_AS_ZERO) !== 0) continue;
      const end = Math.min(offset + lengthBytes, copy.sizeBytes);
      for (let at = offset; at < end; at += STEP_BYTES) {
        const bytes = new Uint8Array(Math.min(STEP_BYTES, end - at));
        await client.readInto(at, bytes, signal);
        const { imagePath } = copy;
        context.store.transaction(() => {
          overwriteImage(context.store, { imagePath, offset: at, bytes, protectedBy: [] });
        });
        onCopied?.(bytes.length);
      }
    }
  });
}

async function withExport<T>(
  source: NbdEndpoint,
  signal: AbortSignal | undefined,
  work: (client: NbdClient) => Promise<T>,
): Promise<T> {
  const client = await openNbdClient({
    address: { socketPath: source.socketPath },
    exportName: source.exportName,
    metaContexts: [ALLOCATION],
    signal,
  });
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}

function extentsOf(
  client: NbdClient,
  signal: AbortSignal | undefined,
): AsyncIterable<{ offset: number; lengthBytes: number; flags: number }> {
  if (client.metaContexts.includes(ALLOCATION)) return client.extents(ALLOCATION, { signal });
  return wholeOf(client);
}

async function* wholeOf(
  client: NbdClient,
): AsyncGenerator<{ offset: number; lengthBytes: number; flags: number }> {
  yield await Promise.resolve({ offset: 0, lengthBytes: client.info.sizeBytes, flags: 0 });
}

/** An image for other tools: real qcow2 where that is asked for, unlike the simulation's own. */
export async function writeImageFile(
  context: SimulationContext,
  image: { source: NbdEndpoint; path: string; format: ImageFormat },
  signal?: AbortSignal,
): Promise<void> {
  const { source, path, format } = image;
  if (existsSync(path)) throw new OperationError('name_taken', `${path} exists already.`);
  try {
    if (format === 'raw') {
      const sizeBytes = await withExport(
        source,
        signal,
        async (client) => await Promise.resolve(client.info.sizeBytes),
      );
      createImage(context.store, path, sizeBytes);
      await copyExport(context, { source, imagePath: path, sizeBytes }, { signal });
    } else await convert(source, path, signal);
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
}

async function convert(
  source: NbdEndpoint,
  path: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const uri = `nbd+unix:///${encodeURIComponent(source.exportName)}?socket=${encodeURIComponent(source.socketPath)}`;
  const limits = { timeout: CONVERT_TIMEOUT_MS, ...(signal ? { signal } : {}) };
  try {
    await execute('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', uri, path], limits);
  } catch (error) {
    if (signal?.aborted) throw abortReason(signal);
    throw new OperationError('hypervisor_failed', `qemu-img failed: ${describeThrown(error)}`, {
      cause: error,
    });
  }
}
