import type { Client } from '../client/client.ts';
import type { User } from '../contract/users.ts';
import { OperationError } from '../shared/errors.ts';
import type { CommandContext } from './command.ts';

/** By name, or else by id; names are unique. */
export async function findUser(
  context: CommandContext,
  client: Client,
  word: string,
): Promise<User> {
  const { signal } = context.terminal;
  for await (const user of client.pages('userList', {}, { signal }))
    if (user.name === word || user.id === word) return user;
  throw new OperationError('not_found', context.text('error.userNotFound', { name: word }));
}
