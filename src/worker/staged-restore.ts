import { z } from 'zod';

/** The driver's StagedRestore as it is stored with a job. */
export const stagedRestoreSchema = z.object({
  vmId: z.string(),
  restoreId: z.string(),
  files: z.array(
    z.object({
      path: z.string(),
      stagedPath: z.string(),
      asidePath: z.string(),
      replaces: z.boolean(),
      inode: z.string().nullable(),
    }),
  ),
  tpm: z.object({ path: z.string(), stagedPath: z.string(), asidePath: z.string() }).nullable(),
  inPlace: z.array(
    z.object({
      target: z.string(),
      source: z.object({ socketPath: z.string(), exportName: z.string() }),
      sizeBytes: z.int(),
      path: z.string(),
      format: z.enum(['qcow2', 'raw']),
      inPlace: z.boolean(),
    }),
  ),
  newXml: z.string(),
  oldXml: z.string().nullable(),
});
