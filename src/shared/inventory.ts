import { z } from 'zod';

/**
 * What a worker knows of its host and VMs. It travels from the hypervisor driver through the
 * catalog to the API, so both planes share these shapes.
 */
export const vmStateSchema = z.enum(['running', 'paused', 'off', 'crashed', 'other']);
export type VmState = z.infer<typeof vmStateSchema>;

/** Why one disk cannot be captured: `code` is stable, `reason` is for people. */
export const diskObstacleSchema = z.object({
  code: z.enum([
    'not_a_disk',
    'read_only',
    'shareable',
    'transient',
    'network',
    'passthrough',
    'no_source',
    'format',
  ]),
  reason: z.string(),
});

export const diskDescriptionSchema = z.object({
  /** libvirt's target name, unique in the VM: `vda`. */
  target: z.string(),
  sourceType: z.string(),
  /** File or device path; null for sources without one. */
  path: z.string().nullable(),
  format: z.string(),
  sizeBytes: z.int().nonnegative(),
  allocatedBytes: z.int().nonnegative(),
  /** Paths below the active image, nearest first. */
  backingPaths: z.array(z.string()),
  readOnly: z.boolean(),
  obstacle: diskObstacleSchema.nullable(),
});
export type DiskDescription = z.infer<typeof diskDescriptionSchema>;

export const vmDescriptionSchema = z.object({
  id: z.guid(),
  name: z.string(),
  state: vmStateSchema,
  persistent: z.boolean(),
  memoryBytes: z.int().nonnegative(),
  vcpus: z.int().nonnegative(),
  machineType: z.string(),
  domainType: z.string(),
  disks: z.array(diskDescriptionSchema),
  agent: z.enum(['connected', 'disconnected', 'absent']),
  firmware: z.enum(['bios', 'uefi', 'direct-kernel']),
  nvramPath: z.string().nullable(),
  tpm: z.object({ model: z.string(), version: z.string(), persistent: z.boolean() }).nullable(),
  /** Why the memory of this VM cannot be captured on this host, one sentence each; empty when it can. */
  memoryObstacles: z.array(z.string()),
  /** Why the memory cannot be captured in `background` mode although slower modes work. */
  backgroundObstacles: z.array(z.string()),
  /** libvirt's own snapshots of this VM. */
  hypervisorSnapshots: z.object({ internal: z.int(), external: z.int() }),
  /** A libvirt job (migration, backup, dump) is running. */
  jobActive: z.boolean(),
  hasDisplay: z.boolean(),
});
export type VmDescription = z.infer<typeof vmDescriptionSchema>;

export const memoryModeSchema = z.enum(['background', 'pre-copy', 'stop-and-copy']);
/** How memory is captured: `background` pauses least, `stop-and-copy` works everywhere. */
export type MemoryMode = z.infer<typeof memoryModeSchema>;

export const hostDescriptionSchema = z.object({
  hostname: z.string(),
  hypervisorVersion: z.string(),
  emulatorVersion: z.string(),
  cpus: z.int(),
  memoryBytes: z.int(),
  /** Best mode first; `background` is absent where the host cannot do it. */
  memoryModes: z.array(memoryModeSchema),
  /** Why `background` is absent and what to do about it; empty when present. */
  memoryModeHints: z.array(z.string()),
});
export type HostDescription = z.infer<typeof hostDescriptionSchema>;

export const snapshotKindSchema = z.enum(['disk', 'full']);
export type SnapshotKind = z.infer<typeof snapshotKindSchema>;

export const consistencyLevelSchema = z.enum(['memory', 'application', 'crash', 'offline']);
export type ConsistencyLevel = z.infer<typeof consistencyLevelSchema>;

export const quiescePolicySchema = z.enum(['require', 'prefer', 'never']);
export type QuiescePolicy = z.infer<typeof quiescePolicySchema>;
