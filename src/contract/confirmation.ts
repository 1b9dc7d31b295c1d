import { z } from 'zod';
import { pageOf, pageQueryShape } from './page.ts';
import { rightSchema } from './rights.ts';
import {
  descriptionSchema,
  idSchema,
  justificationShape,
  operationSchema,
  principalRefSchema,
  singleLineSchema,
  timeSchema,
  type Operation,
} from './scalars.ts';
import { scopeSchema } from './scope.ts';

export const APPROVALS_MAX = 5;

/** What asks for no VM: only rules over everything can match it. */
export const OPERATIONS_WITHOUT_VM: readonly Operation[] = ['collect', 'change-rules'];

/** The id of a role. */
const roleIdSchema = singleLineSchema.min(1).max(64);

const ruleShape = {
  name: singleLineSchema.min(1).max(128),
  description: descriptionSchema,
  operations: z.array(operationSchema).min(1).max(16),
  scope: scopeSchema,
  /** Whoever has one of these roles over the VM asks; null: whoever asks. */
  roles: z.array(roleIdSchema).min(1).max(32).nullable(),
  /** Whoever has one of these does not count, whatever else they have. */
  exceptRoles: z.array(roleIdSchema).max(32),
  /** By how many people other than the requester. */
  approvals: z.int().min(0).max(APPROVALS_MAX),
};

/** Which operations, on what, asked for by whom, need how many approvers. */
export const ruleContentSchema = z.object(ruleShape);
export type RuleContent = z.infer<typeof ruleContentSchema>;

export const confirmationRuleSchema = ruleContentSchema.extend({
  id: idSchema,
  /** Came with Komadori; it can be changed and deleted like any other. */
  builtIn: z.boolean(),
  createdAt: timeSchema,
  updatedAt: timeSchema,
});
export type ConfirmationRule = z.infer<typeof confirmationRuleSchema>;

export const confirmationRulePageSchema = pageOf(confirmationRuleSchema);
export const confirmationRuleListQuerySchema = z.object({ ...pageQueryShape });

export const confirmationRuleCreateInputSchema = z.strictObject({
  ...ruleShape,
  description: descriptionSchema.default(''),
  scope: scopeSchema.default({ kind: 'everything' }),
  roles: ruleShape.roles.default(null),
  exceptRoles: ruleShape.exceptRoles.default([]),
  ...justificationShape,
});
export type ConfirmationRuleCreateInput = z.infer<typeof confirmationRuleCreateInputSchema>;

export const confirmationRuleUpdateInputSchema = z.strictObject({
  ...z.strictObject(ruleShape).partial().shape,
  ...justificationShape,
});
export type ConfirmationRuleUpdateInput = z.infer<typeof confirmationRuleUpdateInputSchema>;

export const confirmationRuleDeleteInputSchema = z.strictObject({ ...justificationShape });
export type ConfirmationRuleDeleteInput = z.infer<typeof confirmationRuleDeleteInputSchema>;

/** A change as a request holds it: whole, so that what is approved is what is applied. */
export const ruleChangeSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('create'), rule: ruleContentSchema }),
  z.strictObject({
    kind: z.literal('update'),
    ruleId: idSchema,
    /** The version that the change was made from. */
    version: z.int().positive(),
    rule: ruleContentSchema,
  }),
  z.strictObject({ kind: z.literal('delete'), ruleId: idSchema, version: z.int().positive() }),
]);
export type RuleChange = z.infer<typeof ruleChangeSchema>;

/** Which rule asks for how many approvers, of all that match the strictest. */
export const confirmationSchema = z.object({
  approvalsNeeded: z.int().min(0).max(APPROVALS_MAX),
  rule: z.object({ id: idSchema, name: z.string() }).nullable(),
  explanation: z.string(),
});
export type Confirmation = z.infer<typeof confirmationSchema>;

export const decisionKindSchema = z.enum([
  'approve',
  'reject',
  'comment',
  'renew',
  'override',
  'cancel',
]);
export type DecisionKind = z.infer<typeof decisionKindSchema>;

export const decisionSchema = z.object({
  /** From 1 on, in the order in which they were made. */
  position: z.int().positive(),
  kind: decisionKindSchema,
  by: principalRefSchema,
  at: timeSchema,
  comment: z.string(),
  /** An approval that still counts: of the plan as it is now. */
  counts: z.boolean(),
});
export type Decision = z.infer<typeof decisionSchema>;

/** What the caller may do, and why not. */
export const permissionSchema = z.object({
  allowed: z.boolean(),
  reason: z.string().nullable(),
  missingRight: rightSchema.nullable(),
});

export const mayDecideSchema = z.record(decisionKindSchema, permissionSchema);
export type MayDecide = z.infer<typeof mayDecideSchema>;
