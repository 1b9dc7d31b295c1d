import { hostname } from 'node:os';
import type { Client } from '../client/client.ts';
import type { SessionCreated } from '../contract/users.ts';
import { OperationError } from '../shared/errors.ts';
import type { CommandContext } from './command.ts';
import { ask, canAsk, readPipedLine } from './terminal.ts';

/** Asks for what a sign-in takes; without a terminal, password and code are lines of standard input. */
export async function signInWithPassword(
  context: CommandContext,
  client: Client,
  userName: string | undefined,
): Promise<SessionCreated> {
  const { terminal, text } = context;
  const isAsking = canAsk(terminal);
  const name = userName ?? (await ask(terminal, text('login.user'))).trim();
  const [password = '', code = ''] = isAsking
    ? [await askHidden(context, text('login.password')), await ask(terminal, text('login.code'))]
    : (await readPipedLine(terminal)).split(/\r?\n/);
  const body = {
    name,
    password,
    ...(code.trim() !== '' && { code: code.trim() }),
    as: 'token',
    tokenName: `komadori login (${hostname()})`,
  } as const;
  const { signal } = terminal;
  try {
    return await client.call('sessionCreate', { body }, { signal });
  } catch (error) {
    const isTemporary = error instanceof OperationError && error.details['passwordChange'] === true;
    if (!isTemporary || !isAsking) throw error;
    context.remark(text('login.temporary'));
    const newPassword = await askNewPassword(context);
    return await client.call('sessionCreate', { body: { ...body, newPassword } }, { signal });
  }
}

export const askHidden = async (context: CommandContext, question: string): Promise<string> =>
  await ask(context.terminal, question, { hidden: true });

/** Twice, since nobody sees what was typed. */
export async function askNewPassword(context: CommandContext): Promise<string> {
  const { text } = context;
  const password = await askHidden(context, text('login.newPassword'));
  if (password !== (await askHidden(context, text('login.newPasswordAgain'))))
    throw new OperationError('invalid_input', text('error.notSame'));
  return password;
}

export function requireTerminal(context: CommandContext): void {
  if (!canAsk(context.terminal))
    throw new OperationError('invalid_input', context.text('error.noTerminal'));
}

/** The password, and the code where codes are set up, of who is signed in. */
export async function askProof(
  context: CommandContext,
  options: { hasCodes: boolean },
): Promise<{ password: string; code?: string }> {
  requireTerminal(context);
  const password = await askHidden(context, context.text('login.password'));
  if (!options.hasCodes) return { password };
  const code = (await ask(context.terminal, context.text('login.code'))).trim();
  return { password, ...(code !== '' && { code }) };
}
