import { z } from 'zod';
import { createClient } from '../client/client.ts';
import { describeThrown, OperationError } from '../shared/errors.ts';
import { addCommand, noOptions } from './command.ts';
import type { CommandContext } from './command.ts';
import type { CommandGroup } from './program.ts';
import { readSettings, removeSettings, writeSettings } from './settings.ts';
import { signInWithPassword } from './sign-in.ts';
import { renderDetails } from './table.ts';
import { ask, canAsk, readPipedLine } from './terminal.ts';

const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

export const addAccessCommands: CommandGroup = (program, base) => {
  addLogin(program, base);
  addCommand(program, base, {
    name: 'logout',
    summary: 'logout.description',
    schema: noOptions,
    run: async (context) => {
      await revokeStoredToken(context);
      await removeSettings(context.terminal.env);
      if (!context.json) context.print(context.text('done.logout'));
    },
  });
  addCommand(program, base, {
    name: 'whoami',
    summary: 'whoami.description',
    schema: noOptions,
    run: async (context) => {
      const { text } = context;
      const client = await context.connect();
      const whoami = await client.call('whoami', {}, { signal: context.terminal.signal });
      if (context.json) return context.printJson(whoami);
      return context.print(
        renderDetails([
          [text('column.name'), `${whoami.principal.name} (${whoami.principal.kind})`],
          [text('field.roles'), whoami.roles.join(', ')],
          [text('field.rights'), whoami.rights.join(', ')],
          [text('field.server'), whoami.serverVersion],
        ]),
      );
    },
  });
};

const addLogin: CommandGroup = (program, base) => {
  addCommand(program, base, {
    name: 'login',
    summary: 'login.description',
    options: [
      { flags: '--user <name>', meaning: 'option.user' },
      { flags: '--token', meaning: 'option.token' },
    ],
    schema: z.object({
      url: z.url({ protocol: /^https?$/ }).optional(),
      user: z.string().optional(),
      token: z.boolean().default(false),
    }),
    run: async (context, _args, options) => {
      const { terminal, text } = context;
      const url =
        options.url ?? terminal.env['KOMADORI_URL'] ?? (await readSettings(terminal, text))?.url;
      if (!url)
        throw new OperationError('invalid_input', text('error.noServer'), {
          details: { whatToDo: text('error.noServerHow') },
        });
      const { protocol, hostname } = new URL(url);
      if (protocol === 'http:' && !LOOPBACK.test(hostname))
        context.remark(text('login.plainHttp', { url }));
      const usesToken =
        options.token ||
        terminal.env['KOMADORI_TOKEN'] !== undefined ||
        (options.user === undefined && !canAsk(terminal));
      const signedIn = usesToken
        ? null
        : await signInWithPassword(context, createClient({ baseUrl: url }), options.user);
      const token = signedIn?.token?.secret ?? (await readToken(context));
      const tokenId = signedIn?.token?.id;
      const whoami = await createClient({ baseUrl: url, token }).call(
        'whoami',
        {},
        { signal: terminal.signal },
      );
      const file = await writeSettings(terminal.env, {
        url,
        token,
        ...(tokenId !== undefined && { tokenId }),
      });
      if (context.json) context.printJson(whoami);
      else context.print(text('done.login', { name: whoami.principal.name, file }));
    },
  });
};

/** Only a token that a sign-in made: one that was pasted may be in use elsewhere. */
async function revokeStoredToken(context: CommandContext): Promise<void> {
  const { terminal, text } = context;
  const stored = await readSettings(terminal, text);
  if (stored?.tokenId === undefined) return;
  const { url, token, tokenId } = stored;
  try {
    const client = createClient({ baseUrl: url, token });
    const { signal } = terminal;
    await client.call('tokenDelete', { params: { id: tokenId } }, { signal });
    if (!context.json) context.print(text('done.logoutToken'));
  } catch (error) {
    // Signing out here has to work without the server as well.
    context.remark(text('done.logoutLeft', { reason: describeThrown(error) }));
  }
}

async function readToken(context: CommandContext): Promise<string> {
  const { terminal, text } = context;
  const fromEnv = terminal.env['KOMADORI_TOKEN'];
  const token =
    fromEnv ??
    (canAsk(terminal)
      ? (await ask(terminal, text('login.ask'), { hidden: true })).trim()
      : await readPipedLine(terminal));
  if (!token)
    throw new OperationError('unauthenticated', text('error.noToken'), {
      details: { whatToDo: text('error.noTokenHow') },
    });
  return token;
}
