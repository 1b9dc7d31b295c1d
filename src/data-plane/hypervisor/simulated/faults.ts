import { z } from 'zod';

/** Where in a capture something happens; disk captures have no pause, so theirs is the frozen time. */
export const capturePhaseSchema = z.enum(['before_pause', 'in_pause', 'after_pause']);
export type CapturePhase = z.infer<typeof capturePhaseSchema>;

const vmChangeSchema = z.enum(['stop', 'start', 'remove', 'rename', 'add_disk']);
export type VmChange = z.infer<typeof vmChangeSchema>;

/**
 * What can go wrong on demand. Faults are stored beside the VMs, so a test can arm one that
 * another process runs into.
 */
export const faultSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('capture_fails'), phase: capturePhaseSchema }),
  /** Stands still until the freeze deadline or, outside the pause, until it is cancelled. */
  z.strictObject({ kind: z.literal('capture_hangs'), phase: capturePhaseSchema }),
  /** The process that captures dies as by `kill -9`. */
  z.strictObject({ kind: z.literal('capture_kills_process'), phase: capturePhaseSchema }),
  z.strictObject({
    kind: z.literal('disk_read_fails'),
    target: z.string(),
    offset: z.int().min(0),
  }),
  z.strictObject({
    kind: z.literal('nbd_disconnects'),
    target: z.string(),
    afterBytes: z.int().min(0),
  }),
  z.strictObject({ kind: z.literal('slow_reads'), bytesPerSecond: z.int().positive() }),
  z.strictObject({
    kind: z.literal('vm_changes'),
    afterBytes: z.int().min(0),
    change: vmChangeSchema,
  }),
  z.strictObject({ kind: z.literal('stream_breaks'), afterBytes: z.int().min(0) }),
  /** No room for what the guest overwrites: its write fails, which a capture must never let happen. */
  z.strictObject({ kind: z.literal('scratch_full') }),
  z.strictObject({ kind: z.literal('start_fails') }),
  z.strictObject({ kind: z.literal('stage_fails'), afterBytes: z.int().min(0) }),
  /** The first `afterFiles` files are moved, then the commit fails. */
  z.strictObject({ kind: z.literal('commit_fails'), afterFiles: z.int().min(0) }),
  z.strictObject({ kind: z.literal('commit_kills_process'), afterFiles: z.int().min(0) }),
]);

export type Fault = z.infer<typeof faultSchema>;
export type FaultKind = Fault['kind'];
export type FaultOfKind<K extends FaultKind> = Extract<Fault, { kind: K }>;

export interface ArmOptions {
  /** Only for this VM; every VM otherwise. */
  readonly vmId?: string;
  /** How often it happens; 1 unless told otherwise, `slow_reads` and `scratch_full` for ever. */
  readonly times?: number;
}

export interface Faults {
  arm(fault: Fault, options?: ArmOptions): void;
  clear(): void;
  /** What is armed and did not happen yet. */
  armed(): Fault[];
}
