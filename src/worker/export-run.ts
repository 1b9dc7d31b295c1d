import { mkdir, open, realpath, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Manifest } from '../data-plane/chunk-repository/manifest.ts';
import {
  readConfiguration,
  readMemoryStream,
  serveBundleDisks,
} from '../data-plane/engine/bundle-exports.ts';
import { buildSaveImageHead } from '../data-plane/migration-stream/save-image.ts';
import { OperationError } from '../shared/errors.ts';
import type { WorkerEnvironment } from './environment.ts';

export interface ExportWish {
  readonly exportId: string;
  readonly folder: string;
  readonly format: 'qcow2' | 'raw';
  readonly includeMemory: boolean;
}

/** Where an export is written until it is complete, and where it then is. */
export interface ExportPlace {
  readonly partialFolder: string;
  readonly finalFolder: string;
}

/** Throws `forbidden` unless the folder lies below one that the host's configuration allows. */
export async function planExport(
  environment: WorkerEnvironment,
  manifest: Manifest,
  wish: ExportWish,
): Promise<ExportPlace> {
  const { exportFolders } = environment.settings;
  await mkdir(wish.folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw new OperationError('permission_denied', `The folder ${wish.folder} cannot be made.`, {
      cause: error,
    });
  });
  // Resolved, so that no symbolic link leads out of what is allowed.
  const folder = await realpath(wish.folder);
  const isAllowed = exportFolders.some(
    (allowed) => folder === allowed || folder.startsWith(`${allowed}/`),
  );
  if (!isAllowed) {
    throw new OperationError(
      'forbidden',
      `Exports may go below ${exportFolders.join(', ') || 'no folder'} only; choose a folder there or change the host's configuration.`,
    );
  }
  const name = `${manifest.vm.name}_${manifest.name}`.replaceAll(/[^\p{L}\p{N}._-]/gu, '_');
  return {
    partialFolder: path.join(folder, `.komadori-export-${wish.exportId}`),
    finalFolder: path.join(folder, name),
  };
}

/** Writes images, XML and, if asked for, a libvirt save image. Resolves with the files' final paths. */
export async function writeExport(
  environment: WorkerEnvironment,
  manifest: Manifest,
  wish: ExportWish,
  place: ExportPlace,
  onBytes: (lengthBytes: number) => void,
  signal: AbortSignal,
): Promise<string[]> {
  const { repository, driver, settings } = environment;
  const names: string[] = [];
  await mkdir(place.partialFolder, { recursive: true, mode: 0o700 });
  await mkdir(settings.runtimeFolder, { recursive: true, mode: 0o700 });
  const server = await serveBundleDisks({
    repository,
    disks: manifest.disks,
    socketPath: path.join(settings.runtimeFolder, `${wish.exportId.slice(-12)}.sock`),
    onRead: onBytes,
  });
  try {
    for (const disk of manifest.disks) {
      const name = `${disk.target}.${wish.format === 'raw' ? 'raw' : 'qcow2'}`;
      const target = path.join(place.partialFolder, name);
      await rm(target, { force: true });
      const source = { socketPath: server.socketPath, exportName: disk.target };
      const image = { source, path: target, format: wish.format };
      await server.explaining(async () => await driver.writeImageFile(image, signal));
      names.push(name);
    }
  } finally {
    await server.close();
  }
  const configuration = await readConfiguration(repository, manifest, signal);
  const xml = configuration.persistentXml ?? configuration.liveXml;
  const write = async (name: string, content: string | Uint8Array): Promise<void> => {
    await writeFile(path.join(place.partialFolder, name), content, { mode: 0o600, flush: true });
    names.push(name);
  };
  if (xml !== null) await write('domain.xml', xml);
  if (configuration.nvram) await write('nvram.fd', configuration.nvram);
  if (wish.includeMemory && manifest.memory && configuration.memoryXml !== null) {
    await writeSaveImage(environment, manifest, {
      path: path.join(place.partialFolder, 'memory.save'),
      xml: configuration.memoryXml,
      onBytes,
      signal,
    });
    names.push('memory.save');
  }
  return names.map((name) => path.join(place.finalFolder, name));
}

async function writeSaveImage(
  environment: WorkerEnvironment,
  manifest: Manifest,
  options: {
    path: string;
    xml: string;
    onBytes: (lengthBytes: number) => void;
    signal: AbortSignal;
  },
): Promise<void> {
  if (!manifest.memory) return;
  const file = await open(options.path, 'w', 0o600);
  try {
    await file.write(
      buildSaveImageHead(options.xml, { wasRunning: manifest.vm.state === 'running' }),
    );
    for await (const bytes of readMemoryStream(
      environment.repository,
      manifest.memory,
      options.signal,
    )) {
      await file.write(bytes);
      options.onBytes(bytes.length);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Shows the complete export under its name; throws `name_taken` when something is there. */
export async function publishExport(place: ExportPlace): Promise<void> {
  try {
    await rename(place.partialFolder, place.finalFolder);
  } catch (error) {
    throw new OperationError(
      'name_taken',
      `${place.finalFolder} exists already; move it away or choose another folder.`,
      {
        cause: error,
      },
    );
  }
}

export async function removePartialExport(place: ExportPlace): Promise<void> {
  await rm(place.partialFolder, { recursive: true, force: true });
}
