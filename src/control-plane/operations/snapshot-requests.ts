import type { Request } from '../../contract/requests.ts';
import type {
  SnapshotCreateInput,
  SnapshotDeleteInput,
  SnapshotExportInput,
  SnapshotRestoreInput,
  SnapshotVerifyInput,
} from '../../contract/snapshot-inputs.ts';
import type { Right } from '../../contract/rights.ts';
import { snapshotCan } from '../../contract/state-predicates.ts';
import { OperationError } from '../../shared/errors.ts';
import { authorize, authorizeSomewhere } from '../access/principal.ts';
import type { Writer } from '../database/catalog.ts';
import type { SnapshotRow } from '../database/snapshots.ts';
import { findVm, type VmRow } from '../database/vms.ts';
import type { Caller, Environment } from './environment.ts';
import { answerOnce, type OnceOptions } from './idempotency.ts';
import { placeRequest } from './place-request.ts';
import { planOther, planRestoreOf } from './plan-request.ts';
import { requireVisibleSnapshot, requireState } from './snapshots.ts';
import { chooseSnapshotName } from './snapshot-names.ts';
import { targetOf } from './targets.ts';
import { requireMatch } from './versioned.ts';
import { planForVm, resolveVm } from './vms.ts';

export interface WishOptions extends OnceOptions {
  readonly ifMatch?: string | undefined;
}

export async function snapshotCreate(
  environment: Environment,
  caller: Caller,
  input: SnapshotCreateInput,
  options: WishOptions,
): Promise<Request> {
  const act = { action: 'snapshot.create', resourceType: 'vm', resourceName: input.vm };
  return await answerOnce(environment, caller, { ...options, act, body: input }, async (tx) => {
    authorizeSomewhere(caller.principal, 'create');
    const vm = await resolveVm(tx, caller.principal, input.vm);
    authorize(caller.principal, 'create', targetOf(vm));
    const name = await chooseSnapshotName(tx, vm, {
      wished: input.name,
      now: environment.clock.now(),
    });
    const plan = await planForVm(tx, caller.principal, { vm, wish: input });
    return await placeRequest(environment, caller, tx, {
      parameters: { ...input, operation: 'create', vm: vm.id, name },
      plan,
      hostId: vm.host.id,
      vm: { id: vm.id, name: vm.name },
      snapshot: null,
      audit: {
        action: act.action,
        resourceType: 'vm',
        resourceId: vm.id,
        resourceName: vm.name,
        details: { snapshotName: name, kind: input.kind, level: plan.level },
      },
    });
  });
}

export async function snapshotRestore(
  environment: Environment,
  caller: Caller,
  wish: { id: string; input: SnapshotRestoreInput },
  options: WishOptions,
): Promise<Request> {
  const act = { action: 'snapshot.restore', resourceType: 'snapshot', resourceId: wish.id };
  return await answerOnce(environment, caller, { ...options, act, body: wish }, async (tx) => {
    const { input } = wish;
    const { snapshot, vm } = await requireAllowed(tx, caller, { id: wish.id, right: 'restore' });
    if (input.mode === 'rollback') {
      requireConfirmation(snapshot, vm, input.confirmVmName);
      requireState(snapshot, snapshotCan.rollBack(snapshot, vm));
    } else requireState(snapshot, snapshotCan.restore(snapshot));
    const plan = await planRestoreOf(tx, caller.principal, { snapshot, vm, input });
    return await placeRequest(environment, caller, tx, {
      ...aboutSnapshot(snapshot, act.action, { mode: input.mode, vmName: plan.vmName }),
      parameters: { ...input, operation: 'restore' },
      plan,
    });
  });
}

