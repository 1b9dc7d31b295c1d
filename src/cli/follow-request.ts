import type { Client } from '../client/client.ts';
import type { RequestSight } from '../client/watch-request.ts';
import type { Request } from '../contract/requests.ts';
import { OperationError } from '../shared/errors.ts';
import type { CommandContext } from './command.ts';
import { formatPause, formatSize, orNone } from './formatting.ts';
import { createProgressView } from './progress-view.ts';

/**
 * Shows how a request fares and reports its end. Without an explicit `--wait`, a request that needs
 * approval is not waited for: that can take days.
 */
export async function followRequest(
  context: CommandContext,
  client: Client,
  asked: Request,
  options: { wait?: boolean | undefined },
): Promise<void> {
  const { text } = context;
  const waits = options.wait ?? asked.state !== 'pending';
  if (!waits) {
    if (context.json) context.printJson(asked);
    else
      context.print(
        text(asked.state === 'pending' ? 'wait.pending' : 'wait.asked', { id: asked.id }),
      );
    return;
  }
  if (asked.state === 'pending') context.remark(text('wait.pending', { id: asked.id }));
  const { request } = await watchToEnd(context, client, asked.id);
  if (context.json) context.printJson(request);
  assertSucceeded(context, request);
  if (!context.json)
    for (const line of await describeSuccess(context, client, request)) context.print(line);
  assertUndamaged(context, request);
}

export async function watchToEnd(
  context: CommandContext,
  client: Client,
  requestId: string,
): Promise<RequestSight> {
  const { terminal, text } = context;
  const view = createProgressView(context);
  let last: RequestSight | null = null;
  try {
    for await (const sight of client.watchRequest(requestId, { signal: terminal.signal })) {
      last = sight;
      if (sight.job) view.show(sight.job);
    }
  } catch (error) {
    view.close();
    if (!terminal.signal.aborted) throw error;
    throw new OperationError('cancelled', text('wait.left', { id: requestId }), { cause: error });
  } finally {
    view.close();
  }
  if (!last) throw new OperationError('internal', `Nothing was seen of request ${requestId}.`);
  return last;
}

function assertSucceeded(context: CommandContext, request: Request): void {
  const { text } = context;
  const { id, state } = request;
  if (state === 'succeeded') return;
  if (state === 'rejected')
    throw new OperationError(
      'forbidden',
      text('error.rejected', { id, comment: orNone(request.decisionComment) }),
    );
  if (state === 'expired') throw new OperationError('wrong_state', text('error.expired', { id }));
  if (state === 'cancelled') throw new OperationError('cancelled', text('error.cancelled', { id }));
  throw new OperationError(
    request.failure?.code ?? 'internal',
    request.failure?.message ?? `Request ${id} failed without a reason.`,
    { details: { requestId: id } },
  );
}

function assertUndamaged(context: CommandContext, request: Request): void {
  const count = request.result?.damageCount ?? 0;
  if (count === 0) return;
  const id = request.snapshot?.id ?? '';
  throw new OperationError(
    'snapshot_damaged',
    context.text('error.damaged', { snapshot: request.snapshot?.name ?? '', count }),
    { details: { whatToDo: context.text('error.damagedHow', { id }) } },
  );
}

async function describeSuccess(
  context: CommandContext,
  client: Client,
  request: Request,
): Promise<string[]> {
  const notes = request.result?.notes ?? [];
  if (request.operation !== 'create') return [...describeResult(context, request), ...notes];
  const id = request.result?.snapshotId ?? request.snapshot?.id;
  if (!id) return notes;
  const { signal } = context.terminal;
  const made = await client.call('snapshotGet', { params: { id } }, { signal });
  const line = context.text('done.create', {
    snapshot: made.name,
    vm: made.vmName,
    level: orNone(made.level),
    pause: formatPause(made.pauseMs),
    stored: formatSize(made.sizes?.storedBytes),
  });
  return [line, made.id, ...notes];
}

function describeResult(context: CommandContext, request: Request): string[] {
  const { text } = context;
  const result = request.result ?? {};
  const snapshot = request.snapshot?.name ?? '';
  const { operation, parameters } = request;
  if (operation === 'delete') return [text('done.delete', { snapshot })];
  if (operation === 'export')
    return [text('done.export', { files: result.files?.join(' ') ?? '' })];
  if (operation === 'collect')
    return [text('done.collect', { size: formatSize(result.bytesFreed) })];
  if (operation === 'change-rules') return [text('done.rules', { id: result.ruleId ?? '' })];
  if (operation === 'verify')
    return result.damageCount
      ? []
      : [text('done.verify', { snapshot, size: formatSize(result.bytesChecked) })];
  const isNewVm = parameters.operation === 'restore' && parameters.mode === 'new-vm';
  const vm = isNewVm ? parameters.name : (request.vm?.name ?? '');
  const safety = result.safetySnapshotId;
  return [
    text('done.restore', { vm, snapshot }),
    ...(safety ? [text('done.safety', { id: safety })] : []),
  ];
}
