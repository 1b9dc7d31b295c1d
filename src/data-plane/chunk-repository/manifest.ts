import { z } from 'zod';
import {
  consistencyLevelSchema,
  memoryModeSchema,
  snapshotKindSchema,
} from '../../shared/inventory.ts';

/** The signed document that lists a bundle's parts; docs/repository-format.md explains each field. */
export const treeRefSchema = z.strictObject({
  kind: z.enum(['disk', 'memory', 'blob']),
  root: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullable(),
  depth: z.int().min(0).max(8),
  blockSizeBytes: z.int().positive(),
  lengthBytes: z.int().nonnegative(),
});

const manifestDiskSchema = z.strictObject({
  target: z.string(),
  format: z.string(),
  path: z.string().nullable(),
  sizeBytes: z.int().nonnegative(),
  tree: treeRefSchema,
  /** libvirt checkpoint on the host whose bitmap says what changed since. */
  checkpoint: z.string().nullable(),
});

const memoryBlockSchema = z.strictObject({
  name: z.string(),
  lengthBytes: z.int().nonnegative(),
  tree: treeRefSchema,
});

/** A parsed migration stream: pages in trees, everything else as it came, in `remainder`. */
const pagedMemorySchema = z.strictObject({
  form: z.literal('pages'),
  blocks: z.array(memoryBlockSchema),
  /** Consecutive parts of one content. */
  remainder: z.array(treeRefSchema),
  /** Where the pages go between the remainder's bytes. */
  pagesAtRemainderOffset: z.int().nonnegative(),
  ramSectionId: z.int().nonnegative(),
});

/** A stream whose contents this version does not understand, kept whole. */
const rawMemorySchema = z.strictObject({
  form: z.literal('stream'),
  reason: z.string(),
  /** Consecutive parts of one content. */
  stream: z.array(treeRefSchema),
});

export const manifestSchema = z.strictObject({
  format: z.literal('komadori-bundle'),
  version: z.literal(1),
  snapshotId: z.guid(),
  name: z.string(),
  createdAt: z.iso.datetime(),
  capturedAt: z.iso.datetime(),
  kind: snapshotKindSchema,
  level: consistencyLevelSchema,
  levelReason: z.string(),
  pauseMs: z.number().nonnegative(),
  vm: z.strictObject({
    id: z.guid(),
    name: z.string(),
    state: z.string(),
    memoryBytes: z.int(),
    machineType: z.string(),
    domainType: z.string(),
  }),
  host: z.strictObject({
    hostname: z.string(),
    hypervisorVersion: z.string(),
    emulatorVersion: z.string(),
  }),
  toolVersion: z.string(),
  disks: z.array(manifestDiskSchema),
  /** Targets left out on request, with the reason. */
  skippedDisks: z.array(z.strictObject({ target: z.string(), reason: z.string() })),
  memory: z
    .strictObject({
      mode: memoryModeSchema,
      content: z.discriminatedUnion('form', [pagedMemorySchema, rawMemorySchema]),
    })
    .nullable(),
  /** Blobs: domain XML, NVRAM, TPM state. */
  configuration: z.strictObject({
    liveXml: treeRefSchema.nullable(),
    persistentXml: treeRefSchema.nullable(),
    memoryXml: treeRefSchema.nullable(),
    nvram: treeRefSchema.nullable(),
    tpmState: treeRefSchema.nullable(),
  }),
  /** Head of the audit chain when the bundle was made. */
  auditHead: z.string().nullable(),
});

export type Manifest = z.infer<typeof manifestSchema>;
