import type { AnswerOf, ArgumentsOf } from '../../../src/client/call-types.ts';
import type { Job } from '../../../src/contract/jobs.ts';
import type { Request } from '../../../src/contract/requests.ts';
import type { Snapshot } from '../../../src/contract/snapshots.ts';
import type { Vm } from '../../../src/contract/vms.ts';
import { OperationError } from '../../../src/shared/errors.ts';
import { runVirsh } from '../guest/virsh.ts';
import type { TestService } from './start-service.ts';
import { waitUntil } from './wait-until.ts';

const REQUEST_TIMEOUT_MS = 240_000;
const LOG_TAIL_CHARACTERS = 3000;

export interface NamedVm {
  readonly id: string;
  readonly name: string;
}

type RestoreBody = ArgumentsOf<'snapshotRestore'>['body'];
export type NewVmBody = Omit<Extract<RestoreBody, { mode: 'new-vm' }>, 'mode'>;
export type RollbackBody = Omit<
  Extract<RestoreBody, { mode: 'rollback' }>,
  'mode' | 'confirmVmName'
>;
export type CreateBody = Omit<ArgumentsOf<'snapshotCreate'>['body'], 'vm'>;

/** Resolves when the inventory has the VM, in that state if one is given. */
export async function waitForVm(
  service: TestService,
  vmId: string,
  state?: Vm['state'],
): Promise<Vm> {
  return await waitUntil(`The VM ${vmId} as ${state ?? 'present'} in the inventory`, async () => {
    try {
      const vm = await service.client.call('vmGet', { params: { id: vmId } });
      return vm.present && (state === undefined || vm.state === state) ? vm : undefined;
    } catch (error) {
      if (error instanceof OperationError && error.code === 'not_found') return undefined;
      throw error;
    }
  });
}

/** Resolves when the request is over, however it ended. */
export async function finish(
  service: TestService,
  requestId: string,
): Promise<{ request: Request; job: Job | null }> {
  return await service.client.waitForRequest(requestId, {
    signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
  });
}

/** Resolves when the request has succeeded; throws with its reason and the service's last words if not. */
export async function succeed(
  service: TestService,
  requestId: string,
): Promise<{ request: Request; job: Job }> {
  const { request, job } = await finish(service, requestId);
  if (request.state !== 'succeeded' || !job) {
    const log = (await service.readLog()).slice(-LOG_TAIL_CHARACTERS);
    throw new Error(
      `${request.operation} ended as ${request.state}: ${JSON.stringify(request.failure)}; the service says:\n${log}`,
    );
  }
  return { request, job };
}

/** Resolves with the failure of a request that must fail. */
export async function fail(
  service: TestService,
  requestId: string,
): Promise<NonNullable<Request['failure']>> {
  const { request } = await finish(service, requestId);
  if (request.state !== 'failed' || !request.failure) {
    throw new Error(`${request.operation} ended as ${request.state} although it must fail`);
  }
  return request.failure;
}

export async function askForSnapshot(
  service: TestService,
  vm: NamedVm,
  body: CreateBody = {},
): Promise<Request> {
  return await service.client.call('snapshotCreate', { body: { vm: vm.id, ...body } });
}

/** Why a snapshot is refused, whether the server sees it at once or the worker when it begins. */
export async function refusalOf(
  service: TestService,
  vm: NamedVm,
  body: CreateBody = {},
): Promise<{ code: string; message: string }> {
  try {
    return await fail(service, (await askForSnapshot(service, vm, body)).id);
  } catch (error) {
    if (error instanceof OperationError) return { code: error.code, message: error.message };
    throw error;
  }
}

export async function takeSnapshot(
  service: TestService,
  vm: NamedVm,
  body: CreateBody = {},
): Promise<Snapshot> {
  const { request } = await succeed(service, (await askForSnapshot(service, vm, body)).id);
  return await getSnapshot(service, request.result?.snapshotId ?? '');
}

export async function getSnapshot(service: TestService, id: string): Promise<Snapshot> {
  return await service.client.call('snapshotGet', { params: { id } });
}

export async function listSnapshots(
  service: TestService,
  vmId: string,
): Promise<AnswerOf<'snapshotList'>['items']> {
  return (await service.client.call('snapshotList', { query: { vmId } })).items;
}

export async function askForRollback(
  service: TestService,
  snapshot: Snapshot,
  body: RollbackBody = {},
): Promise<Request> {
  return await service.client.call('snapshotRestore', {
    params: { id: snapshot.id },
    body: { mode: 'rollback', confirmVmName: snapshot.vmName, ...body },
  });
}

export async function rollBack(
  service: TestService,
  snapshot: Snapshot,
  body: RollbackBody = {},
): Promise<{ request: Request; job: Job }> {
  return await succeed(service, (await askForRollback(service, snapshot, body)).id);
}

export async function askForNewVm(
  service: TestService,
  snapshot: Snapshot,
  body: NewVmBody,
): Promise<Request> {
  return await service.client.call('snapshotRestore', {
    params: { id: snapshot.id },
    body: { mode: 'new-vm', ...body },
  });
}

export async function deleteSnapshot(service: TestService, snapshot: Snapshot): Promise<void> {
  const request = await service.client.call('snapshotDelete', {
    params: { id: snapshot.id },
    body: { confirmVmName: snapshot.vmName },
  });
  await succeed(service, request.id);
}

export async function verifySnapshot(
  service: TestService,
  snapshot: Snapshot,
): Promise<NonNullable<Request['result']>> {
  const request = await service.client.call('snapshotVerify', {
    params: { id: snapshot.id },
    body: {},
  });
  return (await succeed(service, request.id)).request.result ?? {};
}

export async function exportSnapshot(
  service: TestService,
  snapshot: Snapshot,
  body: Omit<ArgumentsOf<'snapshotExport'>['body'], 'folder'>,
): Promise<readonly string[]> {
  const request = await service.client.call('snapshotExport', {
    params: { id: snapshot.id },
    body: { folder: service.exportFolder, ...body },
  });
  return (await succeed(service, request.id)).request.result?.files ?? [];
}

export const readPowerState = async (name: string): Promise<string> =>
  await runVirsh(['domstate', name]);
