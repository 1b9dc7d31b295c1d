import type { Confirmation, ConfirmationRule } from '../../contract/confirmation.ts';
import type { Scope } from '../../contract/scope.ts';
import type { Operation } from '../../contract/scalars.ts';

export type Rule = Pick<
  ConfirmationRule,
  'id' | 'name' | 'operations' | 'scope' | 'roles' | 'exceptRoles' | 'approvals'
>;

export interface ConfirmationQuestion {
  readonly operation: Operation;
  /** The roles that the requester has over what is concerned. */
  readonly roles: readonly string[];
  /** Null: no VM is concerned, as when a repository is collected. */
  readonly vm: { readonly id: string; readonly labels: Readonly<Record<string, string>> } | null;
}

/** How many others have to approve: of all rules that match, the strictest counts. */
export function decideConfirmation(
  rules: readonly Rule[],
  question: ConfirmationQuestion,
): Confirmation {
  const strictest = rules.filter((rule) => matches(rule, question)).toSorted(byStrictness)[0];
  if (!strictest)
    return {
      approvalsNeeded: 0,
      rule: null,
      explanation: `No confirmation rule matches "${question.operation}" here, so nobody has to approve.`,
    };
  const { id, name, approvals } = strictest;
  return {
    approvalsNeeded: approvals,
    rule: { id, name },
    explanation: `The rule "${name}" asks for ${countApprovals(approvals)}: ${describeRule(strictest)}.`,
  };
}

function matches(rule: Rule, { operation, roles, vm }: ConfirmationQuestion): boolean {
  if (!rule.operations.includes(operation)) return false;
  if (rule.exceptRoles.some((role) => roles.includes(role))) return false;
  if (rule.roles !== null && !rule.roles.some((role) => roles.includes(role))) return false;
  return isInScope(rule.scope, vm);
}

function isInScope(scope: Scope, vm: ConfirmationQuestion['vm']): boolean {
  if (scope.kind === 'everything') return true;
  if (vm === null) return false;
  if (scope.kind === 'vms') return scope.vmIds.includes(vm.id);
  return Object.hasOwn(vm.labels, scope.key) && vm.labels[scope.key] === scope.value;
}

const SPECIFIC = { everything: 0, label: 1, vms: 2 } as const;

/** Among rules as strict as each other the one with the narrower scope is named, then by name. */
function byStrictness(one: Rule, other: Rule): number {
  if (one.approvals !== other.approvals) return other.approvals - one.approvals;
  const narrower = SPECIFIC[other.scope.kind] - SPECIFIC[one.scope.kind];
  if (narrower !== 0) return narrower;
  if (one.name !== other.name) return one.name < other.name ? -1 : 1;
  return one.id < other.id ? -1 : 1;
}

const countApprovals = (count: number): string =>
  count === 0 ? 'no approval' : count === 1 ? '1 approval' : `${count} approvals`;

function describeRule({ operations, scope, roles, exceptRoles }: Rule): string {
  const what =
    scope.kind === 'everything'
      ? 'of anything'
      : scope.kind === 'label'
        ? `of VMs with the label ${scope.key}=${scope.value}`
        : `of ${scope.vmIds.length === 1 ? 'one named VM' : `${scope.vmIds.length} named VMs`}`;
  const who = roles === null ? 'anybody' : `whoever is ${roles.join(' or ')}`;
  const except = exceptRoles.length === 0 ? '' : ` but not ${exceptRoles.join(' or ')}`;
  return `${operations.join(', ')} ${what}, asked for by ${who}${except}`;
}

/** For plans that are made where nobody is asked, such as in the worker. */
export const NO_CONFIRMATION: Confirmation = {
  approvalsNeeded: 0,
  rule: null,
  explanation: 'It was confirmed before, or needs no confirmation.',
};
