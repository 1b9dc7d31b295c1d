import type { Command } from 'commander';
import { z } from 'zod';
import type { Client } from '../client/client.ts';
import { rightSchema } from '../contract/rights.ts';
import type { Role } from '../contract/roles.ts';
import type { Scope } from '../contract/scope.ts';
import { OperationError } from '../shared/errors.ts';
import { addCommand, noOptions, repeatable, type CommandContext } from './command.ts';
import { findVm } from './find-things.ts';
import { parseLabels } from './formatting.ts';
import { printList } from './list-output.ts';
import type { CommandGroup, ProgramBase } from './program.ts';
import { limitOption, limitSchema } from './shared-options.ts';
import { renderDetails } from './table.ts';

const rightOption = { flags: '--right <right...>', meaning: 'option.right' } as const;
const descriptionOption = {
  flags: '--description <text>',
  meaning: 'option.description',
} as const;

export const addPermissionCommands: CommandGroup = (program, base) => {
  addRoleCommands(program.command('role').description(base.text('role.description')), base);
  addBindingCommands(
    program.command('binding').description(base.text('binding.description')),
    base,
  );
  addCommand(program, base, {
    name: 'rights',
    summary: 'rights.description',
    args: [{ name: 'user', meaning: 'arg.principal', optional: true }],
    options: [{ flags: '--vm <vm>', meaning: 'option.overVm' }],
    schema: z.object({ vm: z.string().optional() }),
    run: async (context, [id = 'me'], { vm }) => {
      const { text } = context;
      const client = await context.connect();
      const vmId = vm === undefined ? undefined : (await findVm(context, client, vm)).id;
      const args = { params: { id }, query: vmId === undefined ? {} : { vmId } };
      const { signal } = context.terminal;
      const answer = await client.call('principalRights', args, { signal });
      if (context.json) return context.printJson(answer);
      return context.print(
        renderDetails([
          [text('column.name'), answer.principal.name],
          [text('field.roles'), answer.roles.join(', ')],
          [text('field.rights'), answer.rights.join(', ')],
          [text('field.fleetRights'), answer.fleetRights.join(', ')],
        ]),
      );
    },
  });
};

function addRoleList(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'list',
    summary: 'role.list',
    options: [limitOption],
    schema: z.object({ limit: limitSchema }),
    run: async (context, _args, { limit }) => {
      const { text } = context;
      await printList(context, await context.connect(), {
        operationId: 'roleList',
        args: {},
        limit,
        columns: [
          { title: text('column.name'), shrinks: true },
          { title: text('column.rights'), shrinks: true },
          { title: text('column.id') },
        ],
        row: (role) => [role.name, role.rights.join(', '), role.id],
      });
    },
  });
}

function addRoleCommands(parent: Command, base: ProgramBase): void {
  addRoleList(parent, base);
  addCommand(parent, base, {
    name: 'create',
    summary: 'role.create',
    args: [{ name: 'name', meaning: 'arg.roleName' }],
    options: [{ ...rightOption, required: true }, descriptionOption],
    schema: z.object({ right: z.array(rightSchema), description: z.string().default('') }),
    run: async (context, [name = ''], { right, description }) => {
      const client = await context.connect();
      const body = { name, description, rights: right };
      const { signal } = context.terminal;
      reportRole(context, await client.call('roleCreate', { body }, { signal }));
    },
  });
  addCommand(parent, base, {
    name: 'edit',
    summary: 'role.edit',
    args: [{ name: 'role', meaning: 'arg.role' }],
    options: [
      { flags: '--name <name>', meaning: 'option.roleName' },
      rightOption,
      descriptionOption,
    ],
    schema: z.object({
      name: z.string().optional(),
      right: z.array(rightSchema).optional(),
      description: z.string().optional(),
    }),
    run: async (context, [id = ''], { name, right, description }) => {
      const client = await context.connect();
      const body = {
        ...(name !== undefined && { name }),
        ...(right && { rights: right }),
        ...(description !== undefined && { description }),
      };
      if (Object.keys(body).length === 0)
        throw new OperationError('invalid_input', context.text('error.nothingToEdit'));
      const { signal } = context.terminal;
      const read = await client.ask('roleGet', { params: { id } }, { signal });
      const ifMatch = read.etag === null ? {} : { ifMatch: read.etag };
      const args = { params: { id }, body };
      reportRole(context, await client.call('roleUpdate', args, { signal, ...ifMatch }));
    },
  });
  addCommand(parent, base, {
    name: 'delete',
    summary: 'role.delete',
    args: [{ name: 'role', meaning: 'arg.role' }],
    schema: noOptions,
    run: async (context, [id = '']) => {
      const client = await context.connect();
      const { signal } = context.terminal;
      await client.call('roleDelete', { params: { id } }, { signal });
      if (!context.json) context.print(context.text('done.removed', { id }));
    },
  });
}

