import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { OperationError, type ErrorCode } from '../../shared/errors.ts';
import type { VmState } from '../../shared/inventory.ts';
import { waitFor } from '../../shared/waiting.ts';
import { openNbdClient } from '../nbd/client.ts';
import { startNbdServer } from '../nbd/server.ts';
import { createMemoryExport } from '../nbd/testing.ts';
import type {
  CaptureRequest,
  CapturedDisk,
  HypervisorDriver,
  MemorySink,
  NbdEndpoint,
  VmEvent,
} from './driver.ts';

export interface DiskWrite {
  readonly target: string;
  readonly offset: number;
  readonly lengthBytes: number;
  /** The byte that fills the range. */
  readonly pattern: number;
}

export interface TestDisk {
  readonly target: string;
  readonly path: string;
  readonly sizeBytes: number;
}

export interface TestVm {
  readonly vmId: string;
  readonly name: string;
  readonly disks: readonly TestDisk[];
}

/** What the suite needs beside the driver; everything here goes around the driver. */
export interface ConformanceHarness {
  readonly driver: HypervisorDriver;
  /** As another process on this host has it. */
  readonly otherDriver: HypervisorDriver;
  /** For scratch, images of clones and sockets; the hypervisor may read and write there. */
  readonly folder: string;
  /** A persistent VM with a qcow2 disk `vda` and a raw disk `vdb`, zero but for `writes`. */
  createVm(options: {
    state: 'running' | 'paused' | 'off';
    writes: readonly DiskWrite[];
  }): Promise<TestVm>;
  /** Through the running guest's device when the VM runs, to the image when it is off. */
  write(vm: TestVm, writes: readonly DiskWrite[]): Promise<void>;
  /** Content of an image; only while the VM is off. */
  readImage(disk: { path: string; target: string }): Promise<Buffer>;
  powerState(vmId: string): Promise<VmState>;
  /** Jobs, checkpoints, sockets, scratch: what a capture must not leave; empty is good. */
  captureLeftovers(vm: TestVm, captureId: string): Promise<string[]>;
  checkpoints(vmId: string): Promise<readonly string[]>;
  /** Files below `folder` whose names are a restore's. */
  restoreLeftovers(restoreId: string): Promise<string[]>;
  /** Removes every VM that was made, whatever state it is in. */
  removeVms(): Promise<void>;
  destroy(): Promise<void>;
}

const EVENT_TIMEOUT_MS = 20_000;
export const BLOCK = 64 * 1024;

export const hasCode =
  (...codes: readonly ErrorCode[]) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof OperationError, `not an expected failure: ${String(error)}`);
    assert.ok(codes.includes(error.code), `${error.code} (${error.message}), not ${codes.join()}`);
    return true;
  };

/** What a disk holds after these writes. */
export function contentAfter(disk: TestDisk, ...rounds: (readonly DiskWrite[])[]): Buffer {
  const content = Buffer.alloc(disk.sizeBytes);
  for (const { target, offset, lengthBytes, pattern } of rounds.flat()) {
    if (target === disk.target) content.fill(pattern, offset, offset + lengthBytes);
  }
  return content;
}

export function assertSameBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  if (Buffer.compare(actual, expected) === 0) return;
  assert.equal(actual.length, expected.length, `${what}: length`);
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  assert.fail(`${what} differs at ${at}: ${actual[at] ?? 'none'}, not ${expected[at] ?? 'none'}`);
}

export function captureRequest(
  harness: ConformanceHarness,
  vm: TestVm,
  options: Partial<CaptureRequest> = {},
): CaptureRequest {
  return {
    vmId: vm.vmId,
    captureId: randomUUID(),
    kind: 'disk',
    disks: vm.disks.map((disk) => disk.target),
    quiesce: 'never',
    memoryMode: options.kind === 'full' ? 'background' : null,
    memorySink: null,
    scratchFolder: path.join(harness.folder, 'scratch'),
    parentCheckpoint: null,
    freezeDeadlineMs: 10_000,
    ...options,
  };
}

export async function readCaptured(disk: CapturedDisk): Promise<Buffer> {
  const client = await openNbdClient({
    address: { socketPath: disk.nbd.socketPath },
    exportName: disk.nbd.exportName,
  });
  try {
    const content = Buffer.alloc(disk.sizeBytes);
    await client.readInto(0, content);
    return content;
  } finally {
    await client.close();
  }
}

/** Ranges that the dirty map flags as changed since the parent. */
export async function readDirtyRanges(
  disk: CapturedDisk,
): Promise<{ offset: number; lengthBytes: number }[] | null> {
  if (disk.dirtyContext === null) return null;
  const client = await openNbdClient({
    address: { socketPath: disk.nbd.socketPath },
    exportName: disk.nbd.exportName,
    metaContexts: [disk.dirtyContext],
  });
  try {
    const extents = await client.blockStatus(0, disk.sizeBytes, disk.dirtyContext);
    return extents.filter((extent) => (extent.flags & 1) === 1);
  } finally {
    await client.close();
  }
}

export interface CollectedMemory extends MemorySink {
  readonly pieces: readonly Uint8Array[];
  readonly outcome: 'open' | 'ended' | 'failed';
}

export function collectMemory(): CollectedMemory {
  const pieces: Uint8Array[] = [];
  let outcome: CollectedMemory['outcome'] = 'open';
  return {
    pieces,
    get outcome() {
      return outcome;
    },
    write(bytes) {
      pieces.push(Buffer.from(bytes));
    },
    end() {
      outcome = 'ended';
    },
    fail() {
      outcome = 'failed';
    },
  };
}

const sources = new Set<{ close(): Promise<void> }>();

/** What a failed test left open would keep the test process alive. */
export async function closeSources(): Promise<void> {
  for (const source of sources) await source.close();
  sources.clear();
}

/** Serves content as the repository would during a restore. */
export async function serveContent(
  harness: ConformanceHarness,
  contents: ReadonlyMap<string, Uint8Array>,
): Promise<{ endpoint(name: string): NbdEndpoint; close(): Promise<void> }> {
  const socketPath = path.join(harness.folder, `${randomUUID().slice(0, 8)}.sock`);
  const server = await startNbdServer({
    listen: { socketPath },
    exports: {
      list: async () => await Promise.resolve([...contents.keys()]),
      open: async (name) => {
        const content = contents.get(name);
        return await Promise.resolve(content ? createMemoryExport(content) : null);
      },
    },
  });
  sources.add(server);
  return {
    endpoint: (exportName) => ({ socketPath, exportName }),
    async close() {
      sources.delete(server);
      await server.close();
    },
  };
}

/** Collects events and waits for one that fits, also when it came before. */
export async function recordEvents(driver: HypervisorDriver): Promise<{
  wait(fits: (event: VmEvent) => boolean, what: string): Promise<void>;
  forget(): void;
  close(): Promise<void>;
}> {
  const events: VmEvent[] = [];
  let onEvent = (): void => undefined;
  const watch = await driver.watchVms((event) => {
    events.push(event);
    onEvent();
  });
  return {
    async wait(fits, what) {
      const seen = new Promise<void>((resolve) => {
        onEvent = () => {
          if (events.some(fits)) resolve();
        };
        onEvent();
      });
      await waitFor(seen, { timeoutMs: EVENT_TIMEOUT_MS, what });
    },
    forget() {
      events.length = 0;
    },
    close: async () => await watch.close(),
  };
}

export async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const heard = new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  await waitFor(heard, { timeoutMs: EVENT_TIMEOUT_MS, what: 'The capture becoming invalid' });
}
