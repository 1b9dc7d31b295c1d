import type { Client } from '../client/client.ts';
import type { Snapshot } from '../contract/snapshots.ts';
import type { Vm } from '../contract/vms.ts';
import { OperationError } from '../shared/errors.ts';
import { isUuid } from '../shared/ids.ts';
import type { CommandContext } from './command.ts';

const CANDIDATES_MAX = 10;

export async function findVm(context: CommandContext, client: Client, word: string): Promise<Vm> {
  const { signal } = context.terminal;
  if (isUuid(word.toLowerCase()))
    return await client.call('vmGet', { params: { id: word } }, { signal });
  const query = { name: word, limit: CANDIDATES_MAX };
  const { items } = await client.call('vmList', { query }, { signal });
  const present = items.filter((vm) => vm.present);
  const candidates = present.length > 0 ? present : items;
  const [only] = candidates;
  if (!only)
    throw new OperationError('not_found', context.text('error.vmNotFound', { name: word }), {
      details: { whatToDo: context.text('error.vmNotFoundHow') },
    });
  if (candidates.length > 1)
    throw ambiguous(
      context,
      context.text('error.vmAmbiguous', { name: word, count: candidates.length }),
      candidates,
    );
  return only;
}

/** Takes an id or `vm/name`; the VM may be named by its id and may be gone. */
export async function findSnapshot(
  context: CommandContext,
  client: Client,
  word: string,
): Promise<Snapshot> {
  const { signal } = context.terminal;
  if (isUuid(word.toLowerCase()))
    return await client.call('snapshotGet', { params: { id: word } }, { signal });
  const slash = word.indexOf('/');
  const [vm, name] = [word.slice(0, slash), word.slice(slash + 1)];
  if (slash < 1 || name === '')
    throw new OperationError('invalid_input', context.text('error.snapshotForm', { text: word }), {
      details: { whatToDo: context.text('error.snapshotNotFoundHow') },
    });
  const byVm = isUuid(vm.toLowerCase()) ? { vmId: vm } : { vmName: vm };
  const query = { ...byVm, name, limit: CANDIDATES_MAX };
  const { items } = await client.call('snapshotList', { query }, { signal });
  const [only] = items;
  if (!only)
    throw new OperationError('not_found', context.text('error.snapshotNotFound', { text: word }), {
      details: { whatToDo: context.text('error.snapshotNotFoundHow') },
    });
  if (items.length > 1)
    throw ambiguous(
      context,
      context.text('error.snapshotAmbiguous', { text: word, count: items.length }),
      items,
    );
  return only;
}

function ambiguous(
  context: CommandContext,
  message: string,
  candidates: readonly { readonly id: string }[],
): OperationError {
  const ids = candidates.map((candidate) => candidate.id);
  return new OperationError('invalid_input', message, {
    details: { whatToDo: context.text('error.useId', { ids: ids.join(' ') }), candidates: ids },
  });
}
