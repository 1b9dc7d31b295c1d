import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import { createDirectoryStorage } from '../../src/data-plane/blob-storage/directory/directory-storage.ts';
import type { Manifest } from '../../src/data-plane/chunk-repository/manifest.ts';
import { createRepository } from '../../src/data-plane/chunk-repository/open-repository.ts';
import type { Repository } from '../../src/data-plane/chunk-repository/repository.ts';
import type { CaptureSession, HypervisorDriver } from '../../src/data-plane/hypervisor/driver.ts';
import { withoutGuard } from '../../src/data-plane/hypervisor/freeze-guard.ts';
import { createLibvirtDriver } from '../../src/data-plane/hypervisor/libvirt/libvirt-driver.ts';
import { systemClock } from '../../src/shared/clock.ts';
import { newId } from '../../src/shared/ids.ts';
import { silentLogger } from '../../src/shared/logger.ts';
import { createCaptureRun, type CaptureOutcome } from '../../src/worker/capture-run.ts';
import type { WorkerEnvironment } from '../../src/worker/environment.ts';
import type { TestGuest } from '../../test/support/guest/create-test-guest.ts';
import { folderOf, formatTestName } from '../../test/support/guest/leftovers.ts';

export interface Workbench {
  readonly folder: string;
  readonly driver: HypervisorDriver;
  /** A folder of its own for one contender's output. */
  makeFolder(label: string): Promise<string>;
  /** A fresh repository; close and remove it afterwards. */
  openStore(options: { encrypted: boolean }): Promise<Store>;
  close(): Promise<void>;
}

export interface Store {
  readonly folder: string;
  readonly repository: Repository;
  readonly environment: WorkerEnvironment;
  close(): Promise<void>;
}

/** The product's own parts put together as the worker does it, without its database and processes. */
export async function createWorkbench(): Promise<Workbench> {
  // Named like a test's, so that what a killed run leaves is taken away by the next one.
  const random = randomBytes(4).toString('hex');
  const folder = folderOf(formatTestName('bench', process.pid, random));
  await mkdir(folder, { mode: 0o711 });
  await chmod(folder, 0o711);
  const driver = createLibvirtDriver({
    clock: systemClock,
    logger: silentLogger,
    freezeGuard: withoutGuard,
  });
  const makeFolder = async (label: string): Promise<string> => {
    const made = await mkdtemp(path.join(folder, `${label}-`));
    await chmod(made, 0o711);
    return made;
  };
  return {
    folder,
    driver,
    makeFolder,
    openStore: async ({ encrypted }) =>
      await openStore(await makeFolder('store'), driver, encrypted),
    async close() {
      await driver.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function openStore(
  folder: string,
  driver: HypervisorDriver,
  encrypted: boolean,
): Promise<Store> {
  const at = (name: string): string => path.join(folder, name);
  for (const name of ['repository', 'scratch']) await mkdir(at(name), { mode: 0o711 });
  // Paths of sockets must be short.
  const runtimeFolder = await mkdtemp('/tmp/kmd-bench-');
  const repository = await createRepository({
    storage: await createDirectoryStorage(at('repository')),
    indexPath: at('index.sqlite'),
    key: { kind: 'key-file', path: at('key') },
    encrypted,
  });
  const environment: WorkerEnvironment = {
    hostId: 'bench',
    toolVersion: 'bench',
    // Captures and restores by themselves do not use the catalog.
    catalog: undefined as never,
    driver,
    repository,
    clock: systemClock,
    logger: silentLogger,
    settings: {
      scratchFolder: at('scratch'),
      scratchFloorBytes: 0,
      repositoryFloorBytes: 0,
      repositoryFolder: at('repository'),
      runtimeFolder,
      imageFolder: folder,
      exportFolders: [folder],
      freezeDeadlineMs: 10_000,
      jobsAtOnce: 1,
    },
  };
  return {
    folder: at('repository'),
    repository,
    environment,
    async close() {
      await repository.close();
      for (const made of [folder, runtimeFolder]) await rm(made, { recursive: true, force: true });
    },
  };
}

export interface Capture extends CaptureOutcome {
  readonly session: CaptureSession;
  /** On the wall clock. */
  readonly streamEndedAtMs: number;
  readonly phasesMs: Readonly<Record<'freeze' | 'stream' | 'commit' | 'release', number>>;
}

/** One whole capture; the checkpoint stays until it is dropped. */
export async function capture(
  { environment }: Store,
  guest: Pick<TestGuest, 'id'>,
  wish: { kind: 'disk' | 'full'; disks: readonly string[]; parent?: Manifest | null },
): Promise<Capture> {
  const { signal } = new AbortController();
  const run = createCaptureRun(environment);
  const snapshotId = newId(Date.now());
  const marks = [performance.now()];
  const mark = (): void => void marks.push(performance.now());
  const spent = (index: number): number => (marks[index + 1] ?? 0) - (marks[index] ?? 0);
  try {
    const session = await run.freeze(
      {
        vmId: guest.id,
        captureId: snapshotId,
        kind: wish.kind,
        disks: wish.disks,
        quiesce: 'never',
        memoryMode: wish.kind === 'full' ? 'background' : null,
        parent: wish.parent ?? null,
      },
      signal,
    );
    mark();
    const facts = {
      snapshotId,
      name: 'bench',
      createdAt: new Date().toISOString(),
      toolVersion: 'bench',
      host: await environment.driver.describeHost(),
      skippedDisks: [],
      auditHead: null,
    };
    await run.stream(facts, () => undefined, signal);
    mark();
    const streamEndedAtMs = performance.timeOrigin + performance.now();
    const outcome = await run.commit();
    mark();
    await run.release();
    mark();
    const phasesMs = { freeze: spent(0), stream: spent(1), commit: spent(2), release: spent(3) };
    return { ...outcome, session, streamEndedAtMs, phasesMs };
  } catch (error) {
    await run.abandon();
    throw error;
  }
}

export async function dropCheckpoint(
  { driver }: Workbench,
  guest: Pick<TestGuest, 'id'>,
  { session }: Pick<Capture, 'session'>,
): Promise<void> {
  if (session.checkpoint !== null) await driver.dropCheckpoint(guest.id, session.checkpoint);
}
