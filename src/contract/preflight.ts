import { z } from 'zod';
import {
  consistencyLevelSchema,
  diskObstacleSchema,
  memoryModeSchema,
  quiescePolicySchema,
  snapshotKindSchema,
} from '../shared/inventory.ts';
import { confirmationSchema, ruleContentSchema } from './confirmation.ts';
import {
  byteCountSchema,
  diskTargetSchema,
  errorCodeSchema,
  skippedDiskSchema,
  timeSchema,
} from './scalars.ts';
import { snapshotStateSchema } from './snapshots.ts';

export const preflightInputSchema = z.strictObject({
  kind: snapshotKindSchema.default('full'),
  /** Only these disks; without it, all that are not in `skipDisks`. */
  disks: z.array(diskTargetSchema).min(1).max(256).optional(),
  skipDisks: z.array(diskTargetSchema).max(256).default([]),
  quiesce: quiescePolicySchema.default('prefer'),
});
export type PreflightInput = z.infer<typeof preflightInputSchema>;

/** Why an operation cannot be done. */
export const planProblemSchema = z.object({
  code: errorCodeSchema,
  reason: z.string(),
  whatToDo: z.string(),
});
export type PlanProblem = z.infer<typeof planProblemSchema>;

export const planWarningSchema = z.object({ code: z.string(), message: z.string() });
export type PlanWarning = z.infer<typeof planWarningSchema>;

export const planDiskSchema = z.object({
  target: diskTargetSchema,
  format: z.string(),
  sizeBytes: byteCountSchema,
  allocatedBytes: byteCountSchema,
  obstacle: diskObstacleSchema.nullable(),
});

/** What a capture would do, computed from the inventory; the worker checks it again at the start. */
export const capturePlanSchema = z.object({
  operation: z.literal('create'),
  possible: z.boolean(),
  kind: snapshotKindSchema,
  level: consistencyLevelSchema,
  /** Why this level and not a better one. */
  levelReason: z.string(),
  /** Null when no memory is captured. */
  memoryMode: memoryModeSchema.nullable(),
  memoryBytes: byteCountSchema,
  estimatedPauseMs: z.number().nonnegative(),
  disks: z.array(planDiskSchema),
  skipped: z.array(skippedDiskSchema),
  scratchBytesNeeded: byteCountSchema,
  /** Null where the room is not known yet. */
  scratchFreeBytes: byteCountSchema.nullable(),
  repositoryBytesEstimated: byteCountSchema,
  freeBytes: byteCountSchema.nullable(),
  confirmationNeeded: z.boolean(),
  confirmation: confirmationSchema,
  problems: z.array(planProblemSchema),
  warnings: z.array(planWarningSchema),
  /** Age of the inventory that this was computed from. */
  inventoryAt: timeSchema,
});
export type CapturePlan = z.infer<typeof capturePlanSchema>;

const planBase = {
  possible: z.boolean(),
  confirmationNeeded: z.boolean(),
  confirmation: confirmationSchema,
  problems: z.array(planProblemSchema),
  warnings: z.array(planWarningSchema),
};

export const restorePlanSchema = z.object({
  operation: z.literal('restore'),
  ...planBase,
  snapshotState: snapshotStateSchema,
  mode: z.enum(['rollback', 'new-vm']),
  /** The VM that will hold the state. */
  vmName: z.string(),
  /** The VM runs now and will be stopped. */
  stopsVm: z.boolean(),
  startsVm: z.boolean(),
  resumesMemory: z.boolean(),
  safetySnapshot: z.boolean(),
  bytesToWrite: byteCountSchema,
  freeBytes: byteCountSchema.nullable(),
});
export type RestorePlan = z.infer<typeof restorePlanSchema>;

export const otherPlanSchema = z.object({
  operation: z.enum(['delete', 'export', 'verify', 'collect']),
  ...planBase,
  /** Null where there is no snapshot. */
  snapshotState: snapshotStateSchema.nullable(),
});
export type OtherPlan = z.infer<typeof otherPlanSchema>;

/** A change of a confirmation rule; null: there is no rule before, or none after it. */
export const rulesPlanSchema = z.object({
  operation: z.literal('change-rules'),
  ...planBase,
  before: ruleContentSchema.nullable(),
  after: ruleContentSchema.nullable(),
});
export type RulesPlan = z.infer<typeof rulesPlanSchema>;

export const planSchema = z.discriminatedUnion('operation', [
  capturePlanSchema,
  restorePlanSchema,
  otherPlanSchema,
  rulesPlanSchema,
]);
export type Plan = z.infer<typeof planSchema>;
