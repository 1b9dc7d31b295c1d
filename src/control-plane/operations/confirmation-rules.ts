import type { z } from 'zod';
import type {
  ConfirmationRule,
  ConfirmationRuleCreateInput,
  ConfirmationRuleDeleteInput,
  confirmationRuleListQuerySchema,
  confirmationRulePageSchema,
  ConfirmationRuleUpdateInput,
  RuleChange,
  RuleContent,
} from '../../contract/confirmation.ts';
import type { Request } from '../../contract/requests.ts';
import { OperationError } from '../../shared/errors.ts';
import { authorize, FLEET } from '../access/principal.ts';
import type { Reader, Writer } from '../database/catalog.ts';
import {
  findConfirmationRule,
  listConfirmationRules,
  type ConfirmationRuleRow,
} from '../database/confirmation-rules.ts';
import { decodeCursor, nameCursorSchema, pageFrom, pageLimit } from './cursor.ts';
import type { Caller, Environment } from './environment.ts';
import { answerOnce } from './idempotency.ts';
import { placeRequest } from './place-request.ts';
import { contentOf, planRuleChange } from './rule-changes.ts';
import type { WishOptions } from './snapshot-requests.ts';
import { etagOf, requireMatch, type Versioned } from './versioned.ts';

const toRuleView = ({ version: _version, ...view }: ConfirmationRuleRow): ConfirmationRule => view;

export async function confirmationRuleList(
  environment: Environment,
  caller: Caller,
  query: z.output<typeof confirmationRuleListQuerySchema>,
): Promise<z.output<typeof confirmationRulePageSchema>> {
  authorize(caller.principal, 'manage-access', FLEET);
  const limit = pageLimit(query);
  const rows = await listConfirmationRules(environment.catalog.read, {
    limit: limit + 1,
    after: decodeCursor(nameCursorSchema, query.cursor),
  });
  return pageFrom(rows, { limit, toItem: toRuleView, keyOf: ({ name }) => ({ name }) });
}

export async function confirmationRuleGet(
  environment: Environment,
  caller: Caller,
  id: string,
): Promise<Versioned<ConfirmationRule>> {
  authorize(caller.principal, 'manage-access', FLEET);
  const row = await requireRule(environment.catalog.read, id);
  return { body: toRuleView(row), etag: etagOf(row.version) };
}

async function requireRule(db: Reader, id: string): Promise<ConfirmationRuleRow> {
  const row = await findConfirmationRule(db, id);
  if (!row) throw new OperationError('not_found', `There is no confirmation rule ${id}.`);
  return row;
}

export async function confirmationRuleCreate(
  environment: Environment,
  caller: Caller,
  input: ConfirmationRuleCreateInput,
  options: WishOptions,
): Promise<Request> {
  const act = {
    action: 'confirmation-rule.create',
    resourceType: 'confirmation-rule',
    resourceName: input.name,
  };
  return await answerOnce(environment, caller, { ...options, act, body: input }, async (tx) => {
    authorize(caller.principal, 'manage-access', FLEET);
    const change = { kind: 'create', rule: contentOf(input) } as const;
    return await askForChange(environment, caller, tx, { change, name: input.name, input });
  });
}

export async function confirmationRuleUpdate(
  environment: Environment,
  caller: Caller,
  wish: { id: string; input: ConfirmationRuleUpdateInput },
  options: WishOptions,
): Promise<Request> {
  const act = {
    action: 'confirmation-rule.update',
    resourceType: 'confirmation-rule',
    resourceId: wish.id,
  };
  return await answerOnce(environment, caller, { ...options, act, body: wish }, async (tx) => {
    authorize(caller.principal, 'manage-access', FLEET);
    const { input } = wish;
    const current = await requireRule(tx, wish.id);
    requireMatch(current.version, options.ifMatch);
    const change = {
      kind: 'update',
      ruleId: current.id,
      version: current.version,
      rule: withChanges(current, input),
    } as const;
    return await askForChange(environment, caller, tx, { change, name: current.name, input });
  });
}

const withChanges = (
  current: ConfirmationRuleRow,
  input: ConfirmationRuleUpdateInput,
): RuleContent => ({
  name: input.name ?? current.name,
  description: input.description ?? current.description,
  operations: input.operations ?? current.operations,
  scope: input.scope ?? current.scope,
  roles: input.roles === undefined ? current.roles : input.roles,
  exceptRoles: input.exceptRoles ?? current.exceptRoles,
  approvals: input.approvals ?? current.approvals,
});

export async function confirmationRuleDelete(
  environment: Environment,
  caller: Caller,
  wish: { id: string; input: ConfirmationRuleDeleteInput },
  options: WishOptions,
): Promise<Request> {
  const act = {
    action: 'confirmation-rule.delete',
    resourceType: 'confirmation-rule',
    resourceId: wish.id,
  };
  return await answerOnce(environment, caller, { ...options, act, body: wish }, async (tx) => {
    authorize(caller.principal, 'manage-access', FLEET);
    const { input } = wish;
    const current = await requireRule(tx, wish.id);
    requireMatch(current.version, options.ifMatch);
    const change = { kind: 'delete', ruleId: current.id, version: current.version } as const;
    return await askForChange(environment, caller, tx, { change, name: current.name, input });
  });
}

/** A change is a request like any other; where no rule wants it confirmed it is applied at once. */
async function askForChange(
  environment: Environment,
  caller: Caller,
  tx: Writer,
  wish: { change: RuleChange; name: string; input: ConfirmationRuleDeleteInput },
): Promise<Request> {
  const { change, name, input } = wish;
  const { reason, reference } = input;
  return await placeRequest(environment, caller, tx, {
    parameters: {
      operation: 'change-rules',
      change,
      ...(reason !== undefined && { reason }),
      ...(reference !== undefined && { reference }),
    },
    plan: await planRuleChange(tx, caller.principal, change),
    hostId: null,
    vm: null,
    snapshot: null,
    audit: {
      action: `confirmation-rule.${change.kind}`,
      resourceType: 'confirmation-rule',
      resourceId: change.kind === 'create' ? null : change.ruleId,
      resourceName: name,
      details: {},
    },
  });
}
