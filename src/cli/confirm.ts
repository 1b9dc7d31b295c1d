import { OperationError } from '../shared/errors.ts';
import type { CommandContext } from './command.ts';
import { ask, canAsk } from './terminal.ts';

/** Returns the name as typed: the server compares it again. */
export async function confirmVm(
  context: CommandContext,
  consequences: readonly string[],
  vmName: string,
  given: { yes: boolean; confirm?: string | undefined },
): Promise<string> {
  const { terminal, text } = context;
  if (given.yes && given.confirm !== undefined) return checkName(context, given.confirm, vmName);
  if (given.yes || !canAsk(terminal))
    throw new OperationError('confirmation_mismatch', text('error.confirmNeeded'), {
      details: { whatToDo: text('error.confirmHow', { vm: vmName }) },
    });
  for (const line of consequences) context.remark(line);
  return checkName(context, await ask(terminal, text('confirm.ask', { vm: vmName })), vmName);
}

function checkName(context: CommandContext, typed: string, vmName: string): string {
  if (typed.trim() === vmName) return vmName;
  throw new OperationError(
    'confirmation_mismatch',
    context.text('error.confirmMismatch', { typed: typed.trim(), vm: vmName }),
  );
}
