import { z } from 'zod';
import { ERROR_TABLE, isErrorCode } from '../shared/errors.ts';

/** libvirt takes UUIDs of any version and variant, so ids are only checked for their shape. */
export const idSchema = z.guid().toLowerCase();

export const timeSchema = z.iso.datetime();
export const byteCountSchema = z.int().nonnegative();

export const errorCodeSchema = z.enum(Object.keys(ERROR_TABLE).filter(isErrorCode));

// Control characters would let a name rewrite a terminal or a log line.
const PRINTABLE = /^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$/u;
const NAME = /^(?!\s)[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}/\\]*(?<!\s)$/u;

/** No slash, so that `vm/name` names one snapshot. */
export const snapshotNameSchema = z
  .string()
  .min(1)
  .max(128)
  .regex(NAME, 'must not begin or end with a space, nor hold slashes or control characters')
  .refine((name) => !z.guid().safeParse(name).success, 'must not look like an id');

/** What libvirt and most file systems take as the name of a VM. */
export const newVmNameSchema = z
  .string()
  .min(1)
  .max(64)
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'may hold letters, digits, dots, dashes and underscores');

export const singleLineSchema = z
  .string()
  .max(256)
  .regex(PRINTABLE, 'must be one line without control characters');

export const descriptionSchema = z
  .string()
  .max(4096)
  .regex(
    /^(?:[^\p{Cc}]|[\n\t])*$/u,
    'must not hold control characters other than line breaks and tabs',
  );

export const labelKeySchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'must be 1 to 63 of a-z, 0-9, dot, dash, underscore');

export const labelsSchema = z
  .record(labelKeySchema, singleLineSchema)
  .refine((labels) => Object.keys(labels).length <= 32, 'must be at most 32 labels');
export type Labels = z.infer<typeof labelsSchema>;

/** A file system path on a host. */
export const absolutePathSchema = z
  .string()
  .min(2)
  .max(1024)
  .regex(/^\/[^\p{Cc}]+$/u, 'must be an absolute path')
  .refine((path) => !path.split('/').includes('..'), 'must not hold ".."');

export const diskTargetSchema = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,32}$/, 'must be a target name such as vda');

export const skippedDiskSchema = z.object({ target: diskTargetSchema, reason: z.string() });

export const namedRefSchema = z.object({ id: idSchema, name: z.string() });
export type NamedRef = z.infer<typeof namedRefSchema>;

export const principalRefSchema = z.object({
  id: z.string(),
  name: z.string(),
  kind: z.enum(['user', 'token', 'schedule', 'system']),
});
export type PrincipalRef = z.infer<typeof principalRefSchema>;

export const failureSchema = z.object({
  code: errorCodeSchema,
  message: z.string(),
});
export type Failure = z.infer<typeof failureSchema>;

/** What a request can ask for. */
export const operationSchema = z.enum([
  'create',
  'restore',
  'delete',
  'export',
  'verify',
  'collect',
  'change-rules',
]);
export type Operation = z.infer<typeof operationSchema>;

/** What a job can do; changes of rules are applied by the server, without one. */
export const jobKindSchema = operationSchema.exclude(['change-rules']);
export type JobKind = z.infer<typeof jobKindSchema>;

/** Why something is wanted, for whoever confirms it and for the audit trail. */
export const justificationShape = {
  reason: descriptionSchema.optional(),
  /** For example a change or ticket number. */
  reference: singleLineSchema.optional(),
};

export const idParamsSchema = z.object({ id: idSchema });
