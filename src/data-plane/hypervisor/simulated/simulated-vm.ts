import { z } from 'zod';
import { vmStateSchema } from '../../../shared/inventory.ts';

export const agentBehaviourSchema = z.enum([
  'absent',
  'disconnected',
  'connected',
  'failing',
  'hanging',
]);
/** `failing` and `hanging` agents look connected, as real ones do. */
export type AgentBehaviour = z.infer<typeof agentBehaviourSchema>;

export const imageFormatSchema = z.enum(['qcow2', 'raw']);
export type ImageFormat = z.infer<typeof imageFormatSchema>;

export const diskDefinitionSchema = z.strictObject({
  target: z.string().regex(/^[a-z]{2,4}$/),
  path: z.string().startsWith('/'),
  /** What the VM calls it; the simulation stores every image as plain bytes. */
  format: imageFormatSchema,
});
export type DiskDefinition = z.infer<typeof diskDefinitionSchema>;

export const interfaceDefinitionSchema = z.strictObject({
  mac: z.string().regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/),
  linkUp: z.boolean(),
});

/** What domain XML says. */
export const vmDefinitionSchema = z.strictObject({
  id: z.uuid(),
  name: z.string().min(1).max(256),
  memoryBytes: z.int().positive(),
  vcpus: z.int().positive(),
  machineType: z.string(),
  firmware: z.enum(['bios', 'uefi']),
  nvramPath: z.string().startsWith('/').nullable(),
  hasTpm: z.boolean(),
  hasAgentChannel: z.boolean(),
  /** A secret of the kind that real domain XML has. */
  graphicsPassword: z.string().nullable(),
  disks: z.array(diskDefinitionSchema).max(64),
  interfaces: z.array(interfaceDefinitionSchema).max(64),
});
export type VmDefinition = z.infer<typeof vmDefinitionSchema>;

/** A file whose blocks are kept aside before the guest overwrites them. */
const protectedFileSchema = z.strictObject({ imagePath: z.string(), cowPath: z.string() });
export type ProtectedFile = z.infer<typeof protectedFileSchema>;

const activeCaptureSchema = z.strictObject({
  captureId: z.string(),
  checkpoint: z.string().nullable(),
  socketPath: z.string(),
  scratchFolder: z.string(),
  hasPaused: z.boolean(),
  hasFrozen: z.boolean(),
  /** The VM stopped, and what the capture kept went with it; only its scratch folder is left. */
  isOver: z.boolean(),
  files: z.array(protectedFileSchema),
});
export type ActiveCapture = z.infer<typeof activeCaptureSchema>;

export const simulatedVmSchema = z.strictObject({
  definition: vmDefinitionSchema,
  state: vmStateSchema,
  isFrozen: z.boolean(),
  agent: agentBehaviourSchema,
  labels: z.record(z.string(), z.string()),
  /** How often the guest writes its pattern; null for a guest that only idles. */
  writeEveryMs: z.int().positive().nullable(),
  /** Simulated time that has not made a whole write yet. */
  pendingMs: z.number().nonnegative(),
  /** Number of the last pattern that the guest wrote. */
  tick: z.int().nonnegative(),
  /** File of the running guest's memory; meaningless while it is off. */
  memoryPath: z.string(),
  captures: z.array(activeCaptureSchema),
  checkpoints: z.array(z.string()),
  hypervisorSnapshots: z.strictObject({ internal: z.int(), external: z.int() }),
  memoryObstacles: z.array(z.string()),
});
export type SimulatedVm = z.infer<typeof simulatedVmSchema>;

export interface SimulatedDiskSpec {
  readonly target?: string;
  readonly format?: ImageFormat;
  readonly sizeBytes?: number;
  readonly path?: string;
}

export interface SimulatedVmSpec {
  readonly id?: string;
  readonly name: string;
  readonly state?: 'running' | 'paused' | 'off';
  readonly memoryBytes?: number;
  readonly vcpus?: number;
  readonly disks?: readonly SimulatedDiskSpec[];
  readonly agent?: AgentBehaviour;
  readonly firmware?: 'bios' | 'uefi';
  readonly tpm?: boolean;
  readonly labels?: Readonly<Record<string, string>>;
  /** 10 ms unless told otherwise. */
  readonly writeEveryMs?: number | null;
  readonly graphicsPassword?: string;
  readonly hypervisorSnapshots?: { readonly internal: number; readonly external: number };
  readonly memoryObstacles?: readonly string[];
}

export const isActive = (vm: SimulatedVm): boolean =>
  vm.state === 'running' || vm.state === 'paused';
