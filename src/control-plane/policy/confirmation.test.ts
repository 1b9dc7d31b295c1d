import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { operationSchema } from '../../contract/scalars.ts';
import { decideConfirmation, type ConfirmationQuestion, type Rule } from './confirmation.ts';

const VM = { id: 'vm-1', labels: { env: 'prod' } };

let made = 0;
const rule = (changes: Partial<Rule> = {}): Rule => {
  made += 1;
  return {
    id: `r${made}`,
    name: `rule ${made}`,
    operations: ['create', 'delete'],
    scope: { kind: 'everything' },
    roles: null,
    exceptRoles: [],
    approvals: 1,
    ...changes,
  };
};

const needed = (rules: readonly Rule[], question: Partial<ConfirmationQuestion> = {}): number =>
  decideConfirmation(rules, { operation: 'delete', roles: ['operator'], vm: VM, ...question })
    .approvalsNeeded;

test('a rule matches by operation, scope and roles', () => {
  const cases: [Partial<Rule>, Partial<ConfirmationQuestion>, number][] = [
    [{}, {}, 1],
    [{}, { operation: 'export' }, 0],
    [{ scope: { kind: 'label', key: 'env', value: 'prod' } }, {}, 1],
    [{ scope: { kind: 'label', key: 'env', value: 'test' } }, {}, 0],
    [{ scope: { kind: 'label', key: 'toString', value: '' } }, {}, 0],
    [{ scope: { kind: 'label', key: 'env', value: 'prod' } }, { vm: null }, 0],
    [{ scope: { kind: 'vms', vmIds: ['vm-1', 'vm-2'] } }, {}, 1],
    [{ scope: { kind: 'vms', vmIds: ['vm-2'] } }, {}, 0],
    [{ scope: { kind: 'vms', vmIds: ['vm-1'] } }, { vm: null }, 0],
    [{ roles: ['operator'] }, {}, 1],
    [{ roles: ['operator'] }, { roles: ['administrator'] }, 0],
    [{ exceptRoles: ['administrator'] }, { roles: ['operator', 'administrator'] }, 0],
    [{ roles: ['operator'], exceptRoles: ['administrator'] }, { roles: [] }, 0],
    [{ exceptRoles: ['administrator'] }, { roles: [] }, 1],
    [{ operations: ['collect'] }, { operation: 'collect', vm: null }, 1],
  ];
  for (const [changes, question, expected] of cases)
    assert.equal(needed([rule(changes)], question), expected, JSON.stringify([changes, question]));
});

test('the strictest rule counts, and is named with what it says', () => {
  const rules = [
    rule({ name: 'wide', approvals: 1 }),
    rule({ name: 'none', approvals: 0, scope: { kind: 'vms', vmIds: ['vm-1'] } }),
    rule({
      name: 'prod',
      approvals: 2,
      scope: { kind: 'label', key: 'env', value: 'prod' },
      roles: ['operator'],
      exceptRoles: ['administrator'],
    }),
  ];
  assert.deepEqual(
    decideConfirmation(rules, { operation: 'delete', roles: ['operator'], vm: VM }),
    {
      approvalsNeeded: 2,
      rule: { id: rules[2]?.id, name: 'prod' },
      explanation:
        'The rule "prod" asks for 2 approvals: create, delete of VMs with the label env=prod, asked for by whoever is operator but not administrator.',
    },
  );
  const none = decideConfirmation([], { operation: 'delete', roles: [], vm: VM });
  assert.deepEqual([none.approvalsNeeded, none.rule], [0, null]);
});

const anyRule: fc.Arbitrary<Rule> = fc.record({
  id: fc.uuid(),
  name: fc.constantFrom('a', 'b', 'c'),
  operations: fc.uniqueArray(fc.constantFrom(...operationSchema.options), { minLength: 1 }),
  scope: fc.oneof(
    fc.constant({ kind: 'everything' as const }),
    fc.record({
      kind: fc.constant('label' as const),
      key: fc.constantFrom('env', 'tier'),
      value: fc.constantFrom('prod', 'test'),
    }),
    fc.record({
      kind: fc.constant('vms' as const),
      vmIds: fc.array(fc.constantFrom('vm-1', 'vm-2'), { minLength: 1 }),
    }),
  ),
  roles: fc.option(fc.array(fc.constantFrom('operator', 'administrator'), { minLength: 1 })),
  exceptRoles: fc.array(fc.constantFrom('operator', 'administrator')),
  approvals: fc.integer({ min: 0, max: 5 }),
});

const anyQuestion: fc.Arbitrary<ConfirmationQuestion> = fc.record({
  operation: fc.constantFrom(...operationSchema.options),
  roles: fc.subarray(['operator', 'administrator', 'viewer']),
  vm: fc.option(
    fc.record({
      id: fc.constantFrom('vm-1', 'vm-2', 'vm-3'),
      labels: fc.dictionary(fc.constantFrom('env', 'tier'), fc.constantFrom('prod', 'test')),
    }),
  ),
});

test('the order of the rules never matters, and another rule never makes it laxer', () => {
  fc.assert(
    fc.property(
      fc.array(anyRule, { maxLength: 8 }),
      anyRule,
      anyQuestion,
      (rules, more, question) => {
        const decided = decideConfirmation(rules, question);
        assert.deepEqual(decideConfirmation(rules.toReversed(), question), decided);
        const withMore = decideConfirmation([...rules, more], question);
        assert.ok(withMore.approvalsNeeded >= decided.approvalsNeeded);
        const alone = rules.map((one) => decideConfirmation([one], question).approvalsNeeded);
        assert.equal(decided.approvalsNeeded, Math.max(0, ...alone));
      },
    ),
  );
});
