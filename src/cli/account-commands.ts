import { z } from 'zod';
import { addCommand, noOptions, type CommandContext } from './command.ts';
import { findUser } from './find-user.ts';
import { formatTime, orNone } from './formatting.ts';
import { printList } from './list-output.ts';
import type { CommandGroup } from './program.ts';
import { limitOption, limitSchema } from './shared-options.ts';
import { askHidden, askNewPassword, askProof, requireTerminal } from './sign-in.ts';
import { renderDetails } from './table.ts';
import { ask } from './terminal.ts';

/** What one does about one's own ways in. */
export const addAccountCommands: CommandGroup = (program, base) => {
  addCommand(program, base, {
    name: 'password',
    summary: 'password.description',
    schema: noOptions,
    run: async (context) => {
      requireTerminal(context);
      const client = await context.connect();
      const { signal } = context.terminal;
      const { user } = await client.call('accountGet', {}, { signal });
      const current = user.hasPassword
        ? { currentPassword: await askHidden(context, context.text('login.password')) }
        : {};
      const newPassword = await askNewPassword(context);
      await client.call('passwordChange', { body: { ...current, newPassword } }, { signal });
      if (!context.json) context.print(context.text('done.password'));
    },
  });
  addSessionCommands(program, base);
  addTotpCommands(program, base);
};

const addSessionCommands: CommandGroup = (program, base) => {
  const parent = program.command('session').description(base.text('session.description'));
  addCommand(parent, base, {
    name: 'list',
    summary: 'session.list',
    options: [{ flags: '--user <user>', meaning: 'option.ofUser' }, limitOption],
    schema: z.object({ user: z.string().optional(), limit: limitSchema }),
    run: async (context, _args, { user, limit }) => {
      const { text } = context;
      const client = await context.connect();
      const query =
        user === undefined ? {} : { userId: (await findUser(context, client, user)).id };
      await printList(context, client, {
        operationId: 'sessionList',
        args: { query },
        limit,
        columns: [
          { title: text('column.id') },
          { title: text('column.created') },
          { title: text('column.used') },
          { title: text('column.expires') },
          { title: text('column.from') },
          { title: text('column.program'), shrinks: true },
          { title: text('column.note') },
        ],
        row: (session) => [
          session.id,
          formatTime(session.createdAt),
          formatTime(session.lastUsedAt),
          formatTime(session.expiresAt),
          orNone(session.sourceAddress),
          orNone(session.userAgent),
          session.isCurrent ? text('word.current') : '',
        ],
      });
    },
  });
  addCommand(parent, base, {
    name: 'revoke',
    summary: 'session.revoke',
    args: [{ name: 'session', meaning: 'arg.session' }],
    schema: noOptions,
    run: async (context, [id = '']) => {
      const client = await context.connect();
      await client.call('sessionDelete', { params: { id } }, { signal: context.terminal.signal });
      if (!context.json) context.print(context.text('done.sessionRevoke', { id }));
    },
  });
};

const addTotpCommands: CommandGroup = (program, base) => {
  const parent = program.command('totp').description(base.text('totp.description'));
  addCommand(parent, base, {
    name: 'status',
    summary: 'totp.status',
    schema: noOptions,
    run: async (context) => {
      const { text } = context;
      const client = await context.connect();
      const account = await client.call('accountGet', {}, { signal: context.terminal.signal });
      if (context.json) return context.printJson(account);
      const isOn = account.user.oneTimeCodes;
      return context.print(
        renderDetails([
          [text('column.codes'), text(isOn ? 'word.yes' : 'word.no')],
          [text('field.recoveryLeft'), String(account.recoveryCodesLeft)],
        ]),
      );
    },
  });
  addCommand(parent, base, {
    name: 'setup',
    summary: 'totp.setup',
    schema: noOptions,
    run: async (context) => {
      const { terminal, text } = context;
      const { signal } = terminal;
      const client = await context.connect();
      const proof = await askProof(context, { hasCodes: false });
      const begun = await client.call('oneTimeCodesBegin', { body: proof }, { signal });
      context.remark(text('totp.type', { secret: begun.secret, uri: begun.uri }));
      const code = (await ask(terminal, text('totp.code'))).trim();
      const made = await client.call('oneTimeCodesConfirm', { body: { code } }, { signal });
      printRecoveryCodes(context, made);
    },
  });
  addCommand(parent, base, {
    name: 'remove',
    summary: 'totp.remove',
    schema: noOptions,
    run: async (context) => {
      const client = await context.connect();
      const body = await askProof(context, { hasCodes: true });
      await client.call('oneTimeCodesRemove', { body }, { signal: context.terminal.signal });
      if (!context.json) context.print(context.text('done.totpRemove'));
    },
  });
  addCommand(parent, base, {
    name: 'recovery-codes',
    summary: 'totp.recoveryCodes',
    schema: noOptions,
    run: async (context) => {
      const client = await context.connect();
      const body = await askProof(context, { hasCodes: true });
      const { signal } = context.terminal;
      printRecoveryCodes(context, await client.call('recoveryCodesRenew', { body }, { signal }));
    },
  });
};

function printRecoveryCodes(
  context: CommandContext,
  made: { readonly recoveryCodes: readonly string[] },
): void {
  if (context.json) return context.printJson(made);
  context.remark(context.text('totp.keep'));
  return context.print(made.recoveryCodes.join('\n'));
}
