import type { Command } from 'commander';
import { z } from 'zod';
import type { Client } from '../client/client.ts';
import type { ConfirmationRule } from '../contract/confirmation.ts';
import type { Scope } from '../contract/scope.ts';
import { operationSchema } from '../contract/scalars.ts';
import { OperationError } from '../shared/errors.ts';
import { isUuid } from '../shared/ids.ts';
import { addCommand, noOptions, repeatable } from './command.ts';
import type { CommandContext, OptionSpec } from './command.ts';
import { findVm } from './find-things.ts';
import { followRequest } from './follow-request.ts';
import { formatExactTime, parseLabels } from './formatting.ts';
import { printList } from './list-output.ts';
import type { CommandGroup, ProgramBase } from './program.ts';
import {
  justificationOf,
  justificationOptions,
  justificationShape,
  limitOption,
  limitSchema,
  waitOptions,
  waitShape,
} from './shared-options.ts';
import { renderDetails } from './table.ts';

const ruleArg = [{ name: 'rule', meaning: 'arg.rule' }] as const;

export const addConfirmationRuleCommands: CommandGroup = (program, base) => {
  const parent = program.command('confirmation-rule').description(base.text('rule.description'));
  addCommand(parent, base, {
    name: 'list',
    summary: 'rule.list',
    options: [limitOption],
    schema: z.object({ limit: limitSchema }),
    run: async (context, _args, { limit }) => {
      const { text } = context;
      await printList(context, await context.connect(), {
        operationId: 'confirmationRuleList',
        args: {},
        limit,
        columns: [
          { title: text('column.name'), shrinks: true },
          { title: text('column.operations'), shrinks: true },
          { title: text('column.scope'), shrinks: true },
          { title: text('column.askedBy'), shrinks: true },
          { title: text('column.approvals'), align: 'right' },
          { title: text('column.id') },
        ],
        row: (rule) => [
          rule.name,
          rule.operations.join(', '),
          describeScope(context, rule.scope),
          describeRequesters(context, rule),
          String(rule.approvals),
          rule.id,
        ],
      });
    },
  });
  addCommand(parent, base, {
    name: 'show',
    summary: 'rule.show',
    args: ruleArg,
    schema: noOptions,
    run: async (context, [word = '']) => {
      const rule = await findRule(context, await context.connect(), word);
      if (context.json) context.printJson(rule);
      else printRule(context, rule);
    },
  });
  addCreate(parent, base);
  addEdit(parent, base);
  addCommand(parent, base, {
    name: 'delete',
    summary: 'rule.delete',
    args: ruleArg,
    options: [...justificationOptions, ...waitOptions],
    schema: z.object({ ...justificationShape, ...waitShape }),
    run: async (context, [word = ''], options) => {
      const client = await context.connect();
      const { id } = await findRule(context, client, word);
      const { signal } = context.terminal;
      const args = { params: { id }, body: justificationOf(options) };
      const asked = await client.call('confirmationRuleDelete', args, { signal });
      await followRequest(context, client, asked, options);
    },
  });
};

const contentOptions: readonly OptionSpec[] = [
  { flags: '--label <key=value>', meaning: 'option.ruleLabel' },
  { flags: '--vm <vm...>', meaning: 'option.ruleVm' },
  { flags: '--role <role...>', meaning: 'option.role' },
  { flags: '--except-role <role...>', meaning: 'option.exceptRole' },
  { flags: '--description <text>', meaning: 'option.description' },
];
const approvalsSchema = z.coerce.number().int();
const contentShape = {
  label: z.string().optional(),
  vm: repeatable,
  role: repeatable,
  exceptRole: z.array(z.string()).optional(),
  description: z.string().optional(),
};

function addCreate(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'create',
    summary: 'rule.create',
    args: [{ name: 'name', meaning: 'arg.ruleName' }],
    options: [
      { flags: '--operation <operation...>', meaning: 'option.ruleOperation', required: true },
      { flags: '--approvals <count>', meaning: 'option.approvals', required: true },
      ...contentOptions,
      ...justificationOptions,
      ...waitOptions,
    ],
    schema: z.object({
      operation: z.array(operationSchema),
      approvals: approvalsSchema,
      ...contentShape,
      ...justificationShape,
      ...waitShape,
    }),
    run: async (context, [name = ''], options) => {
      const client = await context.connect();
      const { operation, approvals } = options;
      const body = {
        name,
        operations: operation,
        approvals,
        ...(await contentOf(context, client, options)),
        ...justificationOf(options),
      };
      const { signal } = context.terminal;
      const asked = await client.call('confirmationRuleCreate', { body }, { signal });
      await followRequest(context, client, asked, options);
    },
  });
}

