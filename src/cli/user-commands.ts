import { randomInt } from 'node:crypto';
import type { Command } from 'commander';
import { z } from 'zod';
import type { User } from '../contract/users.ts';
import { addCommand, noOptions, repeatable, type CommandContext } from './command.ts';
import { findUser } from './find-user.ts';
import { formatExactTime, formatTime, orNone } from './formatting.ts';
import { printList } from './list-output.ts';
import type { CommandGroup, ProgramBase } from './program.ts';
import { limitOption, limitSchema } from './shared-options.ts';
import { renderDetails } from './table.ts';
import type { TextKey } from './translate.ts';

const userArg = [{ name: 'user', meaning: 'arg.user' }] as const;

export const addUserCommands: CommandGroup = (program, base) => {
  const parent = program.command('user').description(base.text('user.description'));
  addReads(parent, base);
  addCreate(parent, base);
  addPasswordCommand(parent, base);
  addCommand(parent, base, {
    name: 'edit',
    summary: 'user.edit',
    args: userArg,
    options: [{ flags: '--full-name <name>', meaning: 'option.fullName', required: true }],
    schema: z.object({ fullName: z.string() }),
    run: async (context, [word = ''], { fullName }) => {
      const client = await context.connect();
      const { id } = await findUser(context, client, word);
      const { signal } = context.terminal;
      const user = await client.call(
        'userUpdate',
        { params: { id }, body: { displayName: fullName } },
        { signal },
      );
      report(context, user, 'done.userEdit');
    },
  });
  for (const [name, operationId, summary, done] of [
    ['disable', 'userDisable', 'user.disable', 'done.userDisable'],
    ['enable', 'userEnable', 'user.enable', 'done.userEnable'],
  ] as const)
    addCommand(parent, base, {
      name,
      summary,
      args: userArg,
      schema: noOptions,
      run: async (context, [word = '']) => {
        const client = await context.connect();
        const { id } = await findUser(context, client, word);
        const { signal } = context.terminal;
        report(context, await client.call(operationId, { params: { id } }, { signal }), done);
      },
    });
  addCommand(parent, base, {
    name: 'reset-codes',
    summary: 'user.resetCodes',
    args: userArg,
    schema: noOptions,
    run: async (context, [word = '']) => {
      const client = await context.connect();
      const { id, name } = await findUser(context, client, word);
      const { signal } = context.terminal;
      await client.call('userResetOneTimeCodes', { params: { id } }, { signal });
      if (!context.json) context.print(context.text('done.userCodes', { name }));
    },
  });
};

function report(context: CommandContext, user: User, done: TextKey): void {
  if (context.json) context.printJson(user);
  else context.print(context.text(done, { name: user.name }));
}

const stateOf = ({ text }: CommandContext, user: User): string =>
  text(
    user.disabledAt !== null
      ? 'state.userDisabled'
      : user.mustChangePassword
        ? 'state.userTemporary'
        : 'state.userActive',
  );

function addReads(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'list',
    summary: 'user.list',
    options: [limitOption],
    schema: z.object({ limit: limitSchema }),
    run: async (context, _args, { limit }) => {
      const { text } = context;
      await printList(context, await context.connect(), {
        operationId: 'userList',
        args: {},
        limit,
        columns: [
          { title: text('column.name'), shrinks: true },
          { title: text('column.state') },
          { title: text('column.roles'), shrinks: true },
          { title: text('column.codes') },
          { title: text('column.lastSignIn') },
          { title: text('column.id') },
        ],
        row: (user) => [
          user.name,
          stateOf(context, user),
          orNone(user.roles.join(', ')),
          text(user.oneTimeCodes ? 'word.yes' : 'word.no'),
          formatTime(user.lastSignInAt),
          user.id,
        ],
      });
    },
  });
  addCommand(parent, base, {
    name: 'show',
    summary: 'user.show',
    args: userArg,
    schema: noOptions,
    run: async (context, [word = '']) => {
      const { text } = context;
      const user = await findUser(context, await context.connect(), word);
      if (context.json) return context.printJson(user);
      return context.print(
        renderDetails([
          [text('column.name'), user.name],
          [text('field.displayName'), orNone(user.displayName)],
          [text('column.state'), stateOf(context, user)],
          [text('field.roles'), orNone(user.roles.join(', '))],
          [text('column.codes'), text(user.oneTimeCodes ? 'word.yes' : 'word.no')],
          [text('field.passwordChanged'), formatExactTime(user.passwordChangedAt)],
          [text('column.lastSignIn'), formatExactTime(user.lastSignInAt)],
          [text('column.created'), formatExactTime(user.createdAt)],
          [text('column.id'), user.id],
        ]),
      );
    },
  });
}

function addCreate(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'create',
    summary: 'user.create',
    args: [{ name: 'name', meaning: 'arg.userName' }],
    options: [
      { flags: '--full-name <name>', meaning: 'option.fullName' },
      { flags: '--role <role...>', meaning: 'option.giveRole' },
      { flags: '--no-password', meaning: 'option.noPassword' },
    ],
    schema: z.object({
      fullName: z.string().default(''),
      role: repeatable,
      password: z.boolean().default(true),
    }),
    run: async (context, [name = ''], options) => {
      const client = await context.connect();
      const temporaryPassword = options.password ? makePassword() : undefined;
      const bindings = options.role.map((role) => ({ role }));
      const { fullName: displayName } = options;
      const body = { name, displayName, bindings, ...(temporaryPassword && { temporaryPassword }) };
      const { signal } = context.terminal;
      const user = await client.call('userCreate', { body }, { signal });
      if (context.json) return context.printJson({ user, temporaryPassword });
      context.print(context.text('done.userCreate', { name: user.name }));
      if (temporaryPassword === undefined) return;
      context.print(context.text('done.temporary', { password: temporaryPassword }));
    },
  });
}

function addPasswordCommand(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'set-password',
    summary: 'user.setPassword',
    args: userArg,
    schema: noOptions,
    run: async (context, [word = '']) => {
      const client = await context.connect();
      const { id } = await findUser(context, client, word);
      const temporaryPassword = makePassword();
      const { signal } = context.terminal;
      const body = { temporaryPassword };
      await client.call('userSetPassword', { params: { id }, body }, { signal });
      if (context.json) return context.printJson({ temporaryPassword });
      context.print(context.text('done.temporary', { password: temporaryPassword }));
    },
  });
}

/** Without characters that look alike: it is read out and typed. 79 bits. */
const ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789';
const GROUPS = 4;
const GROUP_LENGTH = 4;

function makePassword(): string {
  const group = (): string =>
    Array.from({ length: GROUP_LENGTH }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');
  return Array.from({ length: GROUPS }, group).join('-');
}
