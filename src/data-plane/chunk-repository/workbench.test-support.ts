import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { KIB } from '../../shared/byte-size.ts';
import type { BlobStorage } from '../blob-storage/blob-storage.ts';
import { type RepositoryLayout } from './layout.ts';
import type { Manifest } from './manifest.ts';
import {
  type CreateOptions,
  createRepository,
  type OpenedRepository,
  openRepository,
} from './open-repository.ts';
import type { RepositoryWriter, TreeKind, TreeRef } from './repository.ts';

/** Small nodes and packs, so that little data makes deep trees and many packs. */
export const SMALL_LAYOUT: RepositoryLayout = {
  trees: {
    disk: { blockSizeBytes: 8 * KIB, leafEntries: 4 },
    memory: { blockSizeBytes: 4 * KIB, leafEntries: 4 },
    blob: { blockSizeBytes: 8 * KIB, leafEntries: 4 },
  },
  fanOut: 3,
  frameSizeBytes: 256 * KIB,
  packSizeBytes: 64 * KIB,
  compressionLevel: 1,
};

export interface Workbench {
  readonly folder: string;
  create(storage: BlobStorage, options?: Partial<CreateOptions>): Promise<OpenedRepository>;
  open(storage: BlobStorage, options?: Partial<CreateOptions>): Promise<OpenedRepository>;
  /** A path for an index that nobody has used. */
  freshIndexPath(): string;
  dispose(): Promise<void>;
}

/** A folder for keys and indexes, and the repositories that were opened with it. */
export function createWorkbench(defaults: Partial<CreateOptions> = {}): Workbench {
  const folder = mkdtempSync(path.join(tmpdir(), 'komadori-repository-'));
  const opened: OpenedRepository[] = [];
  let indexes = 0;
  const freshIndexPath = (): string => path.join(folder, `index-${(indexes += 1)}.sqlite`);
  const complete = (storage: BlobStorage, options: Partial<CreateOptions>): CreateOptions => ({
    storage,
    indexPath: freshIndexPath(),
    key: { kind: 'key-file', path: path.join(folder, 'key') },
    encrypted: true,
    threads: 0,
    layout: SMALL_LAYOUT,
    ...defaults,
    ...options,
  });
  const keep = (repository: OpenedRepository): OpenedRepository => {
    opened.push(repository);
    return repository;
  };
  return {
    folder,
    create: async (storage, options = {}) =>
      keep(await createRepository(complete(storage, options))),
    open: async (storage, options = {}) => keep(await openRepository(complete(storage, options))),
    freshIndexPath,
    async dispose() {
      for (const repository of opened) await repository.close();
      rmSync(folder, { recursive: true });
    },
  };
}

/** Writes a whole content, leaving out blocks that are all zero. */
export async function writeTree(
  writer: RepositoryWriter,
  kind: TreeKind,
  content: Uint8Array,
): Promise<TreeRef> {
  const tree = writer.createTree({ kind, lengthBytes: content.length });
  await tree.write(0, content);
  return await tree.finish();
}

export async function readTree(
  repository: OpenedRepository,
  tree: TreeRef,
  name = 'tree',
): Promise<Buffer> {
  const target = Buffer.alloc(tree.lengthBytes, 0xa5);
  await repository.openTree(tree, name).readInto(0, target);
  return target;
}

export function makeManifest(
  disks: Readonly<Record<string, TreeRef>>,
  snapshotId: string = randomUUID(),
): Manifest {
  const at = '2026-01-02T03:04:05.000Z';
  return {
    format: 'komadori-bundle',
    version: 1,
    snapshotId,
    name: 'test',
    createdAt: at,
    capturedAt: at,
    kind: 'disk',
    level: 'crash',
    levelReason: 'test',
    pauseMs: 0,
    vm: {
      id: 'a3d7b0a5-3f6b-4a39-9a3f-0d3c1c1c1c1c',
      name: 'vm',
      state: 'running',
      memoryBytes: 0,
      machineType: 'pc',
      domainType: 'kvm',
    },
    host: { hostname: 'host', hypervisorVersion: '1', emulatorVersion: '1' },
    toolVersion: '0',
    disks: Object.entries(disks).map(([target, tree]) => ({
      target,
      format: 'raw',
      path: null,
      sizeBytes: tree.lengthBytes,
      tree,
      checkpoint: null,
    })),
    skippedDisks: [],
    memory: null,
    configuration: {
      liveXml: null,
      persistentXml: null,
      memoryXml: null,
      nvram: null,
      tpmState: null,
    },
    auditHead: null,
  };
}
