import type { PlanProblem, PlanWarning } from '../../contract/preflight.ts';
import type { ConsistencyLevel, VmDescription } from '../../shared/inventory.ts';
import type { CaptureWish } from './capture-wish.ts';

/** Whether there is a QEMU process, with memory and with writes to copy before they happen. */
export const isLive = (vm: Pick<VmDescription, 'state'>): boolean => vm.state !== 'off';

export interface LevelDecision {
  readonly level: ConsistencyLevel;
  readonly reason: string;
  readonly problems: PlanProblem[];
  readonly warnings: PlanWarning[];
}

/**
 * | VM      | kind | agent     | quiesce | level                   |
 * | ------- | ---- | --------- | ------- | ----------------------- |
 * | off     | any  | -         | any     | offline                 |
 * | live    | full | -         | any     | memory                  |
 * | running | disk | connected | not never | application           |
 * | running | disk | missing   | prefer  | crash                   |
 * | live    | any  | cannot    | require | refused                 |
 * | any else |     |           |         | crash                   |
 */
export function decideLevel(situation: {
  vm: VmDescription;
  wish: CaptureWish;
  withMemory: boolean;
}): LevelDecision {
  const { vm, wish, withMemory } = situation;
  if (!isLive(vm)) return decided('offline', 'The VM is off, so its disks hold everything.');
  const agentReady = vm.state === 'running' && vm.agent === 'connected';
  const problems: PlanProblem[] =
    wish.quiesce === 'require' && !agentReady
      ? [
          {
            code: 'agent_unavailable',
            reason: `File systems of ${vm.name} cannot be frozen: ${explainAgent(vm)}`,
            whatToDo:
              'Install and start qemu-guest-agent in the guest and give the VM its channel, or ask with quiesce "prefer".',
          },
        ]
      : [];
  if (withMemory)
    return {
      ...decided('memory', 'Memory and disks are of the same instant, so nothing is lost.'),
      problems,
    };
  if (agentReady && wish.quiesce !== 'never')
    return decided('application', 'The guest agent freezes file systems for the instant.');
  const reason =
    wish.quiesce === 'never'
      ? 'Freezing file systems was not asked for.'
      : `File systems cannot be frozen: ${explainAgent(vm)}`;
  const warnings: PlanWarning[] =
    wish.quiesce === 'prefer' ? [{ code: 'crash_consistent', message: reason }] : [];
  return { level: 'crash', reason, problems, warnings };
}

const decided = (level: ConsistencyLevel, reason: string): LevelDecision => ({
  level,
  reason,
  problems: [],
  warnings: [],
});

function explainAgent(vm: VmDescription): string {
  if (vm.state !== 'running') return 'the VM does not run.';
  return vm.agent === 'absent'
    ? 'the VM has no guest agent channel.'
    : 'the guest agent does not answer.';
}