function addBindingList(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'list',
    summary: 'binding.list',
    options: [limitOption],
    schema: z.object({ limit: limitSchema }),
    run: async (context, _args, { limit }) => {
      const { text } = context;
      await printList(context, await context.connect(), {
        operationId: 'bindingList',
        args: {},
        limit,
        columns: [
          { title: text('column.user'), shrinks: true },
          { title: text('column.effect') },
          { title: text('column.role'), shrinks: true },
          { title: text('column.scope'), shrinks: true },
          { title: text('column.id') },
        ],
        row: ({ principal, effect, role, scope, id }) => [
          principal.name,
          effect,
          role.name,
          describeScope(context, scope),
          id,
        ],
      });
    },
  });
}

function addBindingCommands(parent: Command, base: ProgramBase): void {
  addBindingList(parent, base);
  addCommand(parent, base, {
    name: 'create',
    summary: 'binding.create',
    options: [
      { flags: '--user <id>', meaning: 'option.bindingUser', required: true },
      { flags: '--role <role>', meaning: 'option.bindingRole', required: true },
      { flags: '--deny', meaning: 'option.deny' },
      { flags: '--everything', meaning: 'option.everything' },
      { flags: '--label <key=value>', meaning: 'option.ruleLabel' },
      { flags: '--vm <vm...>', meaning: 'option.ruleVm' },
    ],
    schema: z.object({
      user: z.string(),
      role: z.string(),
      deny: z.boolean().default(false),
      everything: z.boolean().default(false),
      label: z.string().optional(),
      vm: repeatable,
    }),
    run: async (context, _args, options) => {
      const client = await context.connect();
      const body = {
        principalId: options.user,
        roleId: options.role,
        effect: options.deny ? ('deny' as const) : ('allow' as const),
        scope: await scopeOf(context, client, options),
      };
      const { signal } = context.terminal;
      const binding = await client.call('bindingCreate', { body }, { signal });
      if (context.json) context.printJson(binding);
      else context.print(context.text('done.binding', { id: binding.id }));
    },
  });
  addCommand(parent, base, {
    name: 'delete',
    summary: 'binding.delete',
    args: [{ name: 'binding', meaning: 'arg.binding' }],
    schema: noOptions,
    run: async (context, [id = '']) => {
      const client = await context.connect();
      const { signal } = context.terminal;
      await client.call('bindingDelete', { params: { id } }, { signal });
      if (!context.json) context.print(context.text('done.removed', { id }));
    },
  });
}

/** Exactly one has to be said: nobody gets a role over everything by leaving something out. */
async function scopeOf(
  context: CommandContext,
  client: Client,
  { everything, label, vm }: { everything: boolean; label?: string | undefined; vm: string[] },
): Promise<Scope> {
  if (Number(everything) + Number(label !== undefined) + Number(vm.length > 0) !== 1)
    throw new OperationError('invalid_input', context.text('error.oneScope'));
  if (everything) return { kind: 'everything' };
  if (label !== undefined) {
    const [[key, value] = ['', '']] = Object.entries(parseLabels([label], context.text));
    return { kind: 'label', key, value };
  }
  const vmIds: string[] = [];
  for (const word of vm) vmIds.push((await findVm(context, client, word)).id);
  return { kind: 'vms', vmIds };
}

function describeScope({ text }: CommandContext, scope: Scope): string {
  if (scope.kind === 'everything') return text('scope.everything');
  if (scope.kind === 'label') return `${scope.key}=${scope.value}`;
  return text('scope.vms', { count: scope.vmIds.length });
}

function reportRole(context: CommandContext, role: Role): void {
  if (context.json) context.printJson(role);
  else context.print(context.text('done.role', { name: role.name, id: role.id }));
}
