import type { RuleContent } from '../../contract/confirmation.ts';
import type { RulesPlan } from '../../contract/preflight.ts';
import type { Texts } from '../texts/i18n.ts';
import type { Fact } from './facts.tsx';

/** What a change of a rule changes: of each part what it was and what it will be. */
export function ruleFacts({ before, after }: RulesPlan, texts: Texts): Fact[] {
  const old = before && describeRule(before, texts);
  const wanted = after && describeRule(after, texts);
  return Object.keys({ ...old, ...wanted }).map((label) => {
    const [was, is] = [old?.[label], wanted?.[label]];
    const text =
      was === undefined || is === undefined || was === is
        ? (is ?? was ?? '')
        : texts.t('rule.from', { before: was, after: is });
    return [label, text];
  });
}

function describeRule(rule: RuleContent, { t, word }: Texts): Record<string, string> {
  const { scope, roles, exceptRoles } = rule;
  const scopeText =
    scope.kind === 'everything'
      ? t('rule.scope.everything')
      : scope.kind === 'label'
        ? t('rule.scope.label', { label: `${scope.key}=${scope.value}` })
        : t('rule.scope.vms', { count: scope.vmIds.length });
  return {
    [t('field.name')]: rule.name,
    [t('rule.operations')]: rule.operations.map((one) => word('operation', one)).join(', '),
    [t('rule.scope')]: scopeText,
    [t('rule.roles')]: roles === null ? t('rule.anybody') : roles.join(', '),
    [t('rule.exceptRoles')]: exceptRoles.join(', ') || t('common.none'),
    [t('rule.approvals')]: String(rule.approvals),
  };
}
