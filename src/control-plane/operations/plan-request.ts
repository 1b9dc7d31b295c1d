import type { OtherPlan, Plan, PlanProblem, RestorePlan } from '../../contract/preflight.ts';
import { requestParametersSchema } from '../../contract/requests.ts';
import type { SnapshotRestoreInput } from '../../contract/snapshot-inputs.ts';
import { isErrorCode, OperationError } from '../../shared/errors.ts';
import { mayDo, reachOf, type Principal } from '../access/principal.ts';
import type { Reader } from '../database/catalog.ts';
import type { RequestRow } from '../database/requests.ts';
import type { SnapshotRow } from '../database/snapshots.ts';
import { findVm, findVmsByName, type VmRow } from '../database/vms.ts';
import { planRestore } from '../policy/plan-restore.ts';
import { confirmationFor } from './confirmation.ts';
import { planRuleChange } from './rule-changes.ts';
import { requireSnapshot, toSnapshotView } from './snapshots.ts';
import { targetOfVmId } from './targets.ts';
import { planForVm, requireVm, roomOf, toVmView } from './vms.ts';

/** What a request would do now, for the one who asked for it. */
export async function planAgain(
  db: Reader,
  requester: Principal,
  request: RequestRow,
): Promise<Plan> {
  const parameters = requestParametersSchema.parse(request.parameters);
  const { operation } = parameters;
  if (operation === 'change-rules') return await planRuleChange(db, requester, parameters.change);
  if (operation === 'create')
    return await planForVm(db, requester, {
      vm: await requireVm(db, request.vm?.id ?? ''),
      wish: parameters,
    });
  const snapshot = request.snapshot ? await requireSnapshot(db, request.snapshot.id) : null;
  const vm = request.vm ? ((await findVm(db, request.vm.id)) ?? null) : null;
  if (operation === 'restore' && snapshot)
    return await planRestoreOf(db, requester, { snapshot, vm, input: parameters });
  if (operation === 'restore') throw new Error(`request ${request.id} restores no snapshot`);
  return await planOther(db, requester, { operation, snapshot, vm });
}

export async function planRestoreOf(
  db: Reader,
  requester: Principal,
  wish: { snapshot: SnapshotRow; vm: VmRow | null; input: SnapshotRestoreInput },
): Promise<RestorePlan> {
  const { snapshot, vm, input } = wish;
  return planRestore({
    snapshot: toSnapshotView(snapshot),
    vm: vm && toVmView(vm),
    wish: input,
    nameTaken:
      input.mode === 'new-vm' &&
      (await findVmsByName(db, input.name, reachOf(requester, 'view'))).some(
        (other) => other.present,
      ),
    freeBytes: (await roomOf(db, snapshot.hostId)).scratchFreeBytes,
    mayPower: mayDo(requester, 'power', await targetOfVmId(db, snapshot.vmId)),
    confirmation: await confirmationFor(db, requester, { operation: 'restore', vm }),
  });
}

export async function planOther(
  db: Reader,
  requester: Principal,
  wish: {
    operation: OtherPlan['operation'];
    snapshot: SnapshotRow | null;
    vm: VmRow | null;
    problems?: PlanProblem[];
  },
): Promise<OtherPlan> {
  const { operation, snapshot, vm, problems = [] } = wish;
  const confirmation = await confirmationFor(db, requester, { operation, vm });
  return {
    operation,
    possible: problems.length === 0,
    problems,
    warnings: [],
    confirmationNeeded: confirmation.approvalsNeeded > 0,
    confirmation,
    snapshotState: snapshot?.state ?? null,
  };
}

/** The first problem is the error; all of them are in its details. */
export function refuseImpossible(plan: Plan): void {
  const [first] = plan.problems;
  if (!first) return;
  throw new OperationError(
    isErrorCode(first.code) ? first.code : 'invalid_input',
    plan.problems.map((problem) => problem.reason).join(' '),
    {
      details: {
        whatToDo: first.whatToDo,
        problems: plan.problems.map((problem) => `${problem.code}: ${problem.reason}`),
      },
    },
  );
}
