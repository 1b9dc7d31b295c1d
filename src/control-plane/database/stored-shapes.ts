import { z } from 'zod';
import { ERROR_TABLE, isErrorCode } from '../../shared/errors.ts';

/** Shapes of JSON columns. The HTTP contract has its own, since the two may change apart. */
export const storedPrincipalSchema = z.object({
  id: z.string(),
  name: z.string(),
  kind: z.enum(['user', 'token', 'schedule', 'system']),
});
export type StoredPrincipal = z.infer<typeof storedPrincipalSchema>;

export const storedFailureSchema = z.object({
  code: z.enum(Object.keys(ERROR_TABLE).filter(isErrorCode)),
  message: z.string(),
});
export type StoredFailure = z.infer<typeof storedFailureSchema>;

export const storedLabelsSchema = z.record(z.string(), z.string());
export type StoredLabels = z.infer<typeof storedLabelsSchema>;

/** Where a role or a token holds. */
export const storedScopeSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('everything') }),
  z.object({ kind: z.literal('label'), key: z.string(), value: z.string() }),
  z.object({ kind: z.literal('vms'), vmIds: z.array(z.string()) }),
]);
export type StoredScope = z.infer<typeof storedScopeSchema>;

export const storedJsonObjectSchema = z.record(z.string(), z.json());
export type StoredJsonObject = z.infer<typeof storedJsonObjectSchema>;

/** Which rule asked for how many approvals. */
export const storedConfirmationSchema = z.object({
  approvalsNeeded: z.int().nonnegative(),
  rule: z.object({ id: z.string(), name: z.string() }).nullable(),
  explanation: z.string(),
});
export type StoredConfirmation = z.infer<typeof storedConfirmationSchema>;

const bytes = z.int().nonnegative();

/** Room on a host as its worker last measured it; null where it does not know. */
export const storedRoomSchema = z.object({
  scratchFreeBytes: bytes.nullable(),
  repositoryFreeBytes: bytes.nullable(),
  /** Never fill the scratch file system beyond this. */
  scratchFloorBytes: bytes.default(0),
});
export type StoredRoom = z.infer<typeof storedRoomSchema>;

export const storedPausePhaseSchema = z.object({ name: z.string(), durationMs: z.number() });
export const storedSizesSchema = z.object({
  logicalBytes: bytes,
  readBytes: bytes,
  newBytes: bytes,
  storedBytes: bytes,
});
export const storedDiskSchema = z.object({
  target: z.string(),
  format: z.string(),
  sizeBytes: bytes,
});
export const storedSkippedDiskSchema = z.object({ target: z.string(), reason: z.string() });
export const storedDamageSchema = z.object({
  part: z.string(),
  offset: bytes,
  lengthBytes: bytes,
  reason: z.string(),
});

export const storedProgressSchema = z.object({
  phase: z.string(),
  doneBytes: bytes,
  totalBytes: bytes,
  ratePerSecond: z.number().nonnegative().nullable(),
  secondsLeft: z.number().nonnegative().nullable(),
});
export type StoredProgress = z.infer<typeof storedProgressSchema>;

export const storedRepositoryStatisticsSchema = z.object({
  formatVersion: z.int(),
  encrypted: z.boolean(),
  snapshots: bytes,
  packs: bytes,
  chunks: bytes,
  storedBytes: bytes,
  uniqueBytes: bytes,
  freeBytes: bytes.nullable(),
});
export type StoredRepositoryStatistics = z.infer<typeof storedRepositoryStatisticsSchema>;
