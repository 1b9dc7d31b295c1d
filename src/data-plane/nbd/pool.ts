import { OperationError } from '../../shared/errors.ts';
import type { NbdClient, NbdClientOptions, NbdConnection } from './client.ts';
import { openNbdClient } from './client.ts';

export interface NbdPoolOptions extends NbdClientOptions {
  /** Used as far as the server allows several connections to one export; 1 to 8. */
  readonly connections: number;
}

/** One export over several connections; when one of them is lost, all are. */
export async function openNbdPool(options: NbdPoolOptions): Promise<NbdClient> {
  if (
    !Number.isInteger(options.connections) ||
    options.connections < 1 ||
    options.connections > 8
  ) {
    throw new OperationError('invalid_input', 'An NBD pool takes 1 to 8 connections.');
  }
  const first = await openNbdClient(options);
  if (options.connections === 1 || !first.info.canMultiConn) return first;
  const opened = await Promise.allSettled(
    Array.from({ length: options.connections - 1 }, async () => openNbdClient(options)),
  );
  const members = [first];
  let failure: unknown = null;
  for (const outcome of opened) {
    if (outcome.status === 'fulfilled') members.push(outcome.value);
    else failure ??= outcome.reason;
  }
  if (members.some((member) => member.info.sizeBytes !== first.info.sizeBytes)) {
    failure ??= new OperationError('protocol_error', 'The NBD export changed its size meanwhile.');
  }
  if (failure !== null) {
    await closeAll(members);
    throw failure;
  }
  return combine(first, members);
}

async function closeAll(members: readonly NbdConnection[]): Promise<void> {
  await Promise.all(members.map(async (member) => member.close()));
}

function combine(first: NbdConnection, members: readonly NbdConnection[]): NbdClient {
  const leastBusy = (): NbdConnection => {
    let best = first;
    for (const member of members) if (member.load() < best.load()) best = member;
    return best;
  };
  const closed = Promise.race(members.map(async (member) => member.closed));
  void closed.then(() => closeAll(members));
  return {
    info: first.info,
    metaContexts: first.metaContexts,
    closed,
    readInto: (offset, target, signal) => leastBusy().readInto(offset, target, signal),
    write: (offset, data, options) => leastBusy().write(offset, data, options),
    writeZeroes: (offset, lengthBytes, options) =>
      leastBusy().writeZeroes(offset, lengthBytes, options),
    trim: (offset, lengthBytes, options) => leastBusy().trim(offset, lengthBytes, options),
    // With CAN_MULTI_CONN a flush covers what every connection completed (proto.md, that flag).
    flush: (signal) => leastBusy().flush(signal),
    blockStatus: (offset, lengthBytes, context, signal) =>
      leastBusy().blockStatus(offset, lengthBytes, context, signal),
    extents: (context, options) => leastBusy().extents(context, options),
    close: () => closeAll(members),
  };
}