function addEdit(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'edit',
    summary: 'rule.edit',
    args: ruleArg,
    options: [
      { flags: '--name <name>', meaning: 'option.ruleName' },
      { flags: '--operation <operation...>', meaning: 'option.ruleOperation' },
      { flags: '--approvals <count>', meaning: 'option.approvals' },
      { flags: '--everything', meaning: 'option.everything' },
      { flags: '--anybody', meaning: 'option.anybody' },
      ...contentOptions,
      ...justificationOptions,
      ...waitOptions,
    ],
    schema: z.object({
      name: z.string().optional(),
      operation: z.array(operationSchema).optional(),
      approvals: approvalsSchema.optional(),
      everything: z.boolean().default(false),
      anybody: z.boolean().default(false),
      ...contentShape,
      ...justificationShape,
      ...waitShape,
    }),
    run: async (context, [word = ''], options) => {
      const { name, operation, approvals, anybody } = options;
      const client = await context.connect();
      const changes = {
        ...(name !== undefined && { name }),
        ...(operation && { operations: operation }),
        ...(approvals !== undefined && { approvals }),
        ...(anybody && { roles: null }),
        ...(await contentOf(context, client, options)),
      };
      if (Object.keys(changes).length === 0)
        throw new OperationError('invalid_input', context.text('error.nothingToEdit'));
      const { signal } = context.terminal;
      const { id } = await findRule(context, client, word);
      const read = await client.ask('confirmationRuleGet', { params: { id } }, { signal });
      const asked = await client.call(
        'confirmationRuleUpdate',
        { params: { id }, body: { ...changes, ...justificationOf(options) } },
        { signal, ...(read.etag !== null && { ifMatch: read.etag }) },
      );
      await followRequest(context, client, asked, options);
    },
  });
}

interface ContentOptions {
  readonly label?: string | undefined;
  readonly vm: readonly string[];
  readonly everything?: boolean;
  readonly role: readonly string[];
  readonly exceptRole?: string[] | undefined;
  readonly description?: string | undefined;
}

/** What was given of scope, requesters and description. */
async function contentOf(context: CommandContext, client: Client, options: ContentOptions) {
  const { role, exceptRole, description } = options;
  const scope = await scopeOf(context, client, options);
  return {
    ...(scope && { scope }),
    ...(role.length > 0 && { roles: [...role] }),
    ...(exceptRole && { exceptRoles: exceptRole }),
    ...(description !== undefined && { description }),
  };
}

async function scopeOf(
  context: CommandContext,
  client: Client,
  { label, vm, everything = false }: ContentOptions,
): Promise<Scope | undefined> {
  if (Number(label !== undefined) + Number(vm.length > 0) + Number(everything) > 1)
    throw new OperationError('invalid_input', context.text('error.oneScope'));
  if (everything) return { kind: 'everything' };
  if (label !== undefined) {
    const [[key, value] = ['', '']] = Object.entries(parseLabels([label], context.text));
    return { kind: 'label', key, value };
  }
  if (vm.length === 0) return undefined;
  const vmIds: string[] = [];
  for (const word of vm) vmIds.push((await findVm(context, client, word)).id);
  return { kind: 'vms', vmIds };
}

async function findRule(
  context: CommandContext,
  client: Client,
  word: string,
): Promise<ConfirmationRule> {
  const { signal } = context.terminal;
  if (isUuid(word.toLowerCase()))
    return await client.call('confirmationRuleGet', { params: { id: word } }, { signal });
  for await (const rule of client.pages('confirmationRuleList', {}, { signal }))
    if (rule.name === word) return rule;
  throw new OperationError('not_found', context.text('error.ruleNotFound', { name: word }), {
    details: { whatToDo: context.text('error.ruleNotFoundHow') },
  });
}

function describeScope({ text }: CommandContext, scope: Scope): string {
  if (scope.kind === 'everything') return text('scope.everything');
  if (scope.kind === 'label') return `${scope.key}=${scope.value}`;
  return text('scope.vms', { count: scope.vmIds.length });
}

function describeRequesters(
  { text }: CommandContext,
  { roles, exceptRoles }: Pick<ConfirmationRule, 'roles' | 'exceptRoles'>,
): string {
  const who = roles === null ? text('role.anybody') : roles.join(', ');
  return exceptRoles.length === 0
    ? who
    : text('role.except', { who, except: exceptRoles.join(', ') });
}

function printRule(context: CommandContext, rule: ConfirmationRule): void {
  const { text } = context;
  const { scope } = rule;
  context.print(
    renderDetails([
      [text('column.id'), rule.id],
      [text('column.name'), rule.name],
      [text('field.description'), rule.description],
      [text('column.operations'), rule.operations.join(', ')],
      [
        text('column.scope'),
        scope.kind === 'vms' ? scope.vmIds.join('\n') : describeScope(context, scope),
      ],
      [text('column.askedBy'), describeRequesters(context, rule)],
      [text('column.approvals'), String(rule.approvals)],
      [text('field.updated'), formatExactTime(rule.updatedAt)],
    ]),
  );
}