export async function snapshotDelete(
  environment: Environment,
  caller: Caller,
  wish: { id: string; input: SnapshotDeleteInput },
  options: WishOptions,
): Promise<Request> {
  const act = { action: 'snapshot.delete', resourceType: 'snapshot', resourceId: wish.id };
  return await answerOnce(environment, caller, { ...options, act, body: wish }, async (tx) => {
    const { snapshot, vm } = await requireAllowed(tx, caller, { id: wish.id, right: 'delete' });
    requireConfirmation(snapshot, vm, wish.input.confirmVmName);
    requireState(snapshot, snapshotCan.delete(snapshot));
    requireMatch(snapshot.version, options.ifMatch);
    return await placeRequest(environment, caller, tx, {
      ...aboutSnapshot(snapshot, act.action, { state: snapshot.state }),
      parameters: { ...wish.input, operation: 'delete' },
      plan: await planOther(tx, caller.principal, { operation: 'delete', snapshot, vm }),
    });
  });
}

export async function snapshotVerify(
  environment: Environment,
  caller: Caller,
  wish: { id: string; input: SnapshotVerifyInput },
  options: WishOptions,
): Promise<Request> {
  const act = { action: 'snapshot.verify', resourceType: 'snapshot', resourceId: wish.id };
  return await answerOnce(environment, caller, { ...options, act, body: wish }, async (tx) => {
    const { snapshot, vm } = await requireAllowed(tx, caller, { id: wish.id, right: 'view' });
    requireState(snapshot, snapshotCan.verify(snapshot));
    return await placeRequest(environment, caller, tx, {
      ...aboutSnapshot(snapshot, act.action, {}),
      parameters: { ...wish.input, operation: 'verify' },
      plan: await planOther(tx, caller.principal, { operation: 'verify', snapshot, vm }),
    });
  });
}

export async function snapshotExport(
  environment: Environment,
  caller: Caller,
  wish: { id: string; input: SnapshotExportInput },
  options: WishOptions,
): Promise<Request> {
  const act = { action: 'snapshot.export', resourceType: 'snapshot', resourceId: wish.id };
  return await answerOnce(environment, caller, { ...options, act, body: wish }, async (tx) => {
    const { input } = wish;
    const { snapshot, vm } = await requireAllowed(tx, caller, { id: wish.id, right: 'export' });
    requireState(snapshot, snapshotCan.export(snapshot));
    if (input.includeMemory && snapshot.level !== 'memory')
      throw new OperationError(
        'invalid_input',
        `Snapshot ${snapshot.name} holds no memory. Ask without includeMemory.`,
      );
    return await placeRequest(environment, caller, tx, {
      ...aboutSnapshot(snapshot, act.action, {
        folder: input.folder,
        includeMemory: input.includeMemory,
      }),
      parameters: { ...input, operation: 'export' },
      plan: await planOther(tx, caller.principal, { operation: 'export', snapshot, vm }),
    });
  });
}

/** Who may do it nowhere, and who may not see the snapshot, learn nothing about it. */
async function requireAllowed(
  tx: Writer,
  caller: Caller,
  wish: { id: string; right: Right },
): Promise<{ snapshot: SnapshotRow; vm: VmRow | null }> {
  authorizeSomewhere(caller.principal, wish.right);
  const { snapshot, target } = await requireVisibleSnapshot(tx, caller.principal, wish.id);
  authorize(caller.principal, wish.right, target);
  return { snapshot, vm: (await findVm(tx, snapshot.vmId)) ?? null };
}

const aboutSnapshot = (
  snapshot: SnapshotRow,
  action: string,
  details: Record<string, string | boolean>,
): Pick<Parameters<typeof placeRequest>[3], 'hostId' | 'vm' | 'snapshot' | 'audit'> => ({
  hostId: snapshot.hostId,
  vm: { id: snapshot.vmId, name: snapshot.vmName },
  snapshot: { id: snapshot.id, name: snapshot.name },
  audit: {
    action,
    resourceType: 'snapshot',
    resourceId: snapshot.id,
    resourceName: snapshot.name,
    details: { ...details, snapshotOf: snapshot.vmName },
  },
});

/** The name that the VM has now; for one that is gone, the name it had. */
function requireConfirmation(snapshot: SnapshotRow, vm: VmRow | null, typed: string): void {
  const name = vm?.name ?? snapshot.vmName;
  if (typed === name) return;
  throw new OperationError(
    'confirmation_mismatch',
    `To confirm, give the name of the VM in confirmVmName: this is a snapshot of "${name}".`,
    { details: { expected: name } },
  );
}
