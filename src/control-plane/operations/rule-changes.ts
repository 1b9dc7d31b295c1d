import {
  OPERATIONS_WITHOUT_VM,
  type RuleChange,
  type RuleContent,
} from '../../contract/confirmation.ts';
import { rulesPlanSchema, type PlanProblem, type RulesPlan } from '../../contract/preflight.ts';
import { newId } from '../../shared/ids.ts';
import type { Principal } from '../access/principal.ts';
import { isBuiltInRole } from '../access/roles.ts';
import { appendAuditEvent } from '../audit/audit-trail.ts';
import type { Reader, Writer } from '../database/catalog.ts';
import {
  deleteConfirmationRule,
  findConfirmationRule,
  insertConfirmationRule,
  listConfirmationRules,
  updateConfirmationRule,
  type ConfirmationRuleRow,
} from '../database/confirmation-rules.ts';
import { finishRequest, type RequestRow } from '../database/requests.ts';
import { findRoleRights } from '../database/roles.ts';
import { findVm } from '../database/vms.ts';
import { confirmationFor, RULES_MAX } from './confirmation.ts';

export const contentOf = ({
  name,
  description,
  operations,
  scope,
  roles,
  exceptRoles,
  approvals,
}: RuleContent | ConfirmationRuleRow): RuleContent => ({
  name,
  description,
  operations,
  scope,
  roles,
  exceptRoles,
  approvals,
});

/** What a change of the rules would do; what must confirm it is decided by the rules as they are. */
export async function planRuleChange(
  db: Reader,
  requester: Principal,
  change: RuleChange,
): Promise<RulesPlan> {
  const current =
    change.kind === 'create' ? undefined : await findConfirmationRule(db, change.ruleId);
  const after = change.kind === 'delete' ? null : change.rule;
  const problems = [
    ...findBaseProblems(change, current),
    ...(after ? await findRuleProblems(db, after, current) : []),
  ];
  const confirmation = await confirmationFor(db, requester, {
    operation: 'change-rules',
    vm: null,
  });
  return {
    operation: 'change-rules',
    possible: problems.length === 0,
    problems,
    warnings: [],
    confirmationNeeded: confirmation.approvalsNeeded > 0,
    confirmation,
    before: current ? contentOf(current) : null,
    after,
  };
}

function findBaseProblems(
  change: RuleChange,
  current: ConfirmationRuleRow | undefined,
): PlanProblem[] {
  if (change.kind === 'create') return [];
  if (!current)
    return [
      {
        code: 'not_found',
        reason: `There is no confirmation rule ${change.ruleId}.`,
        whatToDo: 'List the rules; it may have been deleted meanwhile.',
      },
    ];
  if (current.version === change.version) return [];
  return [
    {
      code: 'precondition_failed',
      reason: `The rule "${current.name}" was changed since this change was made from it.`,
      whatToDo: 'Read the rule again and ask for the change anew if it still makes sense.',
    },
  ];
}

async function findRuleProblems(
  db: Reader,
  rule: RuleContent,
  current: ConfirmationRuleRow | undefined,
): Promise<PlanProblem[]> {
  const problems: PlanProblem[] = [];
  const rules = await listConfirmationRules(db, { limit: RULES_MAX });
  if (rules.some(({ id, name }) => name === rule.name && id !== current?.id))
    problems.push({
      code: 'name_taken',
      reason: `There is a confirmation rule named "${rule.name}" already.`,
      whatToDo: 'Choose another name, or change that rule.',
    });
  if (!current && rules.length >= RULES_MAX)
    problems.push({
      code: 'limit_reached',
      reason: `There can be no more than ${RULES_MAX} confirmation rules.`,
      whatToDo: 'Delete a rule that is not needed, or widen one.',
    });
  if (
    rule.scope.kind !== 'everything' &&
    rule.operations.every((operation) => OPERATIONS_WITHOUT_VM.includes(operation))
  )
    problems.push({
      code: 'invalid_input',
      reason: `A rule for ${rule.operations.join(' and ')} concerns no VM, so it would never match within a scope of VMs.`,
      whatToDo: 'Give it the scope "everything".',
    });
  // A rule for a role that nobody can have would never match, and so protect nothing.
  for (const id of new Set([...(rule.roles ?? []), ...rule.exceptRoles]))
    if (!isBuiltInRole(id) && (await findRoleRights(db, id)) === undefined)
      problems.push({
        code: 'invalid_input',
        reason: `There is no role ${id}.`,
        whatToDo: 'Name roles by their ids; those that come with Komadori are named as they are.',
      });
  if (rule.scope.kind === 'vms')
    for (const vmId of rule.scope.vmIds)
      if (!(await findVm(db, vmId)))
        problems.push({
          code: 'invalid_input',
          reason: `There is no VM ${vmId}.`,
          whatToDo: 'Name only VMs that are known.',
        });
  return problems;
}

/** What the request is about, where that is a rule; it may be one that is not there yet, or no more. */
export function ruleNameOf(request: RequestRow): string | null {
  const plan = rulesPlanSchema.safeParse(request.plan).data;
  return plan?.after?.name ?? plan?.before?.name ?? null;
}

/** Applies an approved change, and ends its request: no worker is needed for it. */
export async function applyRuleChange(
  tx: Writer,
  request: RequestRow,
  wish: { change: RuleChange; at: string },
): Promise<void> {
  const { change, at } = wish;
  const before =
    change.kind === 'create' ? undefined : await findConfirmationRule(tx, change.ruleId);
  const ruleId = change.kind === 'create' ? newId(Date.parse(at)) : change.ruleId;
  if (change.kind === 'create')
    await insertConfirmationRule(tx, { ...change.rule, id: ruleId, at });
  else if (change.kind === 'update')
    await updateConfirmationRule(tx, { ...change.rule, id: ruleId, at });
  else await deleteConfirmationRule(tx, ruleId);
  await finishRequest(tx, {
    id: request.id,
    state: 'succeeded',
    failure: null,
    result: { ruleId },
    at,
  });
  const after = change.kind === 'delete' ? null : change.rule;
  await appendAuditEvent(tx, {
    at,
    actor: request.requestedBy,
    sourceAddress: request.sourceAddress,
    action: `confirmation-rule.${change.kind}`,
    resourceType: 'confirmation-rule',
    resourceId: ruleId,
    resourceName: after?.name ?? before?.name ?? null,
    requestId: request.id,
    outcome: 'succeeded',
    details: { before: before ? contentOf(before) : null, after },
  });
}
