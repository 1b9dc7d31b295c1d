import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Manifest } from '../data-plane/chunk-repository/manifest.ts';
import {
  readConfiguration,
  readDiskThrough,
  readMemoryStream,
  serveBundleDisks,
  type BundleServer,
} from '../data-plane/engine/bundle-exports.ts';
import type {
  CapturedConfiguration,
  ClonePlan,
  DiskPlacement,
  HypervisorDriver,
  StagedRestore,
} from '../data-plane/hypervisor/driver.ts';
import { OperationError } from '../shared/errors.ts';
import { throwIfAborted } from '../shared/waiting.ts';
import type { WorkerEnvironment } from './environment.ts';

export interface RestoreTarget {
  readonly restoreId: string;
  readonly vmId: string;
  readonly newVm: {
    readonly name: string;
    readonly linksDown: boolean;
    readonly imageFolder: string;
  } | null;
}

/** One restore in this process: serves the bundle's disks and drives the hypervisor's restore calls. */
export interface RestoreRun {
  /** Reads every page once, so that damage shows before the VM is touched. */
  checkMemory(onBytes: (lengthBytes: number) => void, signal: AbortSignal): Promise<void>;
  stage(
    options: {
      onPlanned: (staged: StagedRestore) => Promise<void>;
      onBytes: (lengthBytes: number) => void;
    },
    signal: AbortSignal,
  ): Promise<StagedRestore>;
  resumeMemory(
    options: { paused: boolean; onBytes: (lengthBytes: number) => void },
    signal: AbortSignal,
  ): Promise<void>;
  close(): Promise<void>;
}

export function createRestoreRun(
  environment: WorkerEnvironment,
  manifest: Manifest,
  target: RestoreTarget,
): RestoreRun {
  const { driver, repository, settings } = environment;
  let server: BundleServer | null = null;
  let plan: ClonePlan | null = null;

  return {
    async checkMemory(onBytes, signal) {
      if (!manifest.memory) return;
      for await (const bytes of readMemoryStream(repository, manifest.memory, signal)) {
        throwIfAborted(signal);
        onBytes(bytes.length);
      }
    },
    async stage({ onPlanned, onBytes }, signal) {
      const configuration = await readConfiguration(repository, manifest, signal);
      const planned = await planRestore(driver, { manifest, target, configuration }, signal);
      plan = planned;
      await mkdir(settings.runtimeFolder, { recursive: true, mode: 0o700 });
      server = await serveBundleDisks({
        repository,
        disks: manifest.disks,
        socketPath: path.join(settings.runtimeFolder, `${target.restoreId.slice(-12)}.sock`),
        onRead: onBytes,
      });
      const { socketPath } = server;
      // A device's new content waits nowhere: only this reads it before the VM is stopped.
      for (const disk of manifest.disks) {
        if (planned.disks.some((one) => one.target === disk.target && one.inPlace))
          await readDiskThrough(repository, disk, onBytes, signal);
      }
      const request = {
        vmId: target.vmId,
        restoreId: target.restoreId,
        disks: planned.disks.map((disk) => placeDisk(manifest, disk, socketPath)),
        nvram: configuration.nvram,
        tpmState: configuration.tpmState,
        xml: planned.xml,
        isNewVm: target.newVm !== null,
      };
      return await server.explaining(
        async () => await driver.stageRestore(request, onPlanned, signal),
      );
    },
    async resumeMemory({ paused, onBytes }, signal) {
      const memoryXml = plan?.memoryXml;
      const { memory } = manifest;
      if (!memory || !memoryXml) {
        throw new OperationError('wrong_state', 'The snapshot holds no memory to go on from.');
      }
      await driver.resumeFromMemory(
        { vmId: target.vmId, memoryXml, paused, linksDown: target.newVm?.linksDown ?? false },
        async (write) => {
          for await (const bytes of readMemoryStream(repository, memory, signal)) {
            await write(bytes);
            onBytes(bytes.length);
          }
        },
        signal,
      );
    },
    async close() {
      await server?.close();
    },
  };
}

async function planRestore(
  driver: HypervisorDriver,
  restore: { manifest: Manifest; target: RestoreTarget; configuration: CapturedConfiguration },
  signal: AbortSignal,
): Promise<ClonePlan> {
  const { manifest, target, configuration } = restore;
  const diskTargets = manifest.disks.map((disk) => disk.target);
  if (!target.newVm) {
    return await driver.planRollback({ vmId: target.vmId, configuration, diskTargets }, signal);
  }
  const { name, linksDown, imageFolder } = target.newVm;
  return driver.planClone({
    configuration,
    newVmId: target.vmId,
    newName: name,
    linksDown,
    imageFolder,
    diskTargets,
  });
}

function placeDisk(
  manifest: Manifest,
  disk: ClonePlan['disks'][number],
  socketPath: string,
): DiskPlacement {
  const captured = manifest.disks.find((candidate) => candidate.target === disk.target);
  if (!captured) {
    const message = `The plan names a disk ${disk.target} that the snapshot lacks.`;
    throw new OperationError('internal', message);
  }
  const source = { socketPath, exportName: disk.target };
  return { ...disk, source, sizeBytes: captured.sizeBytes };
}
